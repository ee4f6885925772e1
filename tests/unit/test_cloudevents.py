"""CloudEvents 1.0 over HTTP, as its specification, its JSON format and its HTTP binding say."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline import cloudevents
from hookline.attributes import tidy_type
from hookline.body import read_data
from hookline.event import BodyFormat, Draft, Event
from hookline.knock import Headers
from tests.unit.sources.support import knock

STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
MINIMAL = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/mycontext",
    "type": "com.example.someevent",
}
FULL = MINIMAL | {
    "subject": "larger-context",
    "time": "2018-04-05T17:31:00Z",
    "datacontenttype": "application/json",
    "dataschema": "https://example.com/schema/1",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
    "comexampleflag": True,
    "data": {"appinfoA": "abc", "appinfoB": 123, "appinfoC": True},
}


def parse(body: Any, headers: Mapping[str, str] = STRUCTURED) -> list[Draft]:
    """Parse what comes to `POST /events`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return cloudevents.parse(knock(content, headers), door="events/key", default_source="key")


def binary(document: Mapping[str, Any]) -> dict[str, str]:
    """Return an event's attributes as headers, encoded by hand as the binding says."""
    headers = {}
    for name, value in document.items():
        if name == "datacontenttype":
            headers["Content-Type"] = value
        elif name != "data":
            text = (
                {True: "true", False: "false"}.get(value, str(value))
                if value in (True, False)
                else str(value)
            )
            headers[f"CE-{name.title()}"] = "".join(
                char
                if "!" <= char <= "~" and char not in '%"'
                else "".join(f"%{b:02X}" for b in char.encode())
                for char in text
            )
    return headers


def modes(document: Mapping[str, Any]) -> list[Draft]:
    """Return the draft of an event in each of the three modes."""
    body = json.dumps(document.get("data")).encode() if "data" in document else b""
    return [
        *parse(document),
        *parse([document], BATCH),
        *parse(body, binary(document)),
    ]


# What is valid ------------------------------------------------------------------------------------


def test_attributes_read_back_equal_in_all_three_modes() -> None:
    """Structured, batch and binary give the same event."""
    for draft in modes(FULL):
        assert draft.source_id == "A234-1234-1234"
        assert draft.source == "/mycontext"
        assert draft.type == "com.example.someevent"
        assert draft.subject == "larger-context"
        assert draft.time == datetime(2018, 4, 5, 17, 31, tzinfo=UTC)
        assert draft.data == FULL["data"]
        assert draft.strict
        assert read_data(draft.body, draft.body_format) == FULL["data"]


def test_the_minimal_event_is_enough() -> None:
    """Four attributes make an event without data."""
    for draft in modes(MINIMAL):
        assert (draft.subject, draft.time, draft.data) == (None, None, None)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/cloudevents+json",
        "APPLICATION/CloudEvents+JSON",
        "application/cloudevents+json;charset=UTF-8",
        'application/cloudevents+json; charset="utf-8"',
        " application/cloudevents+json ",
    ],
)
def test_the_media_type_is_read_without_regard_to_case(media_type: str) -> None:
    """The prefix of the content type decides, whatever its case and parameters."""
    assert parse(MINIMAL, {"Content-Type": media_type})


def test_structured_wins_over_headers() -> None:
    """With both, the body is the event and its headers do not matter."""
    (draft,) = parse(MINIMAL, {**STRUCTURED, "ce-id": "other", "ce-type": "", "ce-datacontenttype": "x"})
    assert draft.source_id == "A234-1234-1234"


def test_null_means_unset() -> None:
    """An attribute that is null is as if it were not there; null data is data."""
    (draft,) = parse(MINIMAL | {"subject": None, "time": None, "ext": None, "data": None})
    assert (draft.subject, draft.time, draft.data) == (None, None, None)


@pytest.mark.parametrize(
    ("members", "data"),
    [
        ({"data": "I'm just a string"}, "I'm just a string"),
        ({"data": [1, {"a": None}]}, [1, {"a": None}]),
        ({"data": False}, False),
        ({"datacontenttype": "application/xml", "data": "<much wow='xml'/>"}, "<much wow='xml'/>"),
        ({"datacontenttype": "text/plain", "data": {"a": 1}}, {"a": 1}),
        ({"data_base64": "aGVsbG8="}, "hello"),
        ({"data_base64": ""}, ""),
        ({"datacontenttype": "application/json", "data_base64": "eyJhIjoxfQ=="}, {"a": 1}),
        ({"datacontenttype": "application/vnd.apache.thrift.binary", "data_base64": "/v8="}, "/v8="),
    ],
)
def test_data_in_the_envelope(members: dict[str, Any], data: Any) -> None:
    """Data is any JSON value, or base64; it reads back from the kept bytes."""
    (draft,) = parse(MINIMAL | members)
    assert draft.data == data
    assert draft.body_format == BodyFormat.ENVELOPE
    assert read_data(draft.body, draft.body_format) == data


