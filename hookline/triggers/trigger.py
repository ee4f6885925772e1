"""The trigger: a named rule that says which events start a deployment. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from hookline.triggers.durations import parse_duration, render_duration

#: Labels that a resource must have: label -> accepted values, Prefect's wildcards and `!` included.
Labels = dict[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `limit` runs at a time, counted apart for each key; the rest wait in order of arrival.

    Parameters
    ----------
    limit: at least 1. With 1 the runs of a key keep the order of their events.
    key: CEL source of the key, or None for one count over the whole trigger.
    """

    limit: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Debounce:
    """Wait until no event of the key has come for `quiet`; the last one leads, the others are merged into it.

    Parameters
    ----------
    quiet: how long it must be quiet.
    max_wait: start at the latest this long after the first event, or None to wait for quiet alone.
    key: CEL source of the key, or None for one wait over the whole trigger.
    """

    quiet: timedelta
    max_wait: timedelta | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait before starting: either for a duration from acceptance, or until a time taken from the event.

    Parameters
    ----------
    duration: how long to wait after the event was accepted.
    until: CEL source of the time; `hookline.triggers.delay_until` evaluates it.
    """

    duration: timedelta | None = None
    until: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A trigger that Hookline keeps.

    Parameters
    ----------
    flow, deployment, name: together the trigger's id.
    expect: names of event types, each a literal or with a trailing `*`.
    where: CEL source of the condition, or None.
    enabled: a disabled trigger matches nothing.
    match, match_related, for_each: as Prefect means them, against `prefect_resource(event)`.
    parameters: templates of the run's parameters, or None to pass the event itself.
    passes_event: the flow has a parameter `event`; meant for triggers without `parameters`.
    job_variables: overrides of the work pool's job variables, or None.
    schedule_after: the run is scheduled this long after it is created.
    concurrency, debounce, delay: flow control.
    """

    flow: str
    deployment: str
    name: str
    expect: tuple[str, ...]
    where: str | None = None
    enabled: bool = True
    match: Labels | None = None
    match_related: tuple[Labels, ...] = ()
    for_each: tuple[str, ...] = ()
    parameters: dict[str, Any] | None = None
    passes_event: bool = False
    job_variables: dict[str, Any] | None = None
    schedule_after: timedelta = timedelta(0)
    concurrency: Concurrency | None = None
    debounce: Debounce | None = None
    delay: Delay | None = None

    @property
    def id(self) -> str:
        """Return `flow/deployment/name`; Prefect allows no `/` in the first two."""
        return f"{self.flow}/{self.deployment}/{self.name}"

    def __hash__(self) -> int:
        # Parameters and labels are dicts, which dataclasses cannot hash.
        return hash(self.id)

    def to_dict(self) -> dict[str, Any]:
        """Return the trigger as JSON-ready data without its defaults; `from_dict` reads it back unchanged."""
        return {
            field.name: _written(value)
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Trigger:
        """Read a trigger back from `to_dict`'s form.

        Raises
        ------
        ValueError: a key is missing, has the wrong form, or is not known to this version: ignoring one
            could start what it should have held back.
        """
        values = dict(document)
        for name in ("expect", "match_related", "for_each"):
            if name in values:
                values[name] = tuple(values[name])
        if "schedule_after" in values:
            values["schedule_after"] = parse_duration(values["schedule_after"])
        try:
            for name, kind in _POLICIES.items():
                if name in values:
                    values[name] = kind(**_read_policy(values[name]))
            return cls(**values)
        except TypeError as wrong:
            raise ValueError(f"not a trigger: {wrong}") from None


_POLICIES: dict[str, type[Concurrency | Debounce | Delay]] = {
    "concurrency": Concurrency,
    "debounce": Debounce,
    "delay": Delay,
}


def _read_policy(document: Mapping[str, Any]) -> dict[str, Any]:
    durations = {"quiet", "max_wait", "duration"}
    return {key: parse_duration(value) if key in durations else value for key, value in document.items()}


def _written(value: Any) -> Any:
    match value:
        case timedelta():
            return render_duration(value)
        case tuple():
            return list(value)
        case Concurrency() | Debounce() | Delay():
            return {
                field.name: _written(part)
                for field in fields(value)
                if (part := getattr(value, field.name)) is not None
            }
        case _:
            return value
