"""A setting of Prefect's server is looked up once for each settings object."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.settings import PREFECT_EVENTS_MAXIMUM_LABELS_PER_RESOURCE as LABELS
from prefect.settings import temporary_settings
from prefect.settings.legacy import Setting

from hookline.prefect_server import settings


def test_other_settings_have_their_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within settings of their own, and after them; asked twice it is looked up once."""
    looked_up = 0
    stock = Setting.value_from

    def counted(self: Any, of: Any) -> Any:
        nonlocal looked_up
        looked_up += 1
        return stock(self, of)

    monkeypatch.setattr(Setting, "value_from", counted)
    settings.look_up_once()
    before = LABELS.value()
    with temporary_settings({LABELS: 7}):
        looked_up = 0
        assert [LABELS.value(), LABELS.value()] == [7, 7]
        assert looked_up == 1
        with temporary_settings({LABELS: 8}):
            assert LABELS.value() == 8
        assert LABELS.value() == 7
    assert LABELS.value() == before
