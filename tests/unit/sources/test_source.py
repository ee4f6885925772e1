"""A source at work: rotation, tokens, limits, mapping, schemas, batches and answers."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.body import read_data
from hookline.errors import Refusal
from hookline.event import BodyFormat
from hookline.sources import Knock, Source
from tests.unit.sources.cases import ED25519_PUBLIC, SECRET, b64, discord, hexed, mac
from tests.unit.sources.support import NOW, draft, drafts, knock, load, receive, source_of

SIGN = hexed("X-Signature-256", "sha256=")
JSON = {"Content-Type": "application/json"}


def signed(body: bytes, headers: dict[str, str] | None = None, **more: Any) -> Knock:
    """Return a request to a source of the recipe `hmac`."""
    return knock(body, {**JSON, **(headers or {}), **SIGN(body)}, **more)


def refusal(source: Source, request: Knock) -> Refusal:
    """Return how a request is refused."""
    with pytest.raises(Refusal) as refused:
        receive(source, request)
    return refused.value


# Who may knock ------------------------------------------------------------------------------------


def test_any_of_several_secrets_is_good() -> None:
    """Rotation: requests signed with the old and the new secret are both accepted, and say which it was."""
    source = source_of("hmac", "new", "old")
    for number, secret in enumerate(("new", "old"), start=1):
        headers = {"X-Signature-256": "sha256=" + mac(b"{}", secret).hex()}
        assert draft(source, knock(b"{}", headers)).verdict == f"hmac-sha256, secret {number} of 2"
    assert (
        refusal(source, knock(b"{}", {"X-Signature-256": "sha256=" + mac(b"{}", "older").hex()})).status
        == 401
    )


def test_one_of_several_secrets_may_be_missing() -> None:
    """Once the old variable is taken away, the new one is enough."""
    source = load("sources: {a: {recipe: hmac, secrets: [${NEW}, ${OLD}]}}", {"NEW": SECRET})["a"]
    assert source.missing == ("OLD",)
    assert source.ready
    assert draft(source, signed(b"{}"))


def test_a_secret_that_is_no_key_is_named_while_another_works() -> None:
    """A secret in the wrong encoding is reported by its variable, and the good one goes on working."""
    source = source_of("openai", "whsec_no base64", "whsec_" + b64(b"key"))
    assert source.unusable == ("SECRET_0 is not base64",)
    only_bad = source_of("openai", "whsec_no base64")
    refused = refusal(only_bad, knock(b"{}"))
    assert (refused.status, refused.reason) == (401, "unusable-secret")
    assert "SECRET_0" in refused.detail


def test_url_tokens_may_be_rotated() -> None:
    """Where a source has URL tokens any of them is good, and none is 401."""
    text = "sources: {a: {recipe: url-token, tokens: [${NEW}, ${OLD}]}}"
    source = load(text, {"NEW": "new-token", "OLD": "old-token"})["a"]
    assert draft(source, knock(b"{}", JSON, token="new-token")).verdict == "url-token"
    assert draft(source, knock(b"{}", JSON, token="old-token"))
    for token in ("other", "", None, "new-token ", "\udcff", "новый"):
        assert refusal(source, knock(b"{}", JSON, token=token)).status == 401
    closed = load(text, {})["a"]
    assert refusal(closed, knock(b"{}", JSON, token="")).status == 503
    half = load(text, {"NEW": "new-token"})["a"]
    assert refusal(half, knock(b"{}", JSON, token="")).status == 401


def test_a_url_token_comes_on_top_of_a_signature() -> None:
    """With secrets and tokens both have to be right."""
    source = load(
        "sources: {a: {recipe: hmac, secrets: [${S}], tokens: [${T}]}}", {"S": SECRET, "T": "token"}
    )["a"]
    assert draft(source, signed(b"{}", token="token"))
    assert refusal(source, signed(b"{}")).status == 401
    assert refusal(source, knock(b"{}", JSON, token="token")).status == 401
    missing = load("sources: {a: {recipe: hmac, secrets: [${S}], tokens: [${T}]}}", {"S": SECRET})["a"]
    assert refusal(missing, signed(b"{}", token="")).status == 503


def test_a_missing_secret_does_not_leave_the_token_alone_to_guard() -> None:
    """Where a secret is configured and missing, a URL token is not enough to get in."""
    text = "sources: {a: {recipe: alertmanager, secrets: [${S}], tokens: [${T}]}}"
    source = load(text, {"T": "token"})["a"]
    assert refusal(source, knock(b"{}", JSON, token="token")).status == 503


def test_a_source_without_tokens_has_no_other_addresses() -> None:
    """A token that is not configured makes an address that does not exist."""
    assert refusal(source_of("hmac", SECRET), signed(b"{}", token="x")).status == 404


def test_too_many_signatures_are_not_tried() -> None:
    """A header that lists hundreds of signatures is refused without trying them."""
    body = b"{}"
    good = "v1=" + mac(body).hex()
    source = source_of("pagerduty", SECRET)
    assert draft(source, knock(body, {"X-PagerDuty-Signature": ",".join(["v1=00"] * 15 + [good])}))
    assert (
        refusal(source, knock(body, {"X-PagerDuty-Signature": ",".join(["v1=00"] * 16 + [good])})).status
        == 401
    )


def test_a_signature_has_one_spelling() -> None:
    """Hexadecimal in capitals decodes to the same bytes and is refused, for public keys as for HMAC."""
    body = b"{}"
    source = source_of("discord", ED25519_PUBLIC.hex())
    headers = discord(body)
    assert draft(source, knock(body, headers))
    headers["X-Signature-Ed25519"] = headers["X-Signature-Ed25519"].upper()
    assert refusal(source, knock(body, headers)).status == 401
    headers = {"X-Signature-256": "sha256=" + mac(body).hex().upper()}
    assert refusal(source_of("hmac", SECRET), knock(body, headers)).status == 401


@pytest.mark.parametrize(
    ("recipe", "challenge"),
    [("basic", 'Basic realm="hookline"'), ("token", "Bearer"), ("gitlab", None)],
)
def test_who_comes_without_a_token_hears_how_to_come(recipe: str, challenge: str | None) -> None:
    """A missing token is 401 with the challenge of its scheme, where HTTP has one."""
    refused = refusal(source_of(recipe, "user:word"), knock(b"{}"))
    assert refused.status == 401
    assert refused.headers.get("WWW-Authenticate") == challenge


def test_limits_and_retirement() -> None:
    """A body above the source's limit is 413; after its sunset a source is 410, before it says when."""
    source = source_of("hmac", SECRET, body_limit="10", sunset="2026-12-01T00:00:00Z")
    assert refusal(source, signed(b'{"a": "0123456789"}')).status == 413
    assert refusal(source, signed(b"{}", received=datetime(2026, 12, 1, tzinfo=UTC))).status == 410
    reply = source.acknowledge("0197", "accepted")
    assert ("Sunset", "Tue, 01 Dec 2026 00:00:00 GMT") in reply.headers


