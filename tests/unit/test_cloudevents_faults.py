"""What is no CloudEvent is refused, with its place, and nothing else ever happens to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline import cloudevents
from hookline.body import read_data
from hookline.errors import Refusal
from hookline.knock import Headers, Knock
from tests.unit.sources.support import knock
from tests.unit.test_cloudevents import BATCH, FULL, MINIMAL, STRUCTURED, binary, json_values, parse

LEFT_OUT = object()
OPTIONAL = ("subject", "time", "datacontenttype", "dataschema")


def refused(body: Any, headers: Mapping[str, str] = STRUCTURED) -> Refusal:
    """Return how it is refused."""
    with pytest.raises(Refusal) as refusal:
        parse(body, headers)
    return refusal.value


@pytest.mark.parametrize(
    "header",
    [
        b"%C0%A0",
        b"%ff",
        b"\xff",
        b"%E2%82",
        b"100%",
        b"%zz",
        b'"open',
        b'"a"b"',
        b'6" nail',
        b'"a\\"',
        b"%ED%A0%80",
    ],
)
def test_header_values_that_are_wrong_are_refused(header: bytes) -> None:
    """Overlong and broken UTF-8, percent signs that encode nothing, and quotes that do not close."""
    with pytest.raises(ValueError, match=r"UTF-8|%|quoted"):
        cloudevents.decode_header(header)
    pairs = [(name.lower().encode(), value.encode()) for name, value in binary(MINIMAL).items()]
    request = Knock(
        method="POST", url="", path="", query_string=b"", headers=Headers([*pairs, (b"ce-subject", header)]),
        body=b"", received=datetime.now(UTC),
    )  # fmt: skip
    with pytest.raises(Refusal) as refusal:
        cloudevents.parse_cloudevents(request, door="d")
    assert refusal.value.status == 400


INVALID: list[tuple[str, dict[str, Any]]] = [
    *((f"no {name}", {name: LEFT_OUT}) for name in ("specversion", "id", "source", "type")),
    *((f"empty {name}", {name: ""}) for name in (*MINIMAL, "subject", "time", "dataschema")),
    ("another version", {"specversion": "0.3"}),
    ("a version of three parts", {"specversion": "1.0.2"}),
    ("a control character", {"subject": "a\nb"}),
    ("a control character of C1", {"subject": "a\x85b"}),
    ("a noncharacter", {"subject": "\ufdd0"}),
    ("a noncharacter of another plane", {"id": "\U0001ffff"}),
    ("a space in the source", {"source": "/a b"}),
    ("a wrong percent-encoding in the source", {"source": "/a%2"}),
    ("no ASCII in the source", {"source": "/ü"}),
    ("a colon in a relative source", {"source": "1:2"}),
    ("a bracket in the source", {"source": "http://[::1"}),
    ("a backslash in the source", {"source": "a\\b"}),
    ("a relative dataschema", {"dataschema": "/schema"}),
    ("a wrong media type", {"datacontenttype": "json"}),
    ("a media type with a space", {"datacontenttype": "application/ json"}),
    ("a time without an offset", {"time": "2018-04-05T17:31:00"}),
    ("a time with a space", {"time": "2018-04-05 17:31:00Z"}),
    ("a date alone", {"time": "2018-04-05"}),
    ("a 30th of February", {"time": "2018-02-30T00:00:00Z"}),
    ("hour 24", {"time": "2018-02-03T24:00:00Z"}),
    ("an offset of 24 hours", {"time": "2018-02-03T00:00:00+24:00"}),
    ("a time before the calendar", {"time": "0001-01-01T00:00:00+00:01"}),
    ("a time after the calendar", {"time": "9999-12-31T23:59:60Z"}),
    ("an id that no index can hold", {"id": "x" * 1025}),
]  # fmt: skip
ONLY_JSON: list[tuple[str, dict[str, Any]]] = [
    *((f"{name} is a number", {name: 7}) for name in (*MINIMAL, *OPTIONAL)),
    ("an object as id", {"id": {"a": 1}}),
    ("an empty datacontenttype", {"datacontenttype": ""}),
    ("capitals in a name", {"Ext": "a"}),
    ("an underscore in a name", {"my_ext": "a"}),
    ("a hyphen in a name", {"my-ext": "a"}),
    ("an empty name", {"": "a"}),
    ("no ASCII in a name", {"ü": "a"}),
    ("a name like an attribute's", {"ID": "a"}),
    ("an object as extension", {"ext": {"a": 1}}),
    ("an array as extension", {"ext": [1]}),
    ("a fraction as extension", {"ext": 1.5}),
    ("a number of more than 32 bits", {"ext": 2**31}),
    ("a negative number of more than 32 bits", {"ext": -(2**31) - 1}),
    ("data twice", {"data": 1, "data_base64": "eA=="}),
    ("base64 that is none", {"data_base64": "%"}),
    ("base64 without padding", {"data_base64": "eA"}),
    ("base64 of a number", {"data_base64": 7}),
    ("base64 that is null", {"data_base64": None}),
    ("base64 that is not the JSON it should be", {"datacontenttype": "text/json", "data_base64": "eA=="}),
]  # fmt: skip


def with_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the minimal event with changes."""
    return {name: value for name, value in (MINIMAL | changes).items() if value is not LEFT_OUT}


