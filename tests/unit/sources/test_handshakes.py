"""Handshakes: what providers ask before they send, answered as they want it, signed ones verified first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookline.errors import Refusal
from hookline.sources import Handshake, Knock, Reply, Source
from tests.unit.sources.cases import (
    ED25519_PUBLIC,
    SECRET,
    based,
    discord,
    hexed,
    mac,
    v0,
)
from tests.unit.sources.support import drafts, knock, load, receive, source_of

JSON = {"Content-Type": "application/json"}


def answer(source: Source, request: Knock) -> Reply:
    """Return the answer to a handshake."""
    outcome = receive(source, request)
    assert isinstance(outcome, Handshake)
    return outcome.reply


def refusal(source: Source, request: Knock) -> Refusal:
    """Return how a request is refused."""
    with pytest.raises(Refusal) as refused:
        receive(source, request)
    return refused.value


def header(reply: Reply, name: str) -> str | None:
    """Return a header of an answer."""
    return {each.lower(): value for each, value in reply.headers}.get(name)


def body_of(document: Any) -> bytes:
    """Return an object as JSON."""
    return json.dumps(document).encode()


def test_slack_gets_its_challenge_back() -> None:
    """`url_verification` is answered with the challenge, if it is signed."""
    source = source_of("slack", SECRET)
    body = body_of({"type": "url_verification", "challenge": "3eZbrw1aB", "token": "x"})
    signed = v0("X-Slack-Signature", "X-Slack-Request-Timestamp")(body)
    reply = answer(source, knock(body, {**JSON, **signed}))
    assert (reply.status, reply.body) == (200, b"3eZbrw1aB")
    assert header(reply, "content-type") == "text/plain; charset=utf-8"
    assert refusal(source, knock(body, JSON)).status == 401


def test_zoom_gets_its_token_back_signed() -> None:
    """`endpoint.url_validation` is answered with the token and its HMAC, if it is signed."""
    source = source_of("zoom", SECRET)
    body = body_of({"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}})
    signed = v0("x-zm-signature", "x-zm-request-timestamp")(body)
    reply = answer(source, knock(body, {**JSON, **signed}))
    assert json.loads(reply.body) == {
        "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
        "encryptedToken": mac("qgg8vlvZRS6UYooatFL8Aw").hex(),
    }
    assert refusal(source, knock(body, JSON)).status == 401


def test_discord_gets_a_pong_only_when_its_signature_is_good() -> None:
    """Discord sends bad signatures on purpose: they must be 401, and the good one a PONG."""
    source = source_of("discord", ED25519_PUBLIC.hex())
    body = body_of({"type": 1, "id": "1"})
    reply = answer(source, knock(body, {**JSON, **discord(body)}))
    assert (reply.status, json.loads(reply.body)) == (200, {"type": 1})
    assert refusal(source, knock(body, {**JSON, **discord(body + b" ")})).status == 401


def test_discords_events_are_pinged_with_type_0() -> None:
    """The endpoint for webhook events is pinged with type 0 and wants 204."""
    source = source_of("discord-events", ED25519_PUBLIC.hex())
    body = body_of({"type": 0, "application_id": "1"})
    assert answer(source, knock(body, {**JSON, **discord(body)})) == Reply(
        204, (("X-Content-Type-Options", "nosniff"),), b""
    )


def test_dropbox_gets_its_challenge_as_plain_text() -> None:
    """The challenge comes by GET and goes back as text that no browser takes for a page."""
    reply = answer(
        source_of("dropbox", SECRET), knock(method="GET", url="https://h.example.com/?challenge=<b>a")
    )
    assert (reply.status, reply.body) == (200, b"<b>a")
    assert header(reply, "content-type") == "text/plain; charset=utf-8"
    assert header(reply, "x-content-type-options") == "nosniff"


def test_meta_must_know_the_verify_token() -> None:
    """The challenge goes back only to who says the verify token; one of several is enough."""
    text = "sources: {meta: {recipe: meta, secrets: [${APP}], verify_tokens: [${OLD}, ${NEW}]}}"
    source = load(text, {"APP": SECRET, "OLD": "old word", "NEW": "new word"})["meta"]

    def ask(token: str) -> Knock:
        query = f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}"
        return knock(method="GET", url=f"https://h.example.com/webhooks/meta?{query}")

    assert answer(source, ask("new+word")).body == b"1158201444"
    assert answer(source, ask("old%20word")).body == b"1158201444"
    assert refusal(source, ask("another")).status == 401
    assert refusal(source, ask("")).status == 401
    without = source_of("meta", SECRET)
    assert refusal(without, ask("new+word")).status == 503


def test_event_grid_gets_its_validation_code() -> None:
    """The validation event is answered with its code; the door's token guards it, as nothing is signed."""
    source = load("sources: {grid: {recipe: azure-event-grid, tokens: [${T}]}}", {"T": "opaque"})["grid"]
    event = {
        "id": "1",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": {"validationCode": "512d38b6"},
    }
    headers = {**JSON, "aeg-event-type": "SubscriptionValidation"}
    reply = answer(source, knock(body_of([event]), headers, token="opaque"))
    assert json.loads(reply.body) == {"validationResponse": "512d38b6"}
    assert refusal(source, knock(body_of([event]), headers)).status == 401
    created = {"id": "2", "eventType": "Microsoft.Storage.BlobCreated", "subject": "/c/b", "eventTime": "x"}
    found = drafts(source, knock(body_of([created, created]), JSON, token="opaque"))
    assert [(each.type, each.source_id, each.subject) for each in found] == [
        ("azure.Microsoft.Storage.BlobCreated", "2", "/c/b")
    ] * 2
    assert json.loads(found[0].body) == created


