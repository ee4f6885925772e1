"""Hostile requests: whatever is sent, it ends as a refusal with 4xx, unless it is signed."""

from __future__ import annotations

import asyncio
from functools import cache

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.errors import Refusal
from hookline.event import Draft
from hookline.sources import Handshake, Headers, Knock, Source, Sources, builtin, recipe_names
from hookline.sources.fetch import Fetched
from hookline.sources.pubsub import KEYS_URL
from tests.unit.sources.cases import CASES, SECRET, WHSEC, Case, b64
from tests.unit.sources.support import NOW, load
from tests.unit.sources.test_coded_providers import AUDIENCE, EMAIL, TOPIC, certificate, keys

PUBLIC_KEYS = {case.recipe: case.secret for case in CASES if case.recipe in ("discord", "sendgrid")}


async def fetch(url: str) -> Fetched:
    """Answer like Google or AWS."""
    return Fetched(keys("k1") if url == KEYS_URL else certificate())


@cache
def all_sources() -> Sources:
    """Return a source of every recipe."""
    entries: dict[str, dict[str, object]] = {}
    environ = {"S": SECRET, "W": WHSEC, "B": "user:word", "T": "token"}
    for name in recipe_names():
        recipe = builtin(name)
        entry: dict[str, object] = {"recipe": name}
        algorithms = {str(scheme.algorithm) for scheme in recipe.schemes}
        if algorithms & {"sns", "pubsub"}:
            entry |= {"topics": [TOPIC], "audience": AUDIENCE, "email": EMAIL}
        elif algorithms == {"url-token"}:
            entry["tokens"] = ["${T}"]
        elif algorithms & {"ed25519", "ecdsa-p256"}:
            entry["secrets"] = [PUBLIC_KEYS.get(name) or "whpk_" + b64(bytes(32))]
            if name == "discord-events":
                entry["secrets"] = ["00" * 32]
        else:
            whsec = any(each.key.prefix == "whsec_" and not each.key.required for each in recipe.schemes)
            entry["secrets"] = ["${W}" if whsec else "${B}" if "basic" in algorithms else "${S}"]
        if name == "meta":
            entry["verify_tokens"] = ["${T}"]
        entries[name] = entry
    sources = load(yaml.safe_dump({"sources": entries}), environ, fetch)
    assert all(source.ready and not source.unusable for source in sources.values())
    return sources


def header_names() -> list[bytes]:
    """Return the names of all headers that any recipe looks at."""
    text = "\n".join(str(builtin(name).model_dump()) for name in recipe_names())
    words = {word.strip("',.:|}{()[]\"") for word in text.replace("header.", " ").split()}
    names = {word.lower().encode() for word in words if "-" in word and word.isascii()}
    return sorted(
        names | {b"authorization", b"content-type", b"ce-id", b"ce-specversion", b"ce-source", b"ce-type"}
    )


ODD_VALUES = [
    b"",
    b"sha256=",
    b"sha256=zz",
    b"v0=",
    b"t=1,v1=",
    b"t=\xff,v1=a",
    b"v1,",
    b"v1,=== v1,\xff",
    b"v1=" * 100,
    b"Bearer ",
    b"Basic ====",
    b"Basic \xff",
    b"Bearer a.b.c",
    b"application/json",
    b"99999999999999999999",
    b"-1",
    b"1e9",
    "１７".encode(),
    b"nan",
    b"application/x-www-form-urlencoded",
    b"application/cloudevents+json",
    b"application/cloudevents-batch+json",
    b"\x00",
    b"1.0",
    b"SubscriptionValidation",
]
ODD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"[[]]",
    b'[1,null,"a"]',
    b"null",
    b"NaN",
    b'{"a":1,"a":2}',
    b"\xff\xfe",
    b'"\\ud800"',
    b"[" * 500 + b"]" * 500,
    b"1" * 400,
    b'{"signature":7}',
    b'{"signature":{"signature":{},"timestamp":[]}}',
    b'{"type":1}',
    b'{"Type":"Notification","TopicArn":[]}',
    b"a=%ff&b=%00&=&&;",
    b"payload=%7B",
    b"payload=[[",
    b'{"webhookTimestamp":1e400}',
    b'{"webhookTimestamp":-1}',
    b'{"webhookTimestamp":true}',
    b'[{"id":"1"},{"data":{"validationCode":{}}}]',
    b'{"events":[]}',
    b'{"specversion":"1.0"}',
]

values = st.one_of(st.sampled_from(ODD_VALUES), st.binary(max_size=40))
bodies = st.one_of(st.sampled_from(ODD_BODIES), st.binary(max_size=200))
requests = st.builds(
    Knock,
    method=st.sampled_from(["POST", "POST", "POST", "GET", "OPTIONS", "PUT"]),
    url=st.sampled_from(["https://h.example.com/w?a=1", "https://[", "http://h:x/", "", "\udcff", "//"]),
    path=st.just("/w"),
    query_string=st.one_of(
        st.binary(max_size=40), st.sampled_from([b"hub.mode=subscribe&hub.challenge=1", b"bodySHA256=\xff"])
    ),
    headers=st.lists(st.tuples(st.sampled_from(header_names()), values), max_size=6).map(Headers),
    body=bodies,
    received=st.just(NOW),
    remote=st.just("192.0.2.7"),
    token=st.one_of(st.none(), st.text(max_size=8)),
)


def outcome(source: Source, request: Knock) -> Handshake | list[Draft] | Refusal:
    """Return what comes of a request; any other exception fails the test."""
    try:
        return asyncio.run(source.receive(request))
    except Refusal as refusal:
        return refusal


def opens_without_signature(name: str) -> bool:
    """Return whether a recipe answers handshakes that are not signed."""
    return any(not rule.signed for rule in builtin(name).handshakes)


@settings(max_examples=700, deadline=None)
@given(name=st.sampled_from(recipe_names()), request=requests)
def test_what_is_not_signed_is_refused(name: str, request: Knock) -> None:
    """No header, body, query or token of a stranger gets in, or makes anything but a 4xx."""
    result = outcome(all_sources()[name], request)
    if isinstance(result, Handshake):
        assert opens_without_signature(name)
        return
    assert isinstance(result, Refusal)
    assert 400 <= result.status < 500
    assert SECRET not in result.detail
    assert WHSEC not in result.detail


@settings(max_examples=200, deadline=None)
@given(case=st.sampled_from(CASES), data=st.data())
def test_a_good_request_with_something_odd_in_it_does_no_harm(case: Case, data: st.DataObject) -> None:
    """One header replaced by anything: refused with 4xx, or accepted where that header is not signed."""
    headers = {**case.headers, **case.sign(case.raw)}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    odd = data.draw(st.sampled_from([name for name, _ in pairs] or [b"content-type"]))
    pairs = [(name, data.draw(values) if name == odd else value) for name, value in pairs]
    request = Knock(
        method="POST",
        url="https://hooks.example.com/webhooks/door",
        path="/",
        query_string=b"",
        headers=Headers(pairs),
        body=case.raw,
        received=NOW,
    )
    result = outcome(case.source(), request)
    if isinstance(result, Refusal):
        assert 400 <= result.status < 500
        return
    for draft in result if isinstance(result, list) else []:
        assert draft.type.isprintable()
        assert draft.type.startswith(case.source().prefix) or case.recipe == "cloudevents"
