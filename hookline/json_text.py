"""JSON as it comes from strangers: parsed within a depth limit, and cut without re-writing. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from hookline.errors import Refusal

#: Objects and arrays may lie this deep in each other; deeper is refused.
MAX_DEPTH = 64

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
    Refusal: 400, nested deeper than `max_depth`.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as wrong:
        # orjson has a limit of its own, far above ours.
        if "depth" in str(wrong) or "ecursion" in str(wrong):
            raise _too_deep(max_depth) from None
        raise
    # Counting brackets is a cheap upper bound that settles nearly every body.
    if text.count(b"{") + text.count(b"[") > max_depth:
        check_depth(value, max_depth)
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


def check_depth(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check how deep objects and arrays lie in each other.

    Raises
    ------
    Refusal: 400, deeper than `max_depth`.
    """
    if _deeper_than(value, max_depth):
        raise _too_deep(max_depth)


def array_slices(text: bytes) -> list[bytes]:
    """Return the elements of a JSON array as the bytes in which they were written.

    Parameters
    ----------
    text: a valid JSON text whose value is an array; `load_json` has accepted it.
    """
    # Read as latin-1, a character is a byte, so that the C scanner's positions count bytes.
    characters = text.decode("latin-1")
    slices: list[bytes] = []
    at = _GAP.match(characters, characters.index("[") + 1).end()  # type: ignore[union-attr] # matches anything
    while characters[at] != "]":
        _, end = _SCANNER.raw_decode(characters, at)
        slices.append(text[at:end])
        at = _GAP.match(characters, end).end()  # type: ignore[union-attr] # as above
    return slices


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(limit):
        below: list[Any] = []
        for each in level:
            children = each.values() if type(each) is dict else each
            below += [child for child in children if type(child) is dict or type(child) is list]
        if not below:
            return False
        level = below
    return bool(level)


def _too_deep(limit: int) -> Refusal:
    return Refusal(400, "json-depth", f"The JSON body is nested deeper than {limit} levels.")