# What becomes of it -------------------------------------------------------------------------------


def test_a_draft_has_all_that_an_event_needs() -> None:
    """The received bytes, the data, where it came from and how it was verified."""
    body = b'{ "id": "7", "type": "made" }'
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    found = draft(source_of("hmac", SECRET, name="shop"), signed(body, {"Traceparent": trace}))
    assert found.door == "webhooks/shop"
    assert (found.type, found.source, found.source_id) == ("shop.made", "shop", "7")
    assert (found.body, found.body_format, found.data) == (body, BodyFormat.JSON, {"id": "7", "type": "made"})
    assert found.content_type == "application/json"
    assert (found.remote, found.verdict, found.traceparent) == (
        "192.0.2.7",
        "hmac-sha256, secret 1 of 1",
        trace,
    )
    assert not found.strict
    assert found.time is None


@pytest.mark.parametrize(
    ("body", "content_type", "body_format", "data"),
    [
        (b'{"a":1}', "application/json; charset=utf-8", BodyFormat.JSON, {"a": 1}),
        (b'{"a":1}', "application/vnd.acme+json", BodyFormat.JSON, {"a": 1}),
        (b'{"a":1}', "", BodyFormat.JSON, {"a": 1}),
        (b'{"a":1}', "text/plain", BodyFormat.JSON, {"a": 1}),
        (b"1", "application/json", BodyFormat.JSON, 1),
        (b"Hello, World!", "", BodyFormat.TEXT, "Hello, World!"),
        (b"a=1&b=2&b=3", "application/x-www-form-urlencoded", BodyFormat.FORM, {"a": "1", "b": ["2", "3"]}),
        (b"\xff=1", "application/x-www-form-urlencoded", BodyFormat.BYTES, None),
        (b'payload={"a":1}', "application/x-www-form-urlencoded", BodyFormat.FORM_PAYLOAD, {"a": 1}),
        (b"payload=x", "application/x-www-form-urlencoded", BodyFormat.FORM, {"payload": "x"}),
        (b"{'a':1}", "", BodyFormat.TEXT, "{'a':1}"),
        (b"\xff\xfe", "", BodyFormat.BYTES, None),
        (b"<a/>", "application/xml", BodyFormat.TEXT, "<a/>"),
        (b"", "application/json", BodyFormat.NONE, None),
    ],
)
def test_a_verified_body_is_kept_whatever_it_is(
    body: bytes, content_type: str, body_format: BodyFormat, data: Any
) -> None:
    """What is signed is accepted, and its data can be read back from the bytes that are kept."""
    headers = {"X-Hub-Signature-256": "sha256=" + mac(body).hex(), "Content-Type": content_type}
    found = draft(source_of("github", SECRET), knock(body, headers))
    assert (found.body_format, found.data) == (body_format, data)
    assert read_data(found.body, found.body_format) == data