@pytest.mark.parametrize(
    ("body", "content_type", "body_format", "data"),
    [
        (b'{"a":1}', "application/json; charset=utf-8", BodyFormat.JSON, {"a": 1}),
        (b'{"a":1}', "application/vnd.acme+json", BodyFormat.JSON, {"a": 1}),
        (b"<a/>", "application/xml", BodyFormat.TEXT, "<a/>"),
        (b"hello", "text/plain", BodyFormat.TEXT, "hello"),
        (b"\xff\xfe", "text/plain", BodyFormat.BYTES, None),
        (b"a=1", "application/x-www-form-urlencoded", BodyFormat.FORM, {"a": "1"}),
        (b"\x00\x01", "application/octet-stream", BodyFormat.BYTES, None),
        (b"\x00\x01", None, BodyFormat.BYTES, None),
        (b"", "application/json", BodyFormat.NONE, None),
    ],
)
def test_data_in_binary_mode(
    body: bytes, content_type: str | None, body_format: BodyFormat, data: Any
) -> None:
    """The body is the data, of the type that Content-Type says."""
    headers = binary(MINIMAL) | ({"Content-Type": content_type} if content_type else {})
    (draft,) = parse(body, headers)
    assert (draft.body, draft.body_format, draft.data) == (body, body_format, data)
    assert draft.content_type == (content_type or "")


@pytest.mark.parametrize(
    "source",
    [
        "https://github.com/cloudevents",
        "mailto:cncf-wg-serverless@lists.cncf.io",
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "urn:event:from:myapi/resource/123",
        "/cloudevents/spec/pull/123",
        "1-555-123-4567",
        "http://[2001:db8::1]:8080/a?b=c#d",
        "//example.com/a%20b",
        "../up",
        "?query",
        "#",
        "a",
        ".",
        "x:",
        "file:///",
        "user@host/path:with:colons",
    ],
)
def test_sources_are_uri_references(source: str) -> None:
    """Absolute and relative references are both good."""
    assert [draft.source for draft in modes(MINIMAL | {"source": source})] == [source] * 3


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2018-04-05T17:31:00Z", datetime(2018, 4, 5, 17, 31, tzinfo=UTC)),
        ("2018-04-05t17:31:00z", datetime(2018, 4, 5, 17, 31, tzinfo=UTC)),
        ("2018-04-05T17:31:00+02:30", datetime(2018, 4, 5, 15, 1, tzinfo=UTC)),
        ("2018-04-05T17:31:00-00:00", datetime(2018, 4, 5, 17, 31, tzinfo=UTC)),
        ("2018-04-05T17:31:00.5Z", datetime(2018, 4, 5, 17, 31, 0, 500000, tzinfo=UTC)),
        ("2018-04-05T17:31:00.123456789Z", datetime(2018, 4, 5, 17, 31, 0, 123456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339(time: str, moment: datetime) -> None:
    """Any offset, any fraction, either case, and the leap second."""
    assert [draft.time for draft in modes(MINIMAL | {"time": time})] == [moment] * 3


@pytest.mark.parametrize(
    "text", ["Euro € 😀", "a b", '"quoted"', "100%", "%41", "\\", "ü", "a,b;c", "'(comment)'"]
)
def test_any_text_survives_the_headers(text: str) -> None:
    """What is encoded as the binding prescribes is decoded by one round, and by no second one."""
    seen = text.replace(" ", "_")
    for draft in modes(MINIMAL | {"id": text, "subject": text, "type": seen}):
        assert (draft.source_id, draft.subject, draft.type) == (text, text, seen)
    assert cloudevents.decode_header(cloudevents.encode_header(text).encode()) == text


def test_header_values_are_encoded_as_prescribed() -> None:
    """The specification's own example, and nothing encoded that need not be."""
    assert cloudevents.encode_header("Euro € 😀") == "Euro%20%E2%82%AC%20%F0%9F%98%80"
    plain = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '%"')
    assert cloudevents.encode_header(plain) == plain
    assert cloudevents.encode_header(' "%\x7f\x00') == "%20%22%25%7F%00"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"plain", "plain"),
        (b'"quoted text"', "quoted text"),
        (b'"with \\"quotes\\" and \\\\"', 'with "quotes" and \\'),
        (b'"%20"', " "),
        (b'"  quoted  text  "unquoted', "  quoted  text  unquoted"),
        (b'first "a \\"b\\" " "c"d', 'first a "b"  cd'),
        (b'""', ""),
        (b'a"%22"', 'a"'),
        (b"%e2%82%ac", "€"),
        (b"%61%62", "ab"),
        (b"%2541", "%41"),
        ("ü".encode(), "ü"),
        (b"  padded\t", "padded"),
        (b"a+b", "a+b"),
    ],
)
def test_header_values_are_decoded_as_prescribed(header: bytes, value: str) -> None:
    """First the quotes, wherever they stand, then one round of percent-decoding."""
    assert cloudevents.decode_header(header) == value


