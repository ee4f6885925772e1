"""`/events` over HTTP: what is accepted, what is a duplicate, and what is refused with which words."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import secrets
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from hookline import cloudevents
from hookline.event import Event, new_id
from hookline.gateway import doors
from hookline.sources import load
from hookline.triggers import Trigger
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import eventually

SECRET = "a secret that only github has"
SOURCES = """
sources:
  github: {recipe: github, secrets: ["${GITHUB_SECRET}"]}
"""
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway on the loopback, without keys."""
    async with running_gateway(
        tmp_path_factory.mktemp("gateway"), sources=SOURCES, environ={"GITHUB_SECRET": SECRET}
    ) as running:
        yield running


async def send(gateway: RunningGateway, **event: Any) -> httpx.Response:
    return await gateway.http.post("/events", json=event)


def is_problem(answer: httpx.Response, status: int, reason: str) -> bool:
    """Check a refusal: a problem document of the right status and reason."""
    assert answer.headers["content-type"] == PROBLEM, answer.text
    document = answer.json()
    assert (answer.status_code, document["status"], document["reason"]) == (status, status, reason), document
    assert document["detail"]
    return True


async def test_an_accepted_event_is_on_the_disk_byte_for_byte(gateway: RunningGateway) -> None:
    """The answer is 202 with the tracking id and its address, and the inbox has the bytes as they came."""
    body = b'{"type": "order.placed",  "subject":"order-17", "data": {"amount": 12.50}}'
    answer = await gateway.http.post("/events", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 202
    document = answer.json()
    assert document["status"] == "accepted"
    assert answer.headers["location"] == f"/events/{document['id']}"
    assert (await gateway.body(document["id"])).body == body
    kept = await gateway.http.get(f"/events/{document['id']}/body")
    assert kept.content == body
    stored = await gateway.stored(document["id"])
    assert (stored.type, stored.subject, stored.source) == ("order.placed", "order-17", "local")


async def test_the_tracking_document_has_exactly_the_designed_members(gateway: RunningGateway) -> None:
    """An event that nothing expects is ignored at once, and its document says when it was routed."""
    accepted = (await send(gateway, type="order.placed", id="doc-1")).json()
    document = (await gateway.http.get(f"/events/{accepted['id']}")).json()
    assert set(document) == {
        "id", "source", "source_id", "type", "subject", "time", "status", "duplicates",
        "explanation", "dispatches", "receipt", "cause", "effects",
    }  # fmt: skip
    assert document["status"] == "ignored"
    assert document["receipt"]["routed"] is not None
    assert document["dispatches"] == document["effects"] == []


async def test_the_same_id_again_is_a_duplicate(gateway: RunningGateway) -> None:
    """The second one gets the first one's tracking id and is counted."""
    first = (await send(gateway, type="order.placed", id="twice")).json()
    again = (await send(gateway, type="order.placed", id="twice")).json()
    assert again == {"id": first["id"], "status": "duplicate"}
    assert (await gateway.stored(first["id"])).duplicates == 1


async def test_the_same_id_with_another_body_is_a_conflict(gateway: RunningGateway) -> None:
    """It is 422, and counts as no duplicate."""
    first = (await send(gateway, type="order.placed", id="changed", data=1)).json()
    assert is_problem(await send(gateway, type="order.placed", id="changed", data=2), 422, "conflict")
    assert (await gateway.stored(first["id"])).duplicates == 0


@pytest.mark.parametrize(
    ("first", "again"),
    [('"order-17"', '"order-17"'), ("order-18", '"order-18"'), (r'"a\"b\\c"', r'"a\"b\\c"')],
    ids=["quoted", "bare and quoted are the same", "escapes"],
)
async def test_an_idempotency_key_makes_a_repeated_request_one_event(
    gateway: RunningGateway, first: str, again: str
) -> None:
    """The key is the id of an event that has none: same payload, a duplicate; another payload, 422."""
    event = {"type": "order.placed", "data": first}
    one = await gateway.http.post("/events", json=event, headers={"Idempotency-Key": first})
    two = await gateway.http.post("/events", json=event, headers={"Idempotency-Key": again})
    assert two.json() == {"id": one.json()["id"], "status": "duplicate"}
    other = await gateway.http.post("/events", json={"type": "other"}, headers={"Idempotency-Key": again})
    assert is_problem(other, 422, "conflict")


async def test_an_events_own_id_counts_more_than_the_requests_key(gateway: RunningGateway) -> None:
    """Two events with ids of their own are two events, whatever key a client library adds."""
    headers = {"Idempotency-Key": '"same"'}
    one = await gateway.http.post("/events", json={"type": "a.b", "id": "own-1"}, headers=headers)
    two = await gateway.http.post("/events", json={"type": "a.b", "id": "own-2"}, headers=headers)
    assert one.json()["id"] != two.json()["id"]
    assert (await gateway.stored(two.json()["id"])).source_id == "own-2"


@pytest.mark.parametrize("key", ['""', '"open', 'a"b', "k" * 256, "caf\u00e9"], ids=repr)
async def test_a_malformed_idempotency_key_is_refused(gateway: RunningGateway, key: str) -> None:
    """An event must not lose its protection against doubling unnoticed."""
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = await gateway.http.post("/events", json={"type": "a.b"}, headers=headers)
    assert is_problem(answer, 400, "bad-idempotency-key")


async def test_reserved_sources_and_types_are_refused(gateway: RunningGateway) -> None:
    """Nobody can pose as a configured source, nor as Prefect or Hookline."""
    for source in ("github", "prefect", "hookline"):
        assert is_problem(await send(gateway, type="a.b", source=source), 403, "reserved-source")
    for kind in ("github.push", "prefect.flow-run.Completed", "hookline.anything"):
        assert is_problem(await send(gateway, type=kind), 403, "reserved-type")


async def test_ids_of_a_webhook_cannot_be_used_up_through_events(gateway: RunningGateway) -> None:
    """Deduplication is per door: an id at /events says nothing to the door of a source."""
    delivery = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    await send(gateway, type="a.b", id=delivery)
    body = b'{"zen": "once"}'
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Delivery": delivery, "X-GitHub-Event": "push", "content-type": "application/json",
        "X-Hub-Signature-256": f"sha256={signature}",
    }  # fmt: skip
    answer = await gateway.http.post("/webhooks/github", content=body, headers=headers)
    assert answer.json()["status"] == "accepted"
    again = await gateway.http.post("/webhooks/github", content=body, headers=headers)
    assert again.json() == {"id": answer.json()["id"], "status": "duplicate"}


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b"{", "application/json", 400, "bad-json"),
        (b"[]", "application/json", 400, "bad-event"),
        (b'{"type": ""}', "application/json", 400, "bad-event"),
        (b'{"type": "a", "time": "2026-11-24T03:00:00"}', "application/json", 400, "bad-event"),
        (b'{"type": "a", "kind": "b"}', "application/json", 400, "bad-event"),
        (b'{"type": "a", "cause": {"run": "x"}}', "application/json", 400, "bad-event"),
        (b'{"type": "a"}', "text/plain", 415, "unknown-format"),
        (b'{"type": "a"}', "application/json; charset=latin-1", 415, "unknown-format"),
        (b"{}", "application/cloudevents+xml", 415, "unknown-format"),
        (b'{"type": "a", "data": ' + b"[" * 70 + b"]" * 70 + b"}", "application/json", 400, "json-depth"),
        (b'{"type": "a", "data": "' + b"x" * 1_048_576 + b'"}', "application/json", 413, "too-large"),
    ],
    ids=["json", "array", "empty type", "naive time", "member", "cause", "text", "charset", "format", "depth",
         "size"],
)  # fmt: skip
async def test_what_is_no_event_is_refused(
    gateway: RunningGateway, content: bytes, kind: str, status: int, reason: str
) -> None:
    """Bad input is a 4xx problem that says what is wrong, never a 5xx."""
    answer = await gateway.http.post("/events", content=content, headers={"content-type": kind})
    assert is_problem(answer, status, reason)