@pytest.mark.parametrize(
    "body", [b"{not json}", b'"\\ud800"', b"NaN", b"\xff\xfe", b"1 2", b"{}\x00", b"1e999"]
)
@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON;charset=utf-8", "text/x+json"]
)
def test_what_says_it_is_json_has_to_be(body: bytes, content_type: str) -> None:
    """A signed body that is not the JSON which its content type announces is 400."""
    headers = {"X-Hub-Signature-256": "sha256=" + mac(body).hex(), "Content-Type": content_type}
    assert refusal(source_of("github", SECRET), knock(body, headers)).status == 400


def test_deep_json_is_refused() -> None:
    """64 levels are read, 65 are refused, however deep it goes on."""
    source = source_of("hmac", SECRET)
    assert draft(source, signed(b"[" * 64 + b"]" * 64))
    for depth in (65, 1_000, 100_000):
        refused = refusal(source, signed(b"[" * depth + b"]" * depth))
        assert (refused.status, refused.reason) == (400, "json-depth")
        refused = refusal(source, signed(b'{"a":' * depth + b"1" + b"}" * depth))
        assert (refused.status, refused.reason) == (400, "json-depth")
    assert draft(source, signed(b'["' + b"[" * 1000 + b'"]'))
    assert draft(source, signed(b"[" + b",".join([b"[[]]"] * 1000) + b"]"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("push", "github.push"),
        (None, "github.unknown"),
        ("", "github.unknown"),
        ("a b\tc", "github.a_b_c"),
        ("\xe4\x00\r\n", "github._"),
        ("x" * 500, "github.unknown"),
        ("github.push", "github.push"),
        ("github:push", "github.push"),
    ],
)
def test_types_hold_nothing_strange(header: str | None, expected: str) -> None:
    """A header that nobody signed names the type; it stays within the source's prefix and printable."""
    headers = {"X-Hub-Signature-256": "sha256=" + mac(b"{}").hex()}
    if header is not None:
        headers["X-GitHub-Event"] = header
    assert draft(source_of("github", SECRET), knock(b"{}", headers)).type == expected


def test_ids_and_subjects_hold_nothing_strange() -> None:
    """Control characters become spaces, an id that is too long its digest, and what is missing None."""
    source = source_of("hmac", SECRET, subject="{data.s}", source_id="{data.i}")
    found = draft(source, signed(json.dumps({"s": "a\x00b\nc", "i": "x" * 201}).encode()))
    assert found.subject == "a b c"
    assert found.source_id is not None
    assert (found.source_id[:7], len(found.source_id)) == ("sha256:", 71)
    for value in (None, "", "\x00", {}, []):
        assert draft(source, signed(json.dumps({"s": value, "i": value}).encode())).subject is None
    assert draft(source, signed(b'{"s": 7, "i": true}')).subject == "7"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1795489200, NOW),
        (1795489200000, NOW),
        ("1795489200", NOW),
        ("1795489200.5", NOW + timedelta(seconds=0.5)),
        ("2026-11-24T03:00:00Z", NOW),
        ("2026-11-24T04:00:00+01:00", NOW),
        ("2026-11-24T03:00:00", None),
        ("yesterday", None),
        ("", None),
        (True, None),
        ([], None),
        (1e300, None),
        (-1e300, None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)
def test_times_are_read_or_left_out(time: Any, expected: datetime | None) -> None:
    """Seconds, milliseconds and RFC 3339 are understood; anything else is no time, and no failure."""
    source = source_of("hmac", SECRET, time="{data.t}")
    assert draft(source, signed(json.dumps({"t": time}).encode())).time == expected


