"""JSON as it comes from strangers: parsed within a depth limit, and cut without re-writing. Pure."""

from __future__ import annotations

import re
from typing import Any

import orjson

from hookline.errors import Refusal

#: Objects and arrays may lie this deep in each other; deeper is refused.
MAX_DEPTH = 64

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)


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
    if text.count(b"{") + text.count(b"[") > max_depth and _deeper_than(value, max_depth):
        raise _too_deep(max_depth)
    return value


def array_slices(text: bytes) -> list[bytes]:
    """Return the elements of a JSON array as the bytes in which they were written.

    Parameters
    ----------
    text: a valid JSON text whose value is an array; `load_json` has accepted it.
    """
    slices: list[bytes] = []
    depth = 0
    start = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth == 1:
                start = token.end()
        elif mark in (b"]", b"}") or (mark == b"," and depth == 1):
            if depth == 1:
                slices.append(text[start : token.start()].strip(b" \t\r\n"))
                start = token.end()
            if mark != b",":
                depth -= 1
    return [] if slices == [b""] else slices


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
