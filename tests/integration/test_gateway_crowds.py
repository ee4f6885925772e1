"""Crowds that take places and never come to an end: nobody who does is kept out by them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from hookline.errors import Refusal
from hookline.gateway.hub import Limits
from hookline.gateway.room import ROOM_BYTES, BodyRoom
from tests.support.gateway import KEY, RunningGateway, running_gateway
from tests.support.wire import Wire, connected, post

SECRET = "a secret that only github has"
SOURCES = 'sources: {github: {recipe: github, secrets: ["${GITHUB_SECRET}"]}}'
MIB = 1_048_576


@contextlib.asynccontextmanager
async def gateway(folder: Path, limits: Limits | None = None) -> AsyncIterator[RunningGateway]:
    environ = {"GITHUB_SECRET": SECRET}
    async with running_gateway(
        folder, sources=SOURCES, environ=environ, keys=[KEY], limits=limits
    ) as running:
        yield running


async def push(gateway: RunningGateway, size: int) -> int:
    """Deliver a signed push over a connection of its own; return the status of its answer."""
    body = orjson.dumps({"ref": "x" * size})
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = ("X-GitHub-Event: push", f"X-Hub-Signature-256: sha256={signature}")
    async with connected(gateway) as wire:
        await wire.say(post(body, *headers, path="/webhooks/github"))
        return (await wire.hear())[0]


async def crowd(
    stack: contextlib.AsyncExitStack, gateway: RunningGateway, many: int, said: bytes
) -> list[Wire]:
    wires = [await stack.enter_async_context(connected(gateway)) for _ in range(many)]
    for wire in wires:
        await wire.say(said)
    return wires


async def test_large_bodies_that_never_end_do_not_keep_a_signed_one_out(tmp_path: Path) -> None:
    """They fill the room for bodies; then the one that has been on its way for longest is answered 503."""
    body = b" " * (MIB - 1)
    async with gateway(tmp_path) as running, contextlib.AsyncExitStack() as stack:
        slow = await crowd(
            stack,
            running,
            ROOM_BYTES // MIB + 2,
            post(b"", f"Content-Length: {MIB}", path="/webhooks/github") + body,
        )
        assert await push(running, 200_000) == 202
        status, _, answer = await slow[0].hear()
        assert (status, orjson.loads(answer)["reason"]) == (503, "crowded")
        reasons = {each["reason"] for each in await running.rejections()}
        assert "crowded" in reasons


async def test_requests_that_never_end_do_not_keep_others_out(tmp_path: Path) -> None:
    """Small ones take a place among the requests all the same; the oldest are given up with 408."""
    async with gateway(tmp_path, Limits(requests=10)) as running, contextlib.AsyncExitStack() as stack:
        slow = await crowd(stack, running, 10, post(b"", "Content-Length: 9", path="/webhooks/github"))
        assert await push(running, 10) == 202
        status, _, answer = await slow[0].hear()
        assert (status, orjson.loads(answer)["reason"]) == (408, "timeout")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"POST /webhooks/github HTTP/1.1\r\nHost: loc",
        post(b"", "Content-Length: 9", path="/webhooks/github"),
        # Answered at once, as there is no such door: what is left is to read the body.
        post(b"", "Content-Length: 9", path="/nowhere"),
    ],
    ids=["nothing", "half a head", "half a request", "half a request that is answered"],
)
async def test_connections_that_come_to_nothing_do_not_keep_others_out(tmp_path: Path, said: bytes) -> None:
    """However far they have got."""
    async with gateway(tmp_path, Limits(connections=20)) as running, contextlib.AsyncExitStack() as stack:
        await crowd(stack, running, 45, said)
        assert await push(running, 10) == 202


async def test_a_sender_that_has_shown_who_it_is_makes_way_for_nobody() -> None:
    """Not even where it has been on its way for longest; a stranger for whom there is no room has to go."""
    room = BodyRoom(100)
    async with room.place(known=True) as known:
        known.grow_to(60)
        with pytest.raises(Refusal, match="Too many large bodies"):
            async with room.place(known=False) as stranger:
                stranger.grow_to(41)
        known.grow_to(100)
    async with room.place(known=False) as next_one:
        next_one.grow_to(100)


async def test_whoever_came_first_makes_way() -> None:
    """And what it had is free at once."""
    room = BodyRoom(100)
    at_ease = asyncio.Event()

    async def hold() -> None:
        async with room.place(known=False) as place:
            place.grow_to(100)
            at_ease.set()
            await asyncio.Event().wait()

    first = asyncio.create_task(hold())
    await at_ease.wait()
    async with room.place(known=False) as place:
        place.grow_to(100)
        with pytest.raises(Refusal) as refused:
            await first
    assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "1"})
