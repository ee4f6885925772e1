"""Sources while the gateway runs: what is added, changed and taken away counts from the next request on."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.test_gateway_events import is_problem
from tests.support.gateway import KEY, RunningGateway, running_gateway

SECRET = "a secret that only github has"
READER = "a-key-that-may-only-read"
ENVIRON = {"GITHUB_SECRET": SECRET, "TOKEN": "an-opaque-token"}
GITHUB = "sources:\n  github: {recipe: github, secrets: [${GITHUB_SECRET}], rate: 3/h}\n"
DOCKER = "  docker: {recipe: docker-hub, tokens: [${TOKEN}]}\n"
ADMIN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """Give a gateway with one source and two keys."""
    keys = [KEY, f"read:{READER}"]
    async with running_gateway(tmp_path, sources=GITHUB, environ=ENVIRON, keys=keys) as running:
        yield running


async def reload(gateway: RunningGateway, text: str, key: str = KEY) -> httpx.Response:
    """Write the file and have it read."""
    assert gateway.house.registry.path is not None
    gateway.house.registry.path.write_text(text)  # a test may
    return await gateway.http.post("/sources/reload", headers={"Authorization": f"Bearer {key}"})


async def push(gateway: RunningGateway, number: int) -> httpx.Response:
    body = b'{"number": %d}' % number
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": str(number),
        "X-Hub-Signature-256": f"sha256={signature}",
    }  # fmt: skip
    return await gateway.http.post("/webhooks/github", content=body, headers=headers)


async def send(gateway: RunningGateway, **event: str) -> httpx.Response:
    return await gateway.http.post("/events", json=event, headers=ADMIN)


async def test_a_source_comes_and_goes_without_a_restart(gateway: RunningGateway) -> None:
    """Its door opens and shuts, its name and types are reserved and free again; a rejection tells of it."""
    assert is_problem(await gateway.http.post("/webhooks/docker/an-opaque-token"), 404, "no-such-source")
    assert (await send(gateway, type="docker.push")).status_code == 202
    added = await reload(gateway, GITHUB + DOCKER)
    assert added.json() == {
        "added": ["docker"], "removed": [], "changed": [], "sources": ["github", "docker"],
    }  # fmt: skip
    body = {"push_data": {"tag": "1"}}
    assert (await gateway.http.post("/webhooks/docker/an-opaque-token", json=body)).status_code == 202
    assert is_problem(await send(gateway, type="docker.push"), 403, "reserved-type")
    assert is_problem(await send(gateway, type="any.thing", source="docker"), 403, "reserved-source")
    assert (await reload(gateway, GITHUB)).json()["removed"] == ["docker"]
    gone = await gateway.http.post("/webhooks/docker/an-opaque-token", json=body)
    assert is_problem(gone, 404, "no-such-source")
    assert (await gateway.rejections())[0]["door"] == "webhooks/docker"
    assert (await send(gateway, type="docker.push")).status_code == 202


async def test_a_file_that_cannot_be_used_is_seen_everywhere_and_stops_nothing(
    gateway: RunningGateway,
) -> None:
    """In the answer, the list, the readiness and the metrics; what is in force goes on."""
    refused = await reload(gateway, GITHUB + "  docker: {recipe: dcoker-hub, tokens: [${TOKEN}]}\n")
    assert is_problem(refused, 409, "unusable-sources")
    assert "sources.yaml:3" in refused.json()["detail"]
    assert (await push(gateway, 1)).status_code == 202
    listed = (await gateway.http.get("/sources", headers=ADMIN)).json()
    assert "dcoker-hub" in listed["error"]
    assert [source["name"] for source in listed["sources"]] == ["github"]
    ready = await gateway.http.get("/readyz")
    assert ready.status_code == 200
    assert "GET /sources" in ready.json()["sources"]
    assert "dcoker" not in ready.text
    page = await gateway.http.get("/metrics", headers=ADMIN)
    assert "hookline_sources_unusable 1.0" in page.text
    assert 'hookline_sources_read_total{outcome="failed"} 1.0' in page.text
    assert (await reload(gateway, GITHUB)).status_code == 200
    assert (await gateway.http.get("/readyz")).json()["sources"] == "ok"
    assert (await gateway.http.get("/sources", headers=ADMIN)).json()["error"] is None


async def test_what_a_source_has_used_of_its_rate_stays_used(gateway: RunningGateway) -> None:
    """While its rate is the same; with another one it begins anew."""
    for number in range(3):
        assert (await push(gateway, number)).status_code == 202
    assert (await reload(gateway, GITHUB + DOCKER)).status_code == 200
    assert is_problem(await push(gateway, 3), 429, "rate-limit")
    assert (await reload(gateway, GITHUB.replace("3/h", "5/h"))).json()["changed"] == ["github"]
    assert (await push(gateway, 3)).headers["ratelimit-policy"] == '"source";q=5;w=3600'


async def test_a_duplicate_stays_one_when_the_sources_are_read_again(gateway: RunningGateway) -> None:
    """Deduplication is the inbox's: a source that is taken away and comes back knows its events."""
    first = await push(gateway, 1)
    await reload(gateway, "sources: {}\n")
    await reload(gateway, GITHUB)
    assert (await push(gateway, 1)).json() == {"id": first.json()["id"], "status": "duplicate"}


async def test_a_request_that_has_begun_ends_with_the_sources_it_began_with(gateway: RunningGateway) -> None:
    """Its source is taken away while its body is on the way: it is accepted all the same."""
    body = b'{"number": 1}'
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST /webhooks/github HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
        "X-GitHub-Event: push\r\nX-GitHub-Delivery: 1\r\nExpect: 100-continue\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\n"
        "Connection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode())
    # The gateway asks for the body: it has looked the source up.
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 100")
    assert (await reload(gateway, "sources: {}\n")).json()["removed"] == ["github"]
    writer.write(body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 202")
    assert is_problem(await push(gateway, 2), 404, "no-such-source")


async def test_who_may_read_and_who_may_reload(gateway: RunningGateway) -> None:
    """A key that may read sees the sources, without any secret; to have them read again takes an admin's."""
    assert (await gateway.http.get("/sources")).status_code == 401
    listed = await gateway.http.get("/sources", headers={"Authorization": f"Bearer {READER}"})
    assert listed.json()["sources"][0] == {
        "name": "github", "recipe": "github", "verified": True, "state": "ready", "types": "github.*",
        "path": "/webhooks/github", "secrets": ["GITHUB_SECRET"], "faults": [],
    }  # fmt: skip
    assert SECRET not in listed.text
    assert is_problem(await reload(gateway, GITHUB, READER), 403, "scope")
