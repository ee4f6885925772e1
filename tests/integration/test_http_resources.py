"""What one connection may take, whatever its stream of bytes: a little time at once, and a little memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.types import Receive, Scope

from hookline.errors import Refusal
from hookline.gateway.hub import Hub, Limits
from hookline.gateway.reading import read_body
from hookline.gateway.replies import problem
from hookline.gateway.room import BodyRoom
from hookline.sources import Headers, Reply
from tests.support.holding import longest_hold
from tests.support.streams import open_line

MIB = 1_048_576
#: No callback or step of a task holds the event loop for longer, in processor time.
LONGEST_HOLD_SECONDS = 0.05
#: A connection holds no more memory: a body or an answer with copies, and what waits to be parsed.
CONNECTION_BYTES = 5 * MIB
BODY_LIMIT_BYTES = MIB
#: Bytes of a stream that are sent, unless the other side ends it.
STREAM_BYTES = MIB + MIB // 4
#: The server has read so much at least, or nothing was tried.
LEAST_HEARD_BYTES = 4_000
#: When nothing is read for so many turns of the loop, nothing more will be.
QUIET_TURNS = 3_000

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
#: What is sent once, and what is then sent again and again.
STREAMS = {
    "a request line": (b"GET /", b"x" * 1_000),
    "a method": (b"", b"A"),
    "a header": (HEAD + b"X: ", b"x" * 1_000),
    "a header's name": (HEAD, b"x" * 1_000),
    "headers": (HEAD, b"a:\r\n"),
    "headers after a length": (HEAD + b"Content-Length: 9999999\r\n", b"a:\r\n"),
    "empty lines": (b"", b"\r\n"),
    "a length": (HEAD + b"Content-Length: ", b"0"),
    "a chunk's size": (CHUNKED, b"0"),
    "a chunk's extension": (CHUNKED + b"1;", b"x" * 1_000),
    "a chunk's extensions": (CHUNKED + b"1", b";x=y"),
    "extensions of small chunks": (CHUNKED, b"1;" + b"x" * 1_000 + b"\r\na\r\n"),
    "chunks of one byte": (CHUNKED, b"1\r\na\r\n"),
    "chunks of two bytes": (CHUNKED, b"2\r\nab\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"a:\r\n"),
    "a trailer": (CHUNKED + b"0\r\nX: ", b"x" * 1_000),
    "a trailer's name": (CHUNKED + b"0\r\n", b"x" * 1_000),
    "a trailer after a large body": (CHUNKED + b"80000\r\n" + b"x" * 524_288 + b"\r\n0\r\nX: ", b"x" * 1_000),
    "a body beyond its limit": (HEAD + b"Content-Length: 99999999\r\n\r\n", b"x" * 1_000),
    "a body within its limit": (HEAD + b"Content-Length: 1048576\r\n\r\n", b"x" * 1_024),
    "chunks beyond the limit": (CHUNKED, b"400\r\n" + b"x" * 1_024 + b"\r\n"),
    "small requests": (b"", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "smaller requests": (b"", b"GET / HTTP/1.0\r\nConnection:keep-alive\r\n\r\n"),
    "requests with bodies": (b"", HEAD + b"Content-Length: 1\r\n\r\na"),
    "requests with chunks": (b"", CHUNKED + b"1\r\na\r\n0\r\n\r\n"),
    "requests for large answers": (b"", b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"),
    "upgrades": (b"", HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    "upgrades with bodies": (b"", HEAD + b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\na"),
    "requests that ask first": (b"", HEAD + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\na"),
    "what follows a CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"x" * 1_000),
    "what follows the last request": (HEAD + b"Connection: close\r\n\r\n", b"x" * 1_000),
    "what is no HTTP": (b"\x16\x03\x01", b"\x00" * 1_000),
}  # fmt: skip


@pytest.fixture(scope="module")
async def hub() -> AsyncIterator[Hub]:
    """Give a listener with an application that reads bodies as the doors do."""
    room = BodyRoom()

    async def app(scope: Scope, receive: Receive) -> Reply:
        try:
            await read_body(Headers(scope["headers"]), receive, BODY_LIMIT_BYTES, room)
        except Refusal as refusal:
            return problem(refusal)
        return Reply(200, body=b"x" * MIB if scope["path"] == "/large" else b"")

    opened = Hub(app, Limits(), lambda refusal, remote: None)
    yield opened
    await opened.close(1)


@pytest.fixture(scope="module", autouse=True)
def _as_the_gateway_runs() -> Iterator[None]:
    """Leave out of the collector's work what was loaded before, as the gateway does."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_no_stream_of_bytes_holds_the_loop(hub: Hub, stream: tuple[bytes, bytes]) -> None:
    """Others have their turn before 50 ms of processor time are over."""
    said = written_out(*stream)
    with longest_hold() as hold:
        await pour(hub, said)
    assert hold.seconds < LONGEST_HOLD_SECONDS, hold.what


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_no_stream_of_bytes_takes_more_memory_than_a_connection_may(
    hub: Hub, stream: tuple[bytes, bytes]
) -> None:
    """However much is sent, and however little is read."""
    said = written_out(*stream)
    tracemalloc.start()
    try:
        await pour(hub, said)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < CONNECTION_BYTES


def written_out(once: bytes, again: bytes) -> bytes:
    return once + again * (STREAM_BYTES // len(again))


async def pour(hub: Hub, stream: bytes) -> None:
    """Send a stream until the server reads no further; nothing of its answers is read."""
    line = await open_line(hub)
    with line.sender, contextlib.suppress(ConnectionError, asyncio.CancelledError):
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(line.sender, stream))
        heard, quiet = -1, 0
        while quiet < QUIET_TURNS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if line.heard == heard else 0
            heard = line.heard
        sending.cancel()
        await sending
    assert heard > LEAST_HEARD_BYTES
