"""Hookline's own keys in a trigger of `prefect.yaml`: `where`, `concurrency`, `debounce`, `delay`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from hookline.errors import TriggerError
from hookline.nearest import nearest
from hookline.triggers.durations import parse_duration
from hookline.triggers.expressions import check_expression
from hookline.triggers.trigger import Concurrency, Debounce, Delay

#: Keys that stock Prefect ignores; a trigger that has one must be kept by Hookline.
OUR_KEYS = ("where", "concurrency", "debounce", "delay")

T = TypeVar("T")


def read_where(written: object) -> str:
    """Return the source of `where`.

    Raises
    ------
    TriggerError: it is no CEL expression over an event.
    """
    return _under("where", check_expression, written)


def read_concurrency(written: object) -> Concurrency:
    """Read `concurrency: {limit: 1, key: data.repository.id}`; the key is optional.

    Raises
    ------
    TriggerError: another form, a limit below 1, or a key that is no CEL expression.
    """
    values = _mapping("concurrency", written, required=("limit",), optional=("key",))
    limit = values["limit"]
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise TriggerError(f"concurrency.limit: {limit!r} is not a whole number of at least 1")
    return Concurrency(limit=limit, key=_key("concurrency", values))


def read_debounce(written: object) -> Debounce:
    """Read `debounce: {quiet: 10s, max_wait: 1m, key: subject}`; the last two are optional.

    Raises
    ------
    TriggerError: another form, no quiet period, a maximum wait below it, or a key that is no CEL expression.
    """
    values = _mapping("debounce", written, required=("quiet",), optional=("max_wait", "key"))
    quiet = _under("debounce.quiet", parse_duration, values["quiet"])
    if quiet == timedelta(0):
        raise TriggerError("debounce.quiet: a quiet period of 0 waits for nothing; leave `debounce` out")
    max_wait = values.get("max_wait")
    if max_wait is not None:
        max_wait = _under("debounce.max_wait", parse_duration, max_wait)
        if max_wait < quiet:
            raise TriggerError("debounce.max_wait: it is shorter than `quiet`, which could then never pass")
    return Debounce(quiet=quiet, max_wait=max_wait, key=_key("debounce", values))


def read_delay(written: object) -> Delay:
    """Read `delay: 10m`, `delay: {duration: 10m}` or `delay: {until: data.due_at}`.

    Raises
    ------
    TriggerError: another form, or a time that is no CEL expression.
    """
    if not isinstance(written, Mapping):
        return Delay(duration=_under("delay", parse_duration, written))
    if "key" in written:
        raise TriggerError(
            "delay.key: every event waits by itself; a time taken from the event goes into `until`"
        )
    values = _mapping("delay", written, required=(), optional=("duration", "until"))
    if len(values) != 1:
        raise TriggerError("delay: write either `duration` or `until`")
    if "until" in values:
        return Delay(until=_under("delay.until", check_expression, values["until"]))
    return Delay(duration=_under("delay.duration", parse_duration, values["duration"]))


def _mapping(
    name: str, written: object, *, required: tuple[str, ...], optional: tuple[str, ...]
) -> Mapping[str, Any]:
    if not isinstance(written, Mapping):
        raise TriggerError(f"{name}: write it as a mapping with {', '.join(required + optional)}")
    known = required + optional
    if unknown := [str(key) for key in written if key not in known]:
        meant = nearest(unknown[0], known)
        hint = f"did you mean `{meant}`?" if meant else f"there are {', '.join(known)}"
        raise TriggerError(f"{name}.{unknown[0]}: it is no key of `{name}`; {hint}")
    if missing := [key for key in required if key not in written]:
        raise TriggerError(f"{name}: {missing[0]} is missing")
    return written


def _key(name: str, values: Mapping[str, Any]) -> str | None:
    # A key that is there but empty is a slip of the pen; one count for all would hide it.
    return _under(f"{name}.key", check_expression, values["key"]) if "key" in values else None


def _under(name: str, read: Callable[[Any], T], written: object) -> T:
    """Read a value, and put its key before what is wrong with it."""
    try:
        return read(written)
    except (ValueError, TriggerError) as wrong:
        raise TriggerError(f"{name}: {wrong}") from None
