"""`/webhooks/{source}` over HTTP: who is let in, what providers are answered, and what is turned away."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.test_gateway_events import is_problem
from tests.support.gateway import KEY, RunningGateway, running_gateway

SECRET = "a secret that only github has"
SOURCES = """
sources:
  github: {recipe: github, secrets: ["${GITHUB_SECRET}", "${OLD_SECRET}"], rate: 3/h}
  every: {recipe: github, secrets: ["${GITHUB_SECRET}"], dedup: {body: false}}
  large: {recipe: github, secrets: ["${GITHUB_SECRET}"], body_limit: 3MiB}
  empty: {recipe: github, secrets: ["${NOT_SET}"]}
  docker: {recipe: docker-hub, tokens: ["${TOKEN}"]}
  slack: {recipe: slack, secrets: ["${GITHUB_SECRET}"]}
  twilio: {recipe: twilio, secrets: ["${GITHUB_SECRET}"]}
  grid: {recipe: azure-event-grid, tokens: ["${TOKEN}"], rate: 100/s}
"""
ENVIRON = {"GITHUB_SECRET": SECRET, "OLD_SECRET": "the one before", "TOKEN": "an-opaque-token"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """Give a gateway with keys, behind a proxy on the loopback that it trusts."""
    async with running_gateway(
        tmp_path, sources=SOURCES, environ=ENVIRON, keys=[KEY], trusted_proxies=("127.0.0.0/8",)
    ) as running:
        yield running


async def push(gateway: RunningGateway, source: str = "github", **how: str | bytes) -> httpx.Response:
    """Deliver a push as GitHub does."""
    body = how.get("body", b'{"ref": "refs/heads/main"}')
    assert isinstance(body, bytes)
    secret = str(how.get("secret", SECRET))
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(how.get("delivery", hashlib.sha256(body).hexdigest())),
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    return await gateway.http.post(f"/webhooks/{source}", content=body, headers=headers)


async def test_a_signed_delivery_needs_no_key(gateway: RunningGateway) -> None:
    """202 with the tracking id; secrets and signatures are not kept with the event."""
    answer = await push(gateway)
    assert answer.status_code == 202
    event = await gateway.stored(answer.json()["id"])
    assert (event.type, event.source, event.remote) == ("github.push", "github", "127.0.0.1")
    assert event.verdict == "hmac-sha256, secret 1 of 2"
    kept = dict((await gateway.body(event.id)).headers)
    assert kept["x-github-event"] == "push"
    assert "x-hub-signature-256" not in kept


async def test_both_secrets_of_a_rotation_are_good(gateway: RunningGateway) -> None:
    """And the event says which one it was."""
    answer = await push(gateway, secret="the one before")
    assert (await gateway.stored(answer.json()["id"])).verdict == "hmac-sha256, secret 2 of 2"


async def test_a_changed_delivery_is_a_recorded_conflict(gateway: RunningGateway) -> None:
    """Providers get `duplicate`, not an error that they would answer with endless retries."""
    first = await push(gateway, delivery="1")
    again = await push(gateway, delivery="1", body=b'{"ref": "other"}')
    assert again.json() == {"id": first.json()["id"], "status": "duplicate"}
    event = await gateway.stored(first.json()["id"])
    assert (event.duplicates, event.conflicts) == (1, 1)


async def test_a_captured_delivery_under_a_new_id_is_a_duplicate(gateway: RunningGateway) -> None:
    """The id's header is not signed, so that the body tells; a source may say that it does not."""
    first = await push(gateway, delivery="1")
    captured = await push(gateway, delivery="2")
    assert captured.json() == {"id": first.json()["id"], "status": "duplicate"}
    event = await gateway.stored(first.json()["id"])
    assert (event.duplicates, event.conflicts) == (1, 0)
    for delivery in "12":
        assert (await push(gateway, "every", delivery=delivery)).json()["status"] == "accepted"


