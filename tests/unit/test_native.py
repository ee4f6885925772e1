"""Our own JSON for `POST /events`: `{type, source?, subject?, id?, time?, data?}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from hookline.body import read_data
from hookline.errors import Refusal
from hookline.event import BodyFormat, Cause, Draft
from hookline.native import parse_native
from tests.unit.sources.support import knock

JSON = {"Content-Type": "application/json"}


def parse(body: Any, headers: Mapping[str, str] = JSON) -> Draft:
    """Parse an event."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_native(knock(content, headers), door="events/key", default_source="key")


def refused(body: Any, headers: Mapping[str, str] = JSON) -> Refusal:
    """Return how it is refused."""
    with pytest.raises(Refusal) as refusal:
        parse(body, headers)
    return refusal.value


def test_a_type_is_enough() -> None:
    """The source is then that of the key, and everything else is left open."""
    draft = parse({"type": "order.placed"})
    assert (draft.type, draft.source, draft.source_id, draft.subject, draft.time, draft.data) == (
        "order.placed",
        "key",
        None,
        None,
        None,
        None,
    )
    assert draft.door == "events/key"
    assert draft.strict


def test_all_members_are_read() -> None:
    """What is sent is what the event says; the bytes are kept, and the data reads back from them."""
    document = {
        "type": "order.placed",
        "source": "shop",
        "subject": "order 7",
        "id": "7",
        "time": "2026-11-24T04:00:00+01:00",
        "data": {"total": 12.5, "items": []},
        "cause": {"event": "0197", "flow_run": None, "task_run": "t-1"},
    }
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    draft = parse(document, {**JSON, "Traceparent": trace, "Authorization": "Bearer x"})
    assert (draft.source, draft.subject, draft.source_id) == ("shop", "order 7", "7")
    assert draft.time == datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert draft.cause == Cause(event="0197", task_run="t-1")
    assert draft.traceparent == trace
    assert draft.body == json.dumps(document).encode()
    assert draft.body_format == BodyFormat.ENVELOPE
    assert read_data(draft.body, draft.body_format) == draft.data == document["data"]
    assert "authorization" not in dict(draft.headers)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/type"),
        ({"type": None}, "/type"),
        ({"type": ""}, "/type"),
        ({"type": 7}, "/type"),
        ({"type": "a\nb"}, "/type"),
        ({"type": "x" * 1025}, "/type"),
        ({"type": "a", "source": ["x"]}, "/source"),
        ({"type": "a", "id": 7}, "/id"),
        ({"type": "a", "id": "\x00"}, "/id"),
        ({"type": "a", "subject": {}}, "/subject"),
        ({"type": "a", "time": "2026-11-24T03:00:00"}, "/time"),
        ({"type": "a", "time": 1795489200}, "/time"),
        ({"type": "a", "payload": {}}, "/payload"),
        ({"type": "a", "~/x": {}}, "/~0~1x"),
        ({"type": "a", "specversion": "1.0"}, "/specversion"),
        ({"type": "a", "cause": "x"}, "/cause"),
        ({"type": "a", "cause": {"run": "x"}}, "/cause"),
        ({"type": "a", "cause": {"event": 7}}, "/cause/event"),
        ({"type": "a", "cause": {"event": "x" * 65}}, "/cause/event"),
        ([], ""),
        (b"null", ""),
    ],
)
def test_faults_are_pointed_at(body: Any, pointer: str) -> None:
    """Every fault is 400 and says where it is."""
    refusal = refused(body)
    assert (refusal.status, refusal.pointer) == (400, pointer)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"type":"a"} x', b'{"type":"\\ud800"}', b"[" * 5000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """Not JSON, not UTF-8, or nested too deep."""
    assert refused(body).status == 400


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin-1",
    ],
)
def test_only_what_says_it_is_json_is_read(content_type: str) -> None:
    """A browser may send the other types from any page without asking us first: they are 415."""
    headers = {"Content-Type": content_type} if content_type else {}
    assert refused({"type": "a"}, headers).status == 415


def test_a_cloudevent_that_is_sent_as_json_is_told_how_to_come() -> None:
    """The likeliest mistake has its own advice."""
    assert "application/cloudevents+json" in refused({"specversion": "1.0", "type": "a"}).detail