@pytest.mark.parametrize(("rate", "allowed"), [(None, "*"), ("100/s", "6000"), ("30/h", "1")])
def test_cloudevents_senders_may_ask_by_options(rate: str | None, allowed: str) -> None:
    """The OPTIONS handshake of CloudEvents' webhooks names the origin and the source's rate."""
    source = source_of("cloudevents", SECRET, **({"rate": rate} if rate else {}))
    headers = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "120"}
    reply = answer(source, knock(method="OPTIONS", headers=headers))
    assert header(reply, "webhook-allowed-origin") == "events.example.com"
    assert header(reply, "webhook-allowed-rate") == allowed
    assert header(reply, "allow") == "POST"
    assert refusal(source, knock(method="OPTIONS")).status == 405


def test_xero_says_its_intent_to_receive() -> None:
    """A signed body without events is answered 200 with no body, a wrongly signed one 401."""
    source = source_of("xero", SECRET)
    body = body_of({"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "S0m3"})
    reply = answer(source, knock(body, {**JSON, **based("x-xero-signature")(body)}))
    assert (reply.status, reply.body) == (200, b"")
    assert header(reply, "set-cookie") is None
    assert refusal(source, knock(body, {**JSON, **based("x-xero-signature")(b"")})).status == 401
    acknowledged = source.acknowledge("0197", "accepted")
    assert (acknowledged.status, acknowledged.body) == (200, b"")


def test_intercoms_ping_is_no_event() -> None:
    """A signed ping is answered and starts nothing."""
    body = body_of({"topic": "ping", "id": "1"})
    signed = hexed("X-Hub-Signature", "sha1=", "sha1")(body)
    assert answer(source_of("intercom", SECRET), knock(body, {**JSON, **signed})).status == 200


def test_bitbucket_servers_connection_test_is_no_event() -> None:
    """The test of the connection is not signed, and is answered."""
    headers = {**JSON, "X-Event-Key": "diagnostics:ping"}
    assert answer(source_of("bitbucket-server", SECRET), knock(b'{"test":true}', headers)).status == 200


def test_a_handshake_that_lacks_a_part_is_refused() -> None:
    """What an answer would need and is not there makes a 400, never a failure."""
    recipe = {
        "algorithm": "hmac-sha256",
        "signature": {"header": "X-Sig"},
        "handshakes": [
            {
                "name": "hello",
                "signed": False,
                "match": {"method": "GET"},
                "respond": {"json": {"a": "{query.a}"}, "headers": {"X-A": "{query.a}"}},
            },
            {
                "name": "second",
                "signed": False,
                "match": {"equals": {"data.b": 1}},
                "respond": {"body": "{data.c}"},
            },
        ],
    }  # fmt: skip
    source = source_of(recipe, SECRET)
    assert answer(source, knock(method="GET", url="https://h.example.com/?a=%0d%0aX: y")).headers == (
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Type", "application/json"),
    )
    assert refusal(source, knock(method="GET")).status == 400
    assert refusal(source, knock(b'{"b":1}', JSON)).status == 400


def test_other_methods_are_no_events() -> None:
    """A GET that is no handshake is 405, and says what is allowed."""
    refused = refusal(source_of("github", SECRET), knock(method="GET"))
    assert (refused.status, refused.headers) == (405, {"Allow": "POST"})