async def test_what_is_unsigned_is_turned_away_and_remembered(gateway: RunningGateway) -> None:
    """401, and `GET /rejections` says when, from where and why, without the secret or the query."""
    answer = await push(gateway, secret="wrong")
    assert is_problem(answer, 401, "bad-signature")
    behind = {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"}
    await gateway.http.post("/webhooks/github?access_token=very-secret", content=b"x" * 40, headers=behind)
    newest, before = (await gateway.rejections())[:2]
    assert (newest["door"], newest["status"], newest["remote"], newest["size"]) == (
        "webhooks/github", 401, "203.0.113.9", 40,
    )  # fmt: skip
    assert (before["reason"], before["remote"]) == ("bad-signature", "127.0.0.1")
    assert "very-secret" not in str(newest)
    assert SECRET not in str(before)


async def test_the_rate_of_a_source_counts_what_is_verified(gateway: RunningGateway) -> None:
    """Nobody without the secret can use it up; beyond it 429 says when to come again."""
    for _ in range(10):
        assert (await push(gateway, secret="wrong")).status_code == 401
    for number in range(3):
        answer = await push(gateway, delivery=f"rate-{number}")
        assert answer.status_code == 202
        assert answer.headers["ratelimit"].startswith(f'"source";r={2 - number};')
        assert answer.headers["ratelimit-policy"] == '"source";q=3;w=3600'
    over = await push(gateway, delivery="rate-4")
    assert is_problem(over, 429, "rate-limit")
    assert 0 < int(over.headers["retry-after"]) <= 1200


async def test_a_source_without_its_secret_says_which_is_missing(gateway: RunningGateway) -> None:
    """503 that names the variable: the provider tries again later, and somebody can see it."""
    answer = await push(gateway, "empty")
    assert is_problem(answer, 503, "no-secret")
    assert "NOT_SET" in answer.json()["detail"]
    assert answer.headers["retry-after"]


async def test_a_source_may_take_larger_bodies(gateway: RunningGateway) -> None:
    """Its own limit counts, above the gateway's, and is a limit."""
    body = b'{"x": "' + b"y" * 2_000_000 + b'"}'
    assert is_problem(await push(gateway, body=body), 413, "too-large")
    assert (await push(gateway, "large", body=body)).status_code == 202
    assert is_problem(await push(gateway, "large", body=body * 2), 413, "too-large")


async def test_url_tokens(gateway: RunningGateway) -> None:
    """A source that signs nothing has an address that nobody can guess; a token shows nowhere."""
    event = {"push_data": {"tag": "latest"}, "repository": {"repo_name": "acme/shop"}}
    assert (await gateway.http.post("/webhooks/docker/an-opaque-token", json=event)).status_code in (200, 202)
    for path in ("/webhooks/docker", "/webhooks/docker/wrong-token", "/webhooks/docker/an-opaque-token/"):
        assert is_problem(await gateway.http.post(path, json=event), 401, "bad-token"), path
    assert all("wrong-token" not in str(each) for each in await gateway.rejections())


async def test_an_address_that_is_signed_is_believed_from_a_trusted_proxy_alone(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    """The proxy says how the sender wrote it; from anybody else that would be a way around the signature."""
    address = "https://hooks.example.com/webhooks/twilio?x=1"
    signature = _twilio(address, {"CallSid": "CA1"})
    forwarded = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "hooks.example.com",
        "X-Twilio-Signature": signature,
    }
    through = await gateway.http.post("/webhooks/twilio?x=1", data={"CallSid": "CA1"}, headers=forwarded)
    assert through.status_code == 200
    async with running_gateway(tmp_path / "direct", sources=SOURCES, environ=ENVIRON) as direct:
        lying = await direct.http.post("/webhooks/twilio?x=1", data={"CallSid": "CA1"}, headers=forwarded)
        assert is_problem(lying, 401, "bad-signature")


def _twilio(address: str, fields: dict[str, str]) -> str:
    signed = address + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.new(SECRET.encode(), signed.encode(), hashlib.sha1).digest()).decode()