@pytest.mark.parametrize(
    "changes", [c for _, c in INVALID + ONLY_JSON], ids=[n for n, _ in INVALID + ONLY_JSON]
)
def test_what_is_wrong_in_json_is_refused_with_its_place(changes: dict[str, Any]) -> None:
    """Every violation is 400; in a batch the pointer says which event it is."""
    document = with_changes(changes)
    assert refused(document).status == 400
    refusal = refused([MINIMAL, document], BATCH)
    assert refusal.status == 400
    assert refusal.pointer is not None
    assert refusal.pointer.startswith("/1")


@pytest.mark.parametrize("changes", [c for _, c in INVALID], ids=[n for n, _ in INVALID])
def test_what_is_wrong_in_headers_is_refused(changes: dict[str, Any]) -> None:
    """The same violations in binary mode."""
    assert refused(b"", binary(with_changes(changes))).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"ce-datacontenttype": "application/json"},
        {"ce-data": "x"},
        {"ce-data_base64": "eA=="},
        {"ce-my-ext": "x"},
        {"ce-my_ext": "x"},
        {"ce-": "x"},
        {"Content-Type": "no media type"},
    ],
)
def test_headers_that_no_attribute_may_have_are_refused(headers: dict[str, str]) -> None:
    """Names keep to letters and digits, and Content-Type says the data's type."""
    assert refused(b"x", binary(MINIMAL) | headers).status == 400


def test_a_required_attribute_that_is_null_is_missing() -> None:
    """Null means unset, so a required attribute must not be null."""
    assert "missing" in refused(MINIMAL | {"id": None}).detail


def test_an_attribute_twice_is_refused() -> None:
    """Every attribute is there at most once."""
    pairs = [(name.lower(), value) for name, value in binary(MINIMAL).items()]
    headers = Headers.of([*pairs, ("ce-id", "b")])
    twice = replace(knock(), headers=headers)
    with pytest.raises(Refusal) as refusal:
        cloudevents.parse_cloudevents(twice, door="d")
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"7", b"\xff", b"\xef\xbb\xbf{}", b"{} {}", b"NaN"]
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    """A structured event is one JSON object, in UTF-8."""
    assert refused(body).status == 400


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"[1]", b"[[]]", b"[null]", b"[{}]", b"null"])
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    """A batch is a JSON array of events."""
    assert refused(body, BATCH).status == 400


@pytest.mark.parametrize(
    "media_type",
    [
        "application/cloudevents",
        "application/cloudevents+xml",
        "application/cloudevents+avro",
        "application/cloudevents-batch",
        "application/cloudevents-batch+xml",
        "application/cloudevents+json; charset=utf-16",
    ],
)
def test_formats_that_are_not_known_are_415(media_type: str) -> None:
    """An event format that we cannot read is 415."""
    assert refused(MINIMAL, {"Content-Type": media_type}).status == 415


def test_binary_data_that_is_not_the_json_it_should_be_is_refused() -> None:
    """A binary event of type application/json has JSON in its body."""
    assert refused(b"{", binary(MINIMAL) | {"Content-Type": "application/json"}).status == 400


members = st.dictionaries(
    st.sampled_from([*FULL, "data_base64", "traceparent", "x", "X", "", "cause"]) | st.text(max_size=3),
    json_values,
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda value: json.dumps(value).encode(), json_values | members | st.lists(members, max_size=3)
    ),
    st.builds(lambda changes: json.dumps(FULL | changes).encode(), members),
    st.sampled_from(
        [b"[" * 70 + b"]" * 70, b"[" * 9000, b'{"a":' * 300, b'{"type":"a","type":"b"}', b"1" * 5000]
    ),
)
content_types = st.sampled_from(
    [
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "text/plain",
        "x",
        "",
    ]
)
header_pairs = st.lists(
    st.tuples(
        st.sampled_from([b"traceparent", *(b"ce-" + name.encode() for name in (*MINIMAL, "time", "x", ""))]),
        st.binary(max_size=20) | st.sampled_from([b"1.0", b"a", b"%41", b'"a"', b"2018-04-05T17:31:00Z"]),
    ),
    max_size=7,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(bodies, content_types, header_pairs)
def test_whatever_comes_ends_in_drafts_or_a_refusal(
    body: bytes, content_type: str, pairs: list[tuple[bytes, bytes]]
) -> None:
    """No bytes and no headers make anything else; every draft can be kept, and its data read back."""
    request = Knock(
        method="POST", url="", path="", query_string=b"", body=body, received=datetime.now(UTC),
        headers=Headers([(b"content-type", content_type.encode()), *pairs]),
    )  # fmt: skip
    try:
        drafts = cloudevents.parse(request, door="events/key", default_source="key")
    except Refusal as refusal:
        status = refusal.status
    else:
        status = 400
        for draft in drafts:
            read_data(draft.body, draft.body_format)
            assert draft.type
            assert draft.source
            for text in (draft.type, draft.source, draft.subject or "", draft.source_id or ""):
                assert "\x00" not in text
                text.encode()
            assert draft.time is None or draft.time.utcoffset() == timedelta()
    assert status in (400, 415)
