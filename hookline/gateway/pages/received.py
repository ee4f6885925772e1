"""What was received, for people: the body formatted and as it came, headers, all within bounds. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from hookline.body import read_data
from hookline.event import BodyFormat
from hookline.inbox import StoredBody

#: What is shown of a body; all of it is one download away.
SHOWN_CHARACTERS = 60_000
#: A larger body is not formatted: to read it would take longer than anybody waits for a page.
FORMATTED_BYTES = 2_000_000
#: What is shown of a body that is not text.
DUMPED_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Received:
    """A body as a page shows it.

    Parameters
    ----------
    formatted: its data as indented JSON, where it has any.
    raw: the received bytes as text, or as a dump where they are none.
    is_text: the received bytes are text.
    formatted_cut, raw_cut: there is more than is shown.
    """

    stored: StoredBody
    formatted: str | None
    raw: str
    is_text: bool
    formatted_cut: bool
    raw_cut: bool


def received(stored: StoredBody) -> Received:
    """Return a stored body as a page shows it."""
    formatted = _formatted(stored)
    raw, is_text, raw_cut = _raw(stored.body)
    return Received(
        stored,
        None if formatted is None else formatted[:SHOWN_CHARACTERS],
        raw,
        is_text,
        formatted is not None and len(formatted) > SHOWN_CHARACTERS,
        raw_cut,
    )


def _formatted(stored: StoredBody) -> str | None:
    if stored.body_format in (BodyFormat.TEXT, BodyFormat.BYTES, BodyFormat.NONE):
        return None
    if len(stored.body) > FORMATTED_BYTES:
        return None
    try:
        data = read_data(stored.body, stored.body_format)
        return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()
    except (ValueError, TypeError, KeyError):
        # Numbers beyond 64 bits, lone surrogates, and the like: it is still shown as it came.
        return None


def _raw(body: bytes) -> tuple[str, bool, bool]:
    # A character takes four bytes at most; what is cut off in the middle of one is left out.
    head = body[: SHOWN_CHARACTERS * 4]
    try:
        text = head.decode()
    except UnicodeDecodeError as wrong:
        if len(head) == len(body) or wrong.start < len(head) - 3:
            return _dump(body[:DUMPED_BYTES]), False, len(body) > DUMPED_BYTES
        text = head[: wrong.start].decode()
    if "\0" in text:
        return _dump(body[:DUMPED_BYTES]), False, len(body) > DUMPED_BYTES
    return text[:SHOWN_CHARACTERS], True, len(text) > SHOWN_CHARACTERS or len(head) < len(body)


def _dump(body: bytes) -> str:
    """Return bytes as lines of their position, 16 of them in hex, and those that are printable."""
    lines = []
    for position in range(0, len(body), 16):
        row = body[position : position + 16]
        printable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{position:06x}  {row.hex(' '):<47}  {printable}")
    return "\n".join(lines)