async def test_handshakes_are_answered_and_are_no_events(gateway: RunningGateway) -> None:
    """CloudEvents' permission for a source, with its rate a minute; nothing comes into the inbox."""
    ask = {"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
    answer = await gateway.http.options("/webhooks/grid/an-opaque-token", headers=ask)
    assert answer.status_code == 200
    assert answer.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert answer.headers["webhook-allowed-rate"] == "6000"
    assert "received" not in await gateway.house.inbox.totals()


async def test_unknown_sources_and_methods(gateway: RunningGateway) -> None:
    """404 and 405; the name of a source that there is not gives nothing away and breaks nothing."""
    for path in (
        "/webhooks/none",
        "/webhooks/",
        "/webhooks/%00%ff",
        "/webhooks/" + "x" * 900,
    ):
        answer = await gateway.http.post(path, content=b"{}")
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
    wrong = await gateway.http.put("/webhooks/github", content=b"{}")
    assert is_problem(wrong, 405, "method")
    assert "POST" in wrong.headers["allow"]
    assert is_problem(await gateway.http.get("/webhooks/github"), 405, "method")


async def test_with_keys_everything_else_wants_one(gateway: RunningGateway) -> None:
    """Off the signed doors nothing answers without a key but the two questions of an orchestrator."""
    for path in (
        "/events",
        "/events/x",
        "/events/x/body",
        "/rejections",
        "/lineage/event/x",
        "/openapi.json",
        "/docs",
    ):
        answer = await gateway.http.get(path)
        assert is_problem(answer, 401, "unauthorized"), path
        assert answer.headers["www-authenticate"] == "Bearer"
        with_key = await gateway.http.get(path, headers={"Authorization": f"Bearer {KEY}"})
        assert with_key.status_code in (200, 404), path
    assert is_problem(await gateway.http.post("/events", json={"type": "a.b"}), 401, "unauthorized")
    assert (await gateway.http.post(f"/events?access_token={KEY}", json={"type": "a.b"})).status_code == 202
    assert (await gateway.http.get("/healthz")).status_code == 200
    assert (await gateway.http.get("/readyz")).status_code == 200


async def test_keys_allow_what_their_scope_says(tmp_path: Path) -> None:
    """A send key cannot read, a read key cannot send, and a key for a source sends as that source."""
    keys = ["send@shop:key-of-the-shop-1", "read:key-of-a-reader-1", "till/send:key-of-the-till-1"]
    async with running_gateway(tmp_path, keys=keys, key_rate="2/h") as gateway:

        async def send(key: str, **event: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {key}"}
            return await gateway.http.post("/events", json={"type": "a.b", **event}, headers=headers)

        assert is_problem(await send("key-of-a-reader-1"), 403, "scope")
        read = await gateway.http.get("/events", headers={"Authorization": "Bearer key-of-the-shop-1"})
        assert is_problem(read, 403, "scope")
        accepted = await send("key-of-the-shop-1")
        assert (await gateway.stored(accepted.json()["id"])).source == "shop"
        assert accepted.headers["ratelimit"].startswith('"key";r=1;')
        assert is_problem(await send("key-of-the-shop-1", source="crm"), 403, "scope")
        assert is_problem(await send("key-of-the-shop-1"), 429, "rate-limit")
        # Deduplication is per key, and so are rates.
        other = await send("key-of-the-till-1", id="17")
        assert (await gateway.stored(other.json()["id"])).door == "events/till"


async def test_a_browsers_foreign_page_cannot_send(tmp_path: Path) -> None:
    """Without keys: another site's page is 403, another name for this machine 421; the doors stay open."""
    async with running_gateway(tmp_path, sources=SOURCES, environ=ENVIRON) as gateway:
        event = {"type": "a.b"}
        foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert is_problem(
            await gateway.http.post("/events", json=event, headers=foreign), 403, "foreign-origin"
        )
        rebound = {"Host": "evil.example:4280"}
        assert is_problem(
            await gateway.http.post("/events", json=event, headers=rebound), 421, "foreign-host"
        )
        assert is_problem(await gateway.http.get("/events", headers=rebound), 421, "foreign-host")
        assert (await gateway.http.post("/webhooks/github", headers=rebound)).status_code == 401
        assert (await gateway.http.get("/healthz", headers=rebound)).status_code == 200
