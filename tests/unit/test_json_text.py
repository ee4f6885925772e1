"""JSON from strangers: the depth limit, and arrays cut into the bytes of their elements."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.errors import Refusal
from hookline.json_text import MAX_DEPTH, array_slices, check_depth, load_json

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
gaps = st.text(" \t\r\n", max_size=3)


@given(st.lists(values, max_size=5), st.lists(gaps, min_size=12, max_size=12), st.booleans())
def test_slices_are_the_elements_as_they_were_written(
    elements: list[Any], spaces: list[str], ascii: bool
) -> None:
    """Whatever lies between the elements, each slice is exactly one of them."""
    written = [json.dumps(each, ensure_ascii=ascii, indent=1) for each in elements]
    pieces = [f"{spaces[number]}{text}{spaces[number + 6]}" for number, text in enumerate(written)]
    text = f"{spaces[5]}[{','.join(pieces) or spaces[11]}]{spaces[10]}".encode()
    assert array_slices(text) == [each.encode() for each in written]
    assert [load_json(each) for each in array_slices(text)] == orjson.loads(text)


def test_numbers_of_thousands_of_digits_are_cut_too() -> None:
    """A whole number that is too long for Python's `int` is an element like others."""
    long = b"1" * 300 + b"0" * 8
    assert array_slices(b"[" + long + b",2]") == [long, b"2"]
    assert array_slices(b'[{"a":1' + b"0" * 300 + b"}]") == [b'{"a":1' + b"0" * 300 + b"}"]


@pytest.mark.parametrize("opening", [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_depth_limit_is_exact(opening: tuple[bytes, bytes]) -> None:
    """The limit is read, one more is not; brackets within strings do not count."""
    start, end = opening
    for depth in (1, 2, MAX_DEPTH):
        assert load_json(start * depth + b"1" + end * depth) is not None
    for depth in (MAX_DEPTH + 1, 500, 5_000, 200_000):
        with pytest.raises(Refusal) as refusal:
            load_json(start * depth + b"1" + end * depth)
        assert (refusal.value.status, refusal.value.reason) == (400, "json-depth")
    assert load_json(b'["' + b"[{" * 500 + b'"]') == ["[{" * 500]


def test_width_is_no_depth() -> None:
    """A wide value is as good as a small one."""
    check_depth([[{}] * 10_000] * 3)
    check_depth("text")
    with pytest.raises(Refusal):
        check_depth([[1]], 1)