async def test_compressed_bodies_are_read_within_the_same_limit(gateway: RunningGateway) -> None:
    """gzip and deflate are understood; what unpacks to more than the limit is 413, what is broken 400."""
    event = orjson.dumps({"type": "a.b", "data": "x" * 1000})
    small = [("gzip", gzip.compress(event)), ("deflate", zlib.compress(event))]
    for name, content in small:
        answer = await post_encoded(gateway, name, content)
        assert answer.status_code == 202, answer.text
        assert (await gateway.body(answer.json()["id"])).body == event
    bomb = gzip.compress(b'{"type": "a.b", "data": "' + b" " * 50_000_000 + b'"}')
    assert len(bomb) < 100_000
    assert is_problem(await post_encoded(gateway, "gzip", bomb), 413, "too-large")
    assert is_problem(await post_encoded(gateway, "gzip", small[0][1][:-8]), 400, "broken-encoding")
    assert is_problem(await post_encoded(gateway, "gzip", b"nothing of the kind"), 400, "broken-encoding")
    assert is_problem(await post_encoded(gateway, "br", event), 415, "unknown-encoding")


async def test_a_body_compressed_in_parts_is_read_to_its_end(gateway: RunningGateway) -> None:
    """gzip may be made of many members; the limit holds for all of them, and nothing else may follow."""
    event = orjson.dumps({"type": "a.b", "data": "x" * 1000})
    members = [gzip.compress(event[at : at + 100]) for at in range(0, len(event), 100)]
    answer = await post_encoded(gateway, "gzip", b"".join(members))
    assert answer.status_code == 202, answer.text
    assert (await gateway.body(answer.json()["id"])).body == event
    # Random, so that it is as large as what comes of it: many pieces of work.
    large = orjson.dumps({"type": "a.b", "data": base64.b64encode(secrets.token_bytes(700_000)).decode()})
    answer = await post_encoded(
        gateway, "gzip", gzip.compress(large[:99_999]) + gzip.compress(large[99_999:])
    )
    assert (await gateway.body(answer.json()["id"])).body == large
    wide = orjson.dumps({"type": "a.b", "data": " " * 900_000})
    answer = await post_encoded(gateway, "gzip", gzip.compress(wide))
    assert (await gateway.body(answer.json()["id"])).body == wide
    bomb = gzip.compress(b" " * 100_000) * 100
    assert is_problem(await post_encoded(gateway, "gzip", bomb), 413, "too-large")
    whole = gzip.compress(event)
    for wrong in (
        whole + b"x", whole + whole[:-4], whole + zlib.compress(b""), whole + gzip.compress(b"") * 50_000
    ):  # fmt: skip
        assert is_problem(await post_encoded(gateway, "gzip", wrong), 400, "broken-encoding")
    twice = zlib.compress(event) * 2
    assert is_problem(await post_encoded(gateway, "deflate", twice), 400, "broken-encoding")


