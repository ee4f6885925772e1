"""The W3C trace context: the 40 cases of its test suite, told in our own words, and what lies beside them.

A case gives the headers of a request and says what goes on from there: the trace, and its state.
"""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.knock import Headers
from hookline.trace_context import NO_TRACE, STATE_CHARACTERS, TraceContext, read_state, read_trace

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{ID}-{SPAN}-01"

Pairs = list[tuple[str, str]]


def parent(
    version: str = "00", trace: str = ID, span: str = SPAN, flags: str = "01", more: str = ""
) -> Pairs:
    return [("traceparent", f"{version}-{trace}-{span}-{flags}{more}")]


def state(*values: str, name: str = "tracestate") -> Pairs:
    return [("traceparent", PARENT), *((name, value) for value in values)]


def numbered(first: int, last: int) -> str:
    return ",".join(f"bar{number:02}={number:02}" for number in range(first, last + 1))


KEY_CHARACTERS = string.ascii_lowercase + string.digits + "_-*/"
VALUE_CHARACTERS = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")

#: Name of the case: requests, each with the trace that goes on (None: a new one begins) and its state.
CASES: dict[str, list[tuple[Pairs, str | None, str | None]]] = {
    # traceparent
    "both missing": [([], None, None)],
    "traceparent without tracestate": [(parent(), PARENT, None)],
    "traceparent twice": [
        (parent(trace=ID[:-1] + "1") + parent(), None, None),
        (parent() + parent(), None, None),
    ],
    "another header's name": [([(name, PARENT)], None, None) for name in ("trace-parent", "trace.parent")],
    "the name in any case": [
        ([(name, PARENT)], PARENT, None) for name in ("TraceParent", "TrAcEpArEnT", "TRACEPARENT")
    ],
    "version 00 ends after the flags": [
        (parent(more="."), None, None),
        (parent(more="-what-the-future-will-be-like"), None, None),
    ],
    "a later version goes on with more": [
        (parent("cc"), f"cc-{ID}-{SPAN}-01", None),
        (parent("cc", more="-what-comes"), f"cc-{ID}-{SPAN}-01-what-comes", None),
        (parent("cc", more=".what-comes"), None, None),
    ],
    "version ff": [(parent("ff"), None, None)],
    "version of other characters": [(parent(each), None, None) for each in (".0", "0.", "0A")],
    "version too long": [(parent(each), None, None) for each in ("000", "0000")],
    "version too short": [(parent("0"), None, None)],
    "trace id of zeros": [(parent(trace="0" * 32), None, None)],
    "trace id of other characters": [
        (parent(trace=each), None, None) for each in ("." + ID[1:], ID[:-1] + ".", "ABCDEF" + ID[6:])
    ],
    "trace id too long": [(parent(trace=ID + "3"), None, None)],
    "trace id too short": [(parent(trace=ID[:-1]), None, None)],
    "parent id of zeros": [(parent(span="0" * 16), None, None)],
    "parent id of other characters": [
        (parent(span=each), None, None) for each in ("." + SPAN[1:], SPAN[:-1] + ".")
    ],
    "parent id too long": [(parent(span=SPAN + "7"), None, None)],
    "parent id too short": [(parent(span=SPAN[:-1]), None, None)],
    "flags of other characters": [(parent(flags=each), None, None) for each in (".0", "0.")],
    "flags too long": [(parent(flags="001"), None, None)],
    "flags too short": [(parent(flags="1"), None, None)],
    "blanks around traceparent": [
        ([("traceparent", before + PARENT + after)], PARENT, None)
        for before, after in ((" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t"))
    ],
    # tracestate
    "tracestate without traceparent": [
        ([("tracestate", value)], None, None) for value in ("foo=1", "foo=1,bar=2")
    ],
    "both": [(state("foo=1,bar=2"), PARENT, "foo=1,bar=2")],
    "another name of tracestate": [
        (state("foo=1", name=name), PARENT, None) for name in ("trace-state", "trace.state")
    ],
    "the name of tracestate in any case": [
        (state("foo=1", name=name), PARENT, "foo=1") for name in ("TraceState", "TrAcEsTaTe", "TRACESTATE")
    ],
    "an empty tracestate": [
        (state(""), PARENT, None),
        (state("foo=1", ""), PARENT, "foo=1"),
        (state("", "foo=1"), PARENT, "foo=1"),
    ],
    "several headers are one list": [
        (state("foo=1,bar=2", "rojo=1,congo=2", "baz=3"), PARENT, "foo=1,bar=2,rojo=1,congo=2,baz=3")
    ],
    "a key twice": [
        (state(*values), PARENT, None)
        for values in (["foo=1,foo=1"], ["foo=1,foo=2"], ["foo=1", "foo=1"], ["foo=1", "foo=2"])
    ],
    "all characters that are allowed": [
        (state(f"{key}={VALUE_CHARACTERS}"), PARENT, f"{key}={VALUE_CHARACTERS}")
        for key in (KEY_CHARACTERS, KEY_CHARACTERS + "@a-z0-9_-*/")
    ],
    "blanks around members": [
        (state("foo=1 \t , \t bar=2, \t baz=3"), PARENT, "foo=1,bar=2,baz=3"),
        (state("foo=1\t \t,\t \tbar=2,\t \tbaz=3"), PARENT, "foo=1,bar=2,baz=3"),
        *(
            (state(value), PARENT, "foo=1")
            for value in (" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t")
        ),
    ],
    "other characters in a key": [
        (state(value), PARENT, None) for value in ("foo =1", "FOO=1", "foo.bar=1", "=1", "1foo=1")
    ],
    "a vendor written wrongly": [
        (state(f"{key}=1,bar=2"), PARENT, None) for key in ("foo@", "@foo", "foo@@bar", "foo@bar@baz")
    ],
    "32 members and no more": [
        (state(numbered(1, 10), numbered(11, 30), numbered(31, 32)), PARENT, numbered(1, 32)),
        (state(numbered(1, 10), numbered(11, 30), numbered(31, 33)), PARENT, None),
        (state(numbered(1, 32) + ",,"), PARENT, numbered(1, 32)),
    ],
    "keys as long as they may be": [
        (state("foo=1", "z" * 256 + "=1"), PARENT, "foo=1," + "z" * 256 + "=1"),
        (state("foo=1", "z" * 257 + "=1"), PARENT, None),
        (state("foo=1", f"{'t' * 241}@{'v' * 14}=1"), PARENT, f"foo=1,{'t' * 241}@{'v' * 14}=1"),
        (state("foo=1", "t" * 242 + "@v=1"), PARENT, None),
        (state("foo=1", f"t@{'v' * 15}=1"), PARENT, None),
    ],
    "other characters in a value": [
        (state(value), PARENT, None)
        for value in ("foo=bar=baz", "foo=,bar=3", "foo=b\xe4r", "foo=a\tb", "foo=" + "v" * 257)
    ],
    # several requests: each says the same, and none begins with another's trace
    "several requests with a trace": [(parent(), PARENT, None)] * 3,
    "several requests without a trace": [([], None, None)] * 3,
    "several requests with a wrong trace": [(parent(trace="0" * 32), None, None)] * 3,
}


