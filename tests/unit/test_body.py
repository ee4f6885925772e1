"""Forms are read as Python's own reader does, many times as fast, and within limits."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.body import MAX_FIELDS, MAX_LOOSE_PERCENTS, check_form, form_pairs
from hookline.errors import Refusal

pieces = st.sampled_from(
    [
        "a",
        "=",
        "&",
        "+",
        " ",
        "%",
        "%4",
        "%41",
        "%3D",
        "%26",
        "%25",
        "%C3%A9",
        "%E2%82",
        "%zz",
        "%0a",
        "\u00e9",
        "\n",
        "\r\n",
    ]
)


@given(st.lists(pieces, max_size=20).map("".join) | st.text(max_size=20))
def test_fields_are_those_that_python_finds(form: str) -> None:
    """Whatever is encoded well, badly, or not at all."""
    text = form.encode("utf-8", "replace")
    assert form_pairs(text) == parse_qsl(text.decode(), keep_blank_values=True)


def test_what_is_no_utf8_is_no_form() -> None:
    """As ever."""
    with pytest.raises(ValueError, match="utf-8"):
        form_pairs(b"a=\xff")


def test_a_form_has_a_limit_of_fields() -> None:
    """And of percent signs that encode nothing; those that encode something are as many as they like."""
    check_form(b"&".join([b"a=b"] * MAX_FIELDS))
    check_form(b"a=" + b"%41" * 300_000 + b"%" * MAX_LOOSE_PERCENTS)
    for wrong, status in ((b"&".join([b"a=b"] * (MAX_FIELDS + 1)), 413), (b"%" * 300_000, 400)):
        with pytest.raises(Refusal) as refusal:
            check_form(wrong)
        assert refusal.value.status == status