async def post_encoded(gateway: RunningGateway, encoding: str, content: bytes) -> httpx.Response:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    return await gateway.http.post("/events", content=content, headers=headers)


async def test_the_trace_context_of_a_request_stays_with_the_event(gateway: RunningGateway) -> None:
    """As its standard says, by every way in: what is none, or is there twice, is left out."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    parent, state = ("traceparent", trace), ("tracestate", "a=1 , b=2")
    native = [("content-type", "application/json")]
    binary = [("ce-specversion", "1.0"), ("ce-type", "a.b"), ("ce-source", "/trace")]
    for number, (given, kept) in enumerate(
        [
            ([parent, state], (trace, "a=1,b=2")),
            ([parent, ("tracestate", "a=1"), ("TRACESTATE", "b=2")], (trace, "a=1,b=2")),
            ([parent, ("tracestate", "a=1,a=2")], (trace, None)),
            ([parent, parent, state], (None, None)),
            ([("traceparent", "nonsense"), state], (None, None)),
            ([state], (None, None)),
        ]
    ):
        for known in (native, [*binary, ("ce-id", f"{number}")]):
            headers = [*known, *given]
            answer = await gateway.http.post("/events", content=b'{"type": "a.b"}', headers=headers)
            stored = await gateway.stored(answer.json()["id"])
            assert (stored.traceparent, stored.tracestate) == kept, number


async def test_a_run_says_what_made_it_send(gateway: RunningGateway) -> None:
    """`cause` of our JSON makes the event an effect of another, one step deeper in its chain."""
    first = (await send(gateway, type="a.b")).json()["id"]
    cause = {"event": first, "flow_run": new_id(), "task_run": None}
    second = (await send(gateway, type="a.c", cause=cause)).json()["id"]
    assert (await gateway.stored(second)).depth == 1
    assert (await gateway.http.get(f"/events/{first}")).json()["effects"] == [second]


# CloudEvents ------------------------------------------------------------------------------------------

TRICKY = Event(
    id=new_id(),
    type="com.example.order-placed.\u20ac",
    source="/shop/\u00fc?x=1",
    subject='100% "sure" \u4f60\u597d',
    source_id="id with space/\U0001f600",
    time=datetime(2026, 11, 24, 3, 0, 0, 123456, tzinfo=UTC),
    accepted=datetime(2026, 11, 24, tzinfo=UTC),
    data={"text": "\u20ac", "list": [1, 2.5, None]},
)
RENDERERS = {
    "structured": cloudevents.render_structured,
    "binary": cloudevents.render_binary,
    "batch": lambda event: cloudevents.render_batch([event]),
}


@pytest.mark.parametrize("mode", RENDERERS)
async def test_cloudevents_read_back_equal_in_every_mode(gateway: RunningGateway, mode: str) -> None:
    """Attributes and data come out of the inbox as they went into the request, whatever the mode."""
    event = replace(TRICKY, source=f"/shop/{mode}")
    headers, body = RENDERERS[mode](event)
    answer = await gateway.http.post(
        "/events", content=body, headers={k.encode(): v.encode("latin-1") for k, v in headers.items()}
    )
    assert answer.status_code == 202, answer.text
    document = answer.json()["events"][0] if mode == "batch" else answer.json()
    kept = await gateway.house.inbox.full_event(document["id"])
    assert kept is not None
    read = (kept.type, kept.source, kept.subject, kept.source_id, kept.time, kept.data)
    assert read == (event.type, event.source, event.subject, event.source_id, event.time, event.data)


async def test_the_same_cloudevent_in_two_modes_is_another_body(gateway: RunningGateway) -> None:
    """`source` and `id` tell CloudEvents apart: the same pair is a duplicate, another source is not."""
    event = {"specversion": "1.0", "type": "a.b", "id": "1", "source": "/one"}
    kind = {"content-type": "application/cloudevents+json"}
    first = await gateway.http.post("/events", json=event, headers=kind)
    again = await gateway.http.post("/events", json=event, headers=kind)
    other = await gateway.http.post("/events", json={**event, "source": "/two"}, headers=kind)
    assert again.json() == {"id": first.json()["id"], "status": "duplicate"}
    assert other.json()["status"] == "accepted"


async def test_a_batch_is_answered_event_by_event(gateway: RunningGateway) -> None:
    """Each event has its own outcome, an empty batch is valid, and one faulty event refuses all of it."""
    kind = {"content-type": "application/cloudevents-batch+json"}

    def event(number: int, **more: Any) -> dict[str, Any]:
        return {"specversion": "1.0", "type": "a.b", "id": f"batch-{number}", "source": "/b", **more}

    answer = await gateway.http.post("/events", json=[event(1), event(2), event(1)], headers=kind)
    assert answer.status_code == 202
    outcomes = answer.json()["events"]
    assert [each["status"] for each in outcomes] == ["accepted", "accepted", "duplicate"]
    assert outcomes[0]["id"] == outcomes[2]["id"]
    assert (await gateway.http.post("/events", json=[], headers=kind)).json() == {"events": []}
    wrong = await gateway.http.post("/events", json=[event(3), event(4, type="")], headers=kind)
    assert is_problem(wrong, 400, "bad-cloudevent")
    assert wrong.json()["pointer"] == "/1/type"
    foreign = await gateway.http.post("/events", json=[event(3), event(4, type="github.push")], headers=kind)
    assert is_problem(foreign, 403, "reserved-type")
    conflict = await gateway.http.post("/events", json=[event(3), event(1, data=1)], headers=kind)
    assert is_problem(conflict, 422, "conflict")
    assert conflict.json()["pointer"] == "/1"
    retried = await gateway.http.post("/events", json=[event(3)], headers=kind)
    assert retried.json()["events"][0]["status"] == "duplicate"


async def test_a_large_batch_is_accepted_whole(gateway: RunningGateway) -> None:
    """A batch of thousands goes to the disk bit by bit, and is no reason to say 503."""
    events = [{"specversion": "1.0", "type": "a.b", "id": f"large-{n}", "source": "/l"} for n in range(6_000)]
    kind = {"content-type": "application/cloudevents-batch+json"}
    answer = await gateway.http.post("/events", json=events, headers=kind)
    assert answer.status_code == 202, answer.text
    assert {each["status"] for each in answer.json()["events"]} == {"accepted"}
    assert len({each["id"] for each in answer.json()["events"]}) == 6_000


async def test_permission_is_granted_with_a_rate(tmp_path: Path) -> None:
    """CloudEvents' abuse protection: whoever asks is told its origin and no more than the keys' rate."""
    async with running_gateway(tmp_path, key_rate="2/s") as gateway:
        ask = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "500"}
        answer = await gateway.http.options("/events", headers=ask)
        assert answer.status_code == 200
        assert answer.headers["webhook-allowed-origin"] == "events.example.com"
        assert answer.headers["webhook-allowed-rate"] == "120"
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        modest = {**ask, "WebHook-Request-Rate": "60"}
        granted = await gateway.http.options("/events", headers=modest)
        assert granted.headers["webhook-allowed-rate"] == "60"
        nobody = await gateway.http.options("/events")
        assert (nobody.status_code, nobody.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
        for asking in (ask, {}):
            for rate in ("-1", ""):
                headers = {**asking, "WebHook-Request-Rate": rate}
                wrong = await gateway.http.options("/events", headers=headers)
                assert is_problem(wrong, 400, "bad-rate")


# Waiting ----------------------------------------------------------------------------------------------


async def test_wait_returns_at_once_where_nothing_will_happen(gateway: RunningGateway) -> None:
    """An ignored event is final: the answer to `?wait=` is its tracking document."""
    answer = await gateway.http.post("/events?wait=30", json={"type": "a.b"}, timeout=5)
    assert (answer.status_code, answer.json()["status"]) == (202, "ignored")
    kind = {"content-type": "application/cloudevents-batch+json"}
    event = {"specversion": "1.0", "type": "a.b", "id": "w", "source": "/w"}
    batch = await gateway.http.post("/events?wait=30", json=[event], headers=kind, timeout=5)
    assert [each["status"] for each in batch.json()["events"]] == ["ignored"]


@pytest.mark.parametrize("wait", ["-1", "nan", "soon", ""])
async def test_a_wait_that_is_no_number_is_refused(gateway: RunningGateway, wait: str) -> None:
    """The event is not accepted either: the sender did not get what it asked for."""
    assert is_problem(await gateway.http.post(f"/events?wait={wait}", json={"type": "a.b"}), 400, "bad-wait")


async def test_whoever_hangs_up_waits_no_longer(tmp_path: Path) -> None:
    """A request that waits for an event ends with its connection, so that nobody can pile them up."""
    trigger = Trigger(flow="f", deployment="d", name="t", expect=("slow.*",), passes_event=True)
    async with running_gateway(tmp_path, triggers=[trigger]) as gateway:
        event = (await send(gateway, type="slow.event")).json()["id"]
        _reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(f"GET /events/{event}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        waiting = gateway.house.changes._waiting
        await asyncio.to_thread(eventually, lambda: event in waiting, "the request waits", 5)
        writer.close()
        await asyncio.to_thread(eventually, lambda: event not in waiting, "the request has ended", 5)


# Searching --------------------------------------------------------------------------------------------


async def test_pages_of_a_search_hold_every_event_once(gateway: RunningGateway) -> None:
    """Newest first, with a cursor from page to page."""
    sent = [(await send(gateway, type="page.test", subject=f"s{n}")).json()["id"] for n in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        query = {"type": "page.*", "limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await gateway.http.get("/events", params=query)).json()
        found += [event["id"] for event in page["events"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == sent[::-1]
    one = (await gateway.http.get("/events", params={"type": "page.test", "subject": "s3"})).json()
    assert [event["id"] for event in one["events"]] == [sent[3]]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "limit=" + "9" * 5000, "status=lost", "since=2026-11-24T03:00:00",
     "until=tomorrow", "cursor=xyz", "cursor=%C3%A9", "type=%00", "subject=a%0Ab"],
    ids=lambda query: query[:20],
)  # fmt: skip
async def test_a_query_that_cannot_be_used_is_refused(gateway: RunningGateway, query: str) -> None:
    """Nothing in a query makes a 5xx; the refusal names the parameter."""
    answer = await gateway.http.get(f"/events?{query}")
    assert is_problem(answer, 400, "bad-query")
    assert query.partition("=")[0] in answer.json()["detail"]


async def test_unknown_addresses_and_methods(gateway: RunningGateway) -> None:
    """404 and 405 are problems too, 405 with `Allow`; a slash too many is no redirect."""
    for path in ("/nothing", "/events/", "/events/x/y", "/%00", "/events/%00"):
        assert is_problem(await gateway.http.get(path), 404, "not-found"), path
    assert is_problem(await gateway.http.get(f"/events/{new_id()}"), 404, "no-such-event")
    wrong = await gateway.http.put("/events", json={})
    assert is_problem(wrong, 405, "method")
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    head = await gateway.http.head("/healthz")
    assert (head.status_code, head.content) == (200, b"")


def test_the_reserved_words_are_those_of_the_sources() -> None:
    """What a source may not call itself is what nobody may send."""
    assert doors.RESERVED_PREFIXES == load.RESERVED_PREFIXES