def test_a_json_schema_is_held_up() -> None:
    """A type's schema is checked; the refusal points to the fault and does not quote the data."""
    schema = {"properties": {"items": {"items": {"properties": {"n/a": {"type": "integer"}}}}}}
    source = source_of("hmac", SECRET, schemas={"door.order": schema})
    assert draft(source, signed(b'{"type":"order","items":[{"n/a":1}]}'))
    assert draft(source, signed(b'{"type":"other","items":[{"n/a":"x"}]}'))
    refused = refusal(source, signed(b'{"type":"order","items":[{"n/a":1},{"n/a":"hunter2"}]}'))
    assert (refused.status, refused.pointer) == (422, "/items/1/n~1a")
    assert "hunter2" not in refused.detail


def test_an_array_is_as_many_events() -> None:
    """Each element is an event with its own bytes; an empty array is none."""
    source = source_of("hubspot-v1", SECRET)

    def send(body: bytes) -> Knock:
        signature = hashlib.sha256(SECRET.encode() + body).hexdigest()
        return knock(body, {**JSON, "X-HubSpot-Signature": signature})

    found = drafts(source, send(b'[ {"eventId": 1, "x": "],["} ,{"eventId":2}\n]'))
    assert [(each.source_id, each.body) for each in found] == [
        ("1", b'{"eventId": 1, "x": "],["}'),
        ("2", b'{"eventId":2}'),
    ]
    assert drafts(source, send(b"[]")) == []
    assert [each.source_id for each in drafts(source, send(b'{"eventId":3}'))] == ["3"]


def test_a_cloudevents_source_keeps_other_sources_types_out() -> None:
    """Senders choose their types there, but none that belongs to another source or is reserved."""
    text = "sources: {ce: {recipe: cloudevents, secrets: [${S}]}, gh: {recipe: github, secrets: [${S}]}}"
    source = load(text, {"S": SECRET})["ce"]

    def send(kind: str) -> Knock:
        event = {"specversion": "1.0", "id": "1", "source": "urn:x", "type": kind, "data": {"a": 1}}
        headers = {"Content-Type": "application/cloudevents+json"}
        return knock(json.dumps(event).encode(), headers, url=f"https://h.example.com/?access_token={SECRET}")

    found = draft(source, send("com.example.made"))
    assert (found.type, found.source, found.source_id, found.data) == (
        "com.example.made",
        "ce",
        "1",
        {"a": 1},
    )
    assert found.door == "webhooks/ce urn:x"
    for kind in ("github.push", "prefect.flow-run.Completed", "hookline.x"):
        assert refusal(source, send(kind)).status == 403
    assert refusal(source, knock(b"{}", {**JSON, "Authorization": f"Bearer {SECRET}"})).status == 400


def test_event_grid_may_send_cloudevents() -> None:
    """A recipe with a mapping of its own reads CloudEvents too, within its prefix."""
    source = load("sources: {g: {recipe: azure-event-grid, tokens: [${T}]}}", {"T": "t"})["g"]
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/s",
        "ce-type": "Microsoft.Storage.BlobCreated",
    }
    found = draft(source, knock(b"{}", {**JSON, **headers}, token="t"))
    assert (found.type, found.source) == ("azure.Microsoft.Storage.BlobCreated", "g")


# What it answers ----------------------------------------------------------------------------------


def test_who_does_not_care_gets_the_tracking_id() -> None:
    """The usual answer is 202, the id, and where to look it up; several events are answered as a list."""
    source = source_of("hmac", SECRET)
    reply = source.acknowledge("0197", "duplicate")
    assert (reply.status, json.loads(reply.body)) == (202, {"id": "0197", "status": "duplicate"})
    assert ("Location", "/events/0197") in reply.headers
    several = source.acknowledge_all([("1", "accepted"), ("2", "duplicate")])
    assert json.loads(several.body) == {
        "events": [{"id": "1", "status": "accepted"}, {"id": "2", "status": "duplicate"}]
    }
    assert json.loads(source.acknowledge_all([]).body) == {"events": []}


def test_who_cares_gets_what_it_wants() -> None:
    """Discord's interactions want a deferral, Slack nothing, Twilio an empty response of its own."""
    replies = {name: source_of(name, SECRET).acknowledge("1", "accepted") for name in ("slack", "twilio")}
    assert (replies["slack"].status, replies["slack"].body, replies["slack"].headers) == (200, b"", ())
    assert replies["twilio"].headers == (("Content-Type", "text/xml"),)
    discord = source_of("discord", "00" * 32).acknowledge("1", "accepted")
    assert json.loads(discord.body) == {"type": 5}