# Batches, doors, traces ---------------------------------------------------------------------------


def test_an_empty_batch_is_valid() -> None:
    """No events are no fault."""
    assert parse(b" [ ] ", BATCH) == []
    assert cloudevents.is_batch(Headers.of(BATCH))
    assert not cloudevents.is_batch(Headers.of(STRUCTURED))


def test_each_event_of_a_batch_keeps_its_own_bytes() -> None:
    """An event's body is its slice of the batch, byte for byte."""
    first = b'{"specversion":"1.0", "id":"1","source":"/a","type":"t","data":{"x":["],","\\"}{\\\\"]}}'
    second = b'{\n "type":"t",\t"id":"2","source":"/a","specversion":"1.0" }'
    found = parse(b"\r\n[ " + first + b" ,\t" + second + b"\n]\n", BATCH)
    assert [draft.body for draft in found] == [first, second]
    assert [draft.content_type for draft in found] == ["application/cloudevents+json"] * 2
    assert read_data(found[0].body, found[0].body_format) == {"x": ["],", '"}{\\']}


def test_the_same_id_of_another_source_is_another_event() -> None:
    """`source` and `id` together tell events apart, so the door's scope has the source in it."""
    (first,) = parse(MINIMAL)
    (again,) = parse(MINIMAL)
    (other,) = parse(MINIMAL | {"source": "/other"})
    (long,) = parse(MINIMAL | {"source": "/" + "x" * 1000})
    assert first.door == again.door == "events/key /mycontext"
    assert other.door != first.door
    assert len(long.door) < 100


def test_the_trace_comes_from_the_extension_or_the_header() -> None:
    """The event's own trace context wins over the request's; a wrong one is as good as none."""
    event = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    hop = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    assert parse(MINIMAL | {"traceparent": event}, {**STRUCTURED, "traceparent": hop})[0].traceparent == event
    assert parse(MINIMAL, {**STRUCTURED, "traceparent": hop})[0].traceparent == hop
    for wrong in ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", hop.upper(), hop + "-x", "ff" + hop[2:], "x"):
        assert parse(MINIMAL, {**STRUCTURED, "traceparent": wrong})[0].traceparent is None
    later = "cc" + hop[2:] + "-what-the-future-brings"
    assert parse(MINIMAL, {**STRUCTURED, "traceparent": later})[0].traceparent == later


def test_credentials_are_not_kept() -> None:
    """The attributes' headers are kept with the event, the credentials are not."""
    headers = binary(MINIMAL | {"ext": "kept"}) | {"Authorization": "Bearer x", "Cookie": "a=b"}
    kept = dict(parse(b"", headers)[0].headers)
    assert kept["ce-ext"] == "kept"
    assert "authorization" not in kept
    assert "cookie" not in kept


# Rendering ----------------------------------------------------------------------------------------


def an_event(**changes: Any) -> Event:
    """Return an event."""
    moment = datetime(2026, 11, 24, 3, tzinfo=UTC)
    fields = {"id": "0197", "type": "order.placed", "source": "shop", "time": moment, "accepted": moment}
    return Event(**(fields | changes))


@pytest.mark.parametrize(
    "event",
    [
        an_event(),
        an_event(source="my shop", subject="Größe €", data={"a": [1, None]}, source_id="s-1"),
        an_event(traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", data="text"),
    ],
)
def test_what_is_rendered_is_a_cloudevent(event: Event) -> None:
    """What we render in any mode is valid, and reads back equal."""
    renderings = [
        cloudevents.render_structured(event),
        cloudevents.render_batch([event]),
        cloudevents.render_binary(event),
    ]
    for headers, body in renderings:
        (draft,) = parse(body, headers)
        assert draft.type == event.type
        assert draft.source_id == (event.source_id or event.id)
        assert draft.subject == event.subject
        assert draft.time == event.time
        assert draft.data == event.data
        assert draft.traceparent == event.traceparent
    assert parse(*reversed(cloudevents.render_batch([]))) == []


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
attribute_text = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=20,
)


@settings(max_examples=200, deadline=None)
@given(attribute_text, attribute_text, attribute_text, json_values)
def test_valid_events_read_back_equal(id: str, text: str, subject: str, data: Any) -> None:
    """Any text and any data survive all three modes."""
    kind = tidy_type(text)
    try:
        json.dumps(data, allow_nan=False)
    except ValueError:
        data = None
    integers = json.dumps(data)
    document = MINIMAL | {
        "id": id,
        "type": kind,
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    }
    for draft in modes(document):
        assert (draft.source_id, draft.type, draft.subject) == (id, kind, subject)
        if not any(len(word) > 15 for word in integers.replace(",", " ").split()):
            assert draft.data == data


def test_base64_is_base64() -> None:
    """The encoded form of what is no text is the one that came."""
    raw = bytes(range(256))
    encoded = base64.b64encode(raw).decode()
    assert parse(MINIMAL | {"data_base64": encoded})[0].data == encoded