def test_the_table_has_the_cases_of_the_suite() -> None:
    """As many as the W3C's: 37 of single requests, and 3 of several."""
    assert len(CASES) == 40


@pytest.mark.parametrize("name", CASES)
def test_a_trace_goes_on_as_its_standard_says(name: str) -> None:
    """What is wrong counts as not sent; a wrong `tracestate` leaves the `traceparent` in force."""
    for pairs, parent, state in CASES[name]:
        assert read_trace(Headers.of(pairs)) == TraceContext(parent, state)


def test_a_trace_goes_on_in_headers() -> None:
    """Both together, the parent alone, or nothing."""
    assert TraceContext(PARENT, "a=1").headers() == {"traceparent": PARENT, "tracestate": "a=1"}
    assert TraceContext(PARENT).headers() == {"traceparent": PARENT}
    assert NO_TRACE.headers() == {}


def test_of_too_much_state_the_long_members_are_left_out() -> None:
    """All that the standard lets through fits into one header of the next request."""
    short = [f"k{number}=" + "v" * 100 for number in range(16)]
    long = [f"l{number}=" + "v" * 250 for number in range(16)]
    assert read_state(",".join(long + short)) == ",".join(long[:9] + short)
    assert read_state(",".join(long)) == ",".join(long)
    most = [f"k{number:02}=" + "v" * 124 for number in range(32)]
    assert read_state(",".join(most)) == ",".join(most)
    assert len(",".join(most)) < STATE_CHARACTERS
    longer = [f"k{number:02}=" + "v" * 200 for number in range(32)]
    assert read_state(",".join(longer)) == ",".join(longer[:20])


headers = st.sampled_from(["traceparent", "tracestate"])


@given(st.lists(st.tuples(headers, st.text(st.characters(max_codepoint=255)) | st.just(PARENT))))
def test_whatever_is_sent_is_read(pairs: Pairs) -> None:
    """Nothing fails, and what goes on can stand in a header."""
    trace = read_trace(Headers.of(pairs))
    assert all(value.isascii() and value.isprintable() for value in trace.headers().values())
