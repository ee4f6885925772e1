"""Settings of Prefect's server under `up`: each is looked up once, not at each use.

A run's events alone look some of them up hundreds of times, through a path of attributes each time.
"""

from __future__ import annotations

from typing import Any

from prefect.settings.legacy import Setting

_SEEN = "_hookline_seen"


def look_up_once() -> None:
    """Remember each setting's value with its settings."""
    setting: Any = Setting
    stock = setting.value_from

    def value_from(self: Any, settings: Any) -> Any:
        """Return the value in these settings; `temporary_settings` are another object."""
        seen = self.__dict__.get(_SEEN)
        if seen is None or seen[0] is not settings:
            seen = self.__dict__[_SEEN] = (settings, stock(self, settings))
        return seen[1]

    setting.value_from = value_from
