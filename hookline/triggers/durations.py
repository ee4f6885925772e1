"""Durations as users write them: `10s`, `1h30m`, `PT5M`, or a number of seconds. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import timedelta

#: Longer than any wait that makes sense for an event, and short enough to add to any date.
LONGEST = timedelta(days=3660)

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_SHORT = re.compile(rf"(?:{_NUMBER}(?:ms|us|[dhms]))+")
_PART = re.compile(rf"({_NUMBER})(ms|us|[dhms])")
_ISO = re.compile(
    rf"P(?:({_NUMBER})W|(?:({_NUMBER})D)?(?:T(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?)"
)
_ISO_UNITS = (timedelta(weeks=1), _UNITS["d"], _UNITS["h"], _UNITS["m"], _UNITS["s"])


def parse_duration(written: object) -> timedelta:
    """Read a duration.

    Parameters
    ----------
    written: `10s`, `1h30m`, `500ms`, `2d` (units d, h, m, s, ms, us, largest first or not), an ISO 8601
        duration of weeks, days and time (`PT5M`, `P1D`), a number of seconds, or a timedelta.

    Raises
    ------
    ValueError: none of these, negative, or longer than ten years.
    """
    duration = _read(written)
    if not timedelta(0) <= duration <= LONGEST:
        raise ValueError(f"{written!r} is not between 0 and {LONGEST.days} days")
    return duration


def render_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads the same back: `1h30m`, `250ms`, `0s`."""
    parts: list[str] = []
    rest = duration
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _read(written: object) -> timedelta:
    match written:
        case timedelta():
            return written
        case bool():
            pass
        case int() | float():
            if math.isfinite(written) and abs(written) <= LONGEST.total_seconds():
                return timedelta(seconds=written)
        case str():
            text = written.strip()
            if re.fullmatch(_NUMBER, text):
                return _sum(written, [(text, _UNITS["s"])])
            if _SHORT.fullmatch(text):
                return _sum(written, [(count, _UNITS[unit]) for count, unit in _PART.findall(text)])
            iso = _ISO.fullmatch(text)
            if iso and any(iso.groups()):
                return _sum(written, zip(iso.groups(), _ISO_UNITS, strict=True))
        case _:
            pass
    raise ValueError(f"{written!r} is not a duration; write 10s, 5m, 1h30m, PT5M or a number of seconds")


def _sum(written: object, parts: Iterable[tuple[str | None, timedelta]]) -> timedelta:
    try:
        return sum((_times(count, unit) for count, unit in parts if count), timedelta(0))
    except OverflowError:
        raise ValueError(f"{written!r} is not between 0 and {LONGEST.days} days") from None


def _times(count: str, unit: timedelta) -> timedelta:
    # Whole counts stay exact; only a fraction goes through a float.
    return unit * int(count) if count.isdigit() else unit * float(count)
