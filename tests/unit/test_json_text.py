"""JSON from strangers: the depth limit, and arrays cut into the bytes of their elements."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.errors import Refusal
from hookline.json_text import MAX_DEPTH, MAX_NESTED, array_slices, load_json

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
    assert list(array_slices(text)) == [each.encode() for each in written]
    assert [load_json(each) for each in array_slices(text)] == orjson.loads(text)


def test_numbers_of_thousands_of_digits_are_cut_too() -> None:
    """A whole number that is too long for Python's `int` is an element like others."""
    long = b"1" * 300 + b"0" * 8
    assert list(array_slices(b"[" + long + b",2]")) == [long, b"2"]
    assert list(array_slices(b'[{"a":1' + b"0" * 300 + b"}]")) == [b'{"a":1' + b"0" * 300 + b"}"]


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


def test_width_is_no_depth_and_has_a_limit_of_its_own() -> None:
    """A wide value is as good as a small one, until it has too many objects and arrays; strings have none."""
    wide = b"[" + b",".join([b"[{}]"] * ((MAX_NESTED - 1) // 2)) + b"]"
    assert len(load_json(wide)) == (MAX_NESTED - 1) // 2
    assert load_json(b'["' + b"[{" * MAX_NESTED + b'"]')
    with pytest.raises(Refusal) as refusal:
        load_json(b"[" + b",".join([b"[{}]"] * (MAX_NESTED // 2)) + b"]")
    assert (refusal.value.status, refusal.value.reason) == (413, "json-size")


strings = st.text(st.sampled_from('ab"\\[]{}\n\u00e9,:'), max_size=8)
nests: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 9) | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=20,
)


@given(nests, st.booleans(), st.integers(1, 6))
def test_the_depth_is_that_of_the_value(value: Any, ascii: bool, limit: int) -> None:
    """Whatever brackets, quotes and backslashes are in its strings and names."""
    text = json.dumps(value, ensure_ascii=ascii).encode()
    # So many brackets in front that the text is looked at closely.
    text = b"[" + b"[]," * 70 + text + b"]"
    if 1 + max(depth_of(value), 1) > limit:
        with pytest.raises(Refusal, match="nested deeper"):
            load_json(text, limit)
    else:
        assert load_json(text, limit)[-1] == value


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(st.binary(max_size=200) | st.text(st.sampled_from('[]{}"\\,:1a '), max_size=60).map(str.encode))
def test_what_is_no_json_is_refused_as_such(text: bytes) -> None:
    """Whatever it is; where it is JSON it is read as ever."""
    text = b"[" + b"[]," * 70 + text + b"]"
    try:
        expected = orjson.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r".+"):
            load_json(text)
    else:
        assert load_json(text) == expected
