"""Values as people read them: times, durations, sizes, and text that cannot lie about itself. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

#: Characters that change how what is around them is shown, or that show as nothing: controls, directional
#: overrides and isolates, invisible marks, tags, and surrogates (which UTF-8 cannot even hold). The joiners
#: stay: emoji and many scripts need them.
_DECEPTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0e\ufeff\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """Return text with every character that deceives or hides written as its escape, such as `\\u202e`."""
    return _DECEPTIVE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def clock(moment: datetime) -> str:
    """Return a time to the millisecond, in UTC: `03:00:12.345`."""
    return moment.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def day(moment: datetime) -> str:
    """Return a day in UTC: `2026-11-24`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a time was, or how soon it will be, in its largest unit."""
    gap = (now - moment).total_seconds()
    size = abs(gap)
    if size < 1:
        return "just now"
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if size >= seconds:
            return f"{int(size // seconds)} {unit} ago" if gap > 0 else f"in {int(size // seconds)} {unit}"
    return "just now"


def took(length: timedelta) -> str:
    """Return a duration in its two largest units, finer the shorter it is."""
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, lesser, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {lesser}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def size(number: int) -> str:
    """Return a number of bytes: `812 B`, `3.4 KB`, `1.2 MB`."""
    if number < 1000:
        return f"{number} B"
    for unit, factor in (("KB", 1_000), ("MB", 1_000_000)):
        if number < factor * 1000:
            return f"{number / factor:.1f} {unit}"
    return f"{number / 1_000_000_000:.1f} GB"


def count(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: `1 event`, `3 events`."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"
