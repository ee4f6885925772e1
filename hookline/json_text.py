"""JSON as it comes from strangers: parsed within a depth limit, and cut without re-writing. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from hookline.errors import Refusal

#: Objects and arrays may lie this deep in each other; deeper is refused.
MAX_DEPTH = 64
#: So many objects and arrays may be in one text. Each costs a microsecond or two before it is gone again, and
#: the event loop waits meanwhile.
MAX_NESTED = 100_000

_ALL_BUT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_OBJECTS_AS_ARRAYS = bytes.maketrans(b"{}", b"[]")
#: What may lie between two elements.
_GAP = re.compile(r"[ \t\r\n,]*")
#: Only its positions are used; whole numbers of thousands of digits make `int` fail, and `float` not.
_SCANNER = json.JSONDecoder(parse_int=float)


def load_json(text: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    text: UTF-8.
    max_depth: how deep objects and arrays may lie in each other.

    Raises
    ------
    ValueError: not JSON.
    Refusal: 400, nested deeper than `max_depth`; 413, more objects and arrays than MAX_NESTED.
    """
    # Counting brackets is a cheap upper bound that settles nearly every body.
    nested = text.count(b"{") + text.count(b"[")
    brackets = b""
    if nested > max_depth:
        brackets = _brackets(text)
        if nested > MAX_NESTED and brackets.count(b"[") > MAX_NESTED:
            if b"[" * (max_depth + 1) in brackets:
                raise _too_deep(max_depth)
            raise Refusal(413, "json-size", f"The JSON has more than {MAX_NESTED} objects and arrays in it.")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as wrong:
        # orjson has a limit of its own, far above ours.
        if "depth" in str(wrong) or "ecursion" in str(wrong):
            raise _too_deep(max_depth) from None
        raise
    for _ in range(max_depth):
        if not brackets:
            return value
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise _too_deep(max_depth)
    return value


def load_json_body(text: bytes) -> Any:
    """Return the value of a body that has to be JSON.

    Raises
    ------
    Refusal: 400, not JSON or nested too deep.
    """
    try:
        return load_json(text)
    except ValueError as wrong:
        raise Refusal(400, "bad-json", f"The body is no JSON: {wrong}.") from None


def check_utf8(content_type: str) -> None:
    """Check that a JSON body is not announced in another charset.

    Raises
    ------
    Refusal: 415.
    """
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise Refusal(415, "unknown-format", "JSON comes in UTF-8; leave `charset` out or say utf-8.")


def array_slices(text: bytes) -> Iterator[bytes]:
    """Give the elements of a JSON array as the bytes in which they were written.

    Parameters
    ----------
    text: a valid JSON text whose value is an array; `load_json` has accepted it.
    """
    # Read as latin-1, a character is a byte, so that the C scanner's positions count bytes.
    characters = text.decode("latin-1")
    at = _GAP.match(characters, characters.index("[") + 1).end()  # type: ignore[union-attr] # matches anything
    while characters[at] != "]":
        _, end = _SCANNER.raw_decode(characters, at)
        yield text[at:end]
        at = _GAP.match(characters, end).end()  # type: ignore[union-attr] # as above


def _brackets(text: bytes) -> bytes:
    """Return the brackets of a JSON text, those in strings left out, and objects' as if they were arrays'."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = text.translate(_OBJECTS_AS_ARRAYS, _ALL_BUT_STRUCTURE).replace(b'""', b"")
    # What is left between quotes is within strings.
    return b"".join(brackets.split(b'"')[::2]) if b'"' in brackets else brackets


def _too_deep(limit: int) -> Refusal:
    return Refusal(400, "json-depth", f"The JSON body is nested deeper than {limit} levels.")
