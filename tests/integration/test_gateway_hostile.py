"""Hostile requests over real HTTP: nothing in them makes a 5xx, and only what is signed gets in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.sources import builtin, recipe_names
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.wire import request, statuses
from tests.unit.sources.test_hostile import all_sources, bodies, header_names, values


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway with a source of every recipe."""
    async with running_gateway(tmp_path_factory.mktemp("gateway"), sources=all_sources()) as running:
        yield running


def can_be_sent(value: bytes) -> bool:
    """Return whether HTTP can carry a value in a header; what it cannot carry is a broken request."""
    return not any(byte in b"\x00\r\n" or byte < 9 or 10 < byte < 32 or byte == 127 for byte in value)


header_values = values.filter(can_be_sent).map(lambda value: value.strip(b" \t"))
queries = st.one_of(
    st.sampled_from(
        ["", "hub.mode=subscribe&hub.challenge=1", "challenge=x", "wait=0", "access_token=x", "%", "a=%ff"]
    ),
    st.binary(max_size=30).map(quote),
)
headers = st.lists(
    st.tuples(st.sampled_from([name.decode() for name in header_names()]), header_values), max_size=6
)
methods = st.sampled_from(["POST", "POST", "POST", "GET", "OPTIONS", "PUT", "HEAD", "DELETE"])


def opens_unsigned(name: str) -> bool:
    return any(not rule.signed for rule in builtin(name).handshakes)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(recipe_names()), method=methods, query=queries, headers=headers, body=bodies)
async def test_no_request_to_a_source_makes_a_5xx_or_gets_in_unsigned(
    gateway: RunningGateway, name: str, method: str, query: str, headers: list[tuple[str, bytes]], body: bytes
) -> None:
    """4xx, or the answer to a handshake that is not signed; the inbox stays as it was."""
    path = f"/webhooks/{name}" + (f"?{query}" if query else "")
    if method == "HEAD":
        body = b""
    (status,) = await statuses(gateway.port, [request(method, path, headers, body)])
    assert 400 <= status < 500 or (status < 300 and opens_unsigned(name))
    assert "received" not in await gateway.house.inbox.totals()


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
members = st.sampled_from(
    [
        "type",
        "source",
        "subject",
        "id",
        "time",
        "data",
        "cause",
        "specversion",
        "data_base64",
        "datacontenttype",
    ]
)
kinds = st.sampled_from(
    [
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "text/plain",
        "",
    ]
)
ce_names = st.sampled_from(["ce-id", "ce-type", "ce-source", "ce-specversion", "ce-time", "ce-x"])
other_names = st.sampled_from(
    ["idempotency-key", "traceparent", "content-encoding", "expect", "origin", "webhook-request-origin"]
)
ce_headers = st.lists(st.tuples(ce_names | other_names, header_values), max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    kind=kinds,
    event=st.dictionaries(members, json_like, max_size=6) | json_like,
    batch=st.booleans(),
    headers=ce_headers,
    query=queries,
)
async def test_no_event_makes_a_5xx(
    gateway_of_events: RunningGateway,
    kind: str,
    event: object,
    batch: bool,
    headers: list[tuple[str, bytes]],
    query: str,
) -> None:
    """Whatever JSON, type of content and headers: 2xx or 4xx."""
    try:
        body = orjson.dumps([event] if batch else event)
    except TypeError:  # a surrogate, which JSON of ours cannot hold
        body = b'"\\ud800"'
    path = "/events" + (f"?{query}" if query else "")
    pairs = [("content-type", kind.encode()), *headers]
    (status,) = await statuses(gateway_of_events.port, [request("POST", path, pairs, body)])
    assert 200 <= status < 300 or 400 <= status < 500


@pytest.fixture(scope="module")
async def gateway_of_events(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway whose inbox may fill up."""
    async with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@settings(max_examples=150, deadline=None)
@given(path=st.binary(max_size=20).map(lambda raw: "/" + quote(raw)), method=methods, query=queries)
async def test_no_address_makes_a_5xx_or_redirects(
    gateway_of_events: RunningGateway, path: str, method: str, query: str
) -> None:
    """Anything may follow the slash."""
    target = path + (f"?{query}" if query else "")
    (status,) = await statuses(gateway_of_events.port, [request(method, target, [])])
    assert 200 <= status < 300 or 400 <= status < 500
