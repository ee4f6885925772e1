"""Connections as strangers make them: slow, huge, broken, in pieces, many at once; raw bytes over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from hookline.gateway.hub import Limits
from hookline.gateway.turn import render
from hookline.sources import Reply
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import eventually
from tests.support.wire import Wire, connected, post

QUICK = Limits(
    connections=20,
    header_bytes=4_096,
    headers=20,
    idle_seconds=0.4,
    header_seconds=0.4,
    body_seconds=0.4,
    body_bytes_per_second=100_000,
    write_seconds=0.4,
    tick_seconds=0.05,
)


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway whose patience is short."""
    folder = tmp_path_factory.mktemp("gateway")
    async with running_gateway(folder, limits=QUICK, body_limit_bytes=8 * 1024 * 1024) as running:
        yield running


EVENT = b'{"type": "a.b"}'


async def test_a_request_may_come_in_any_pieces(gateway: RunningGateway) -> None:
    """Byte by byte, it is the same event."""
    async with connected(gateway) as wire:
        request = post(EVENT)
        await wire.say(*(request[at : at + 1] for at in range(len(request))))
        status, headers, body = await wire.hear()
        assert status == 202
        assert "connection" not in headers
        assert headers["date"].endswith("GMT")
        assert (await gateway.body(orjson.loads(body)["id"])).body == EVENT


async def test_requests_that_come_at_once_are_answered_in_order(gateway: RunningGateway) -> None:
    """Pipelining: three in one piece, three answers, the connection stays."""
    bodies = [b'{"type": "pipe.%d"}' % number for number in range(3)]
    async with connected(gateway) as wire:
        await wire.say(
            b"".join(post(body) for body in bodies) + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        for body in bodies:
            status, _, answer = await wire.hear()
            assert status == 202
            assert (await gateway.body(orjson.loads(answer)["id"])).body == body
        assert orjson.loads((await wire.hear())[2])["status"] == "ok"


async def test_a_body_in_chunks_is_one_body(gateway: RunningGateway) -> None:
    """Chunked encoding; trailers after it are not headers and change nothing."""
    chunks = b"5\r\n" + EVENT[:5] + b"\r\na\r\n" + EVENT[5:] + b'\r\n0\r\nIdempotency-Key: "x\r\n\r\n'
    async with connected(gateway) as wire:
        await wire.say(post(b"", "Transfer-Encoding: chunked") + chunks)
        status, _, answer = await wire.hear()
        assert status == 202
        assert (await gateway.body(orjson.loads(answer)["id"])).body == EVENT


async def test_whoever_asks_first_is_told_to_go_on(gateway: RunningGateway) -> None:
    """`Expect: 100-continue`; what is too large by its announcement is refused before a byte of it."""
    async with connected(gateway) as wire:
        await wire.say(post(b"", "Expect: 100-continue", f"Content-Length: {len(EVENT)}"))
        assert (await wire.hear())[0] == 100
        await wire.say(EVENT)
        assert (await wire.hear())[0] == 202
        await wire.say(post(b"", "Expect: 100-continue", "Content-Length: 99999999"))
        status, headers, _ = await wire.hear()
        assert (status, headers["connection"]) == (413, "close")


async def test_an_early_answer_reaches_a_sender_that_is_still_sending(gateway: RunningGateway) -> None:
    """413 is read by a sender that writes all of its body first, as most do."""
    async with connected(gateway) as wire:
        await wire.say(post(b"x" * 9_000_000))
        status, headers, body = await wire.hear()
        assert (status, headers["connection"]) == (413, "close")
        assert orjson.loads(body)["reason"] == "too-large"


@pytest.mark.parametrize("length", ["9000000", "9" * 16, "9" * 19, "0" * 10 + "9" * 10])
async def test_a_length_beyond_the_limit_is_refused_before_anything_of_it_comes(
    gateway: RunningGateway, length: str
) -> None:
    """However many digits it has."""
    async with connected(gateway) as wire:
        await wire.say(post(b"", f"Content-Length: {length}"))
        status, headers, body = await wire.hear()
        assert (status, headers["connection"], orjson.loads(body)["reason"]) == (413, "close", "too-large")


async def test_a_request_that_was_begun_with_the_one_before_has_no_more_time(gateway: RunningGateway) -> None:
    """Half of a head in one piece with a whole request: 408 once its time is over."""
    async with connected(gateway) as wire:
        await wire.say(post(EVENT) + b"POST /events HTTP/1.1\r\nHost: loc")
        assert (await wire.hear())[0] == 202
        assert (await wire.hear())[0] == 408
        assert await wire.is_closed()


async def test_blanks_around_a_header_are_none_of_its_value(gateway: RunningGateway) -> None:
    """RFC 9110, 5.5: in front and behind, of tabs and spaces; those within are kept."""
    blanks = ("X-Told: \t two  words \t ", "Idempotency-Key:order 17\t ", "X-Empty: \t ")
    async with connected(gateway) as wire:
        await wire.say(post(EVENT, *blanks))
        status, _, answer = await wire.hear()
    assert status == 202
    stored = await gateway.body(orjson.loads(answer)["id"])
    headers = dict(stored.headers)
    assert (headers["x-told"], headers["idempotency-key"], headers["x-empty"]) == (
        "two  words", "order 17", ""
    )  # fmt: skip
    assert (await gateway.stored(orjson.loads(answer)["id"])).source_id == "order 17"


async def test_old_and_closing_clients_are_answered_and_let_go(gateway: RunningGateway) -> None:
    """HTTP/1.0 and `Connection: close` end with their answer; HTTP/1.0 may do without a Host."""
    for request in (
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ):
        async with connected(gateway) as wire:
            await wire.say(request)
            status, headers, _ = await wire.hear()
            assert (status, headers["connection"]) == (200, "close")
            assert await wire.is_closed()


async def test_a_sender_that_ends_its_side_is_still_answered(gateway: RunningGateway) -> None:
    """Half-closed connections, as `nc` makes them."""
    async with connected(gateway) as wire:
        await wire.say(post(EVENT))
        wire.writer.write_eof()
        assert (await wire.hear())[0] == 202
        assert await wire.is_closed()


async def test_an_upgrade_is_answered_in_plain_http(gateway: RunningGateway) -> None:
    """curl --http2 and others ask for more than there is; what was sent along is the event all the same."""
    async with connected(gateway) as wire:
        upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        await wire.say(post(EVENT, *upgrade))
        status, _, body = await wire.hear()
        assert status == 202
        assert (await gateway.body(orjson.loads(body)["id"])).body == EVENT
        await wire.say(post(EVENT))
        assert (await wire.hear())[0] == 202
    async with connected(gateway) as wire:
        await wire.say(b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01")
        status, headers, _ = await wire.hear()
        assert (status, headers["connection"]) == (404, "close")


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (b"NONSENSE\r\n\r\n", 501, "unknown-method"),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, "unknown-method"),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, "bad-http"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad-http"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad-http"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400, "bad-http"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400, "bad-http"),
        (
            b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "bad-http",
        ),
        (b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "bad-http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 501, "unknown-method"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5_000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 21 + b"\r\n", 431, "headers-too-large"),
    ],
    ids=["no http", "method", "version", "no host", "two hosts", "nul", "folded", "smuggling", "length",
         "tls", "long header", "long target", "many headers"],
)  # fmt: skip
async def test_what_is_no_request_is_refused_and_the_connection_ends(
    gateway: RunningGateway, request_bytes: bytes, status: int, reason: str
) -> None:
    """A problem document even here, nothing after it, and it is among the rejections."""
    async with connected(gateway) as wire:
        await wire.say(request_bytes)
        answered, headers, body = await wire.hear()
        assert (answered, headers["content-type"]) == (status, "application/problem+json")
        assert orjson.loads(body)["reason"] == reason
        assert await wire.is_closed()
    newest = (await gateway.rejections())[0]
    assert (newest["door"], newest["reason"], newest["remote"]) == ("connection", reason, "127.0.0.1")


async def test_a_body_that_is_malformed_is_refused(gateway: RunningGateway) -> None:
    """A chunk of impossible size ends the request with 400, and nothing is recorded."""
    async with connected(gateway) as wire:
        await wire.say(post(b"", "Transfer-Encoding: chunked") + b"zz\r\n")
        status, _, body = await wire.hear()
        assert (status, orjson.loads(body)["reason"]) == (400, "bad-http")
        assert await wire.is_closed()


@pytest.mark.parametrize(
    "around",
    [
        b"f\r\n" + EVENT + b"\r\n0\r\nX: " + b"x" * 20_000,
        b"f\r\n" + EVENT + b"\r\n0\r\n" + b"x" * 20_000,
        b"f\r\n" + EVENT + b"\r\n0\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"f\r\n" + EVENT + b"\r\n0\r\n" + b"X: y\r\n" * 21 + b"\r\n",
        b"f;" + b"x" * 20_000 + b"\r\n" + EVENT + b"\r\n0\r\n\r\n",
        b"0" * 20_000 + b"f\r\n" + EVENT + b"\r\n0\r\n\r\n",
        b"".join(b"1;%b\r\n%c\r\n" % (b"x" * 2_000, byte) for byte in EVENT) + b"0\r\n\r\n",
    ],
    ids=[
        "a trailer",
        "a trailer's name",
        "a whole trailer",
        "trailers",
        "an extension",
        "a size",
        "extensions",
    ],
)
async def test_what_is_around_a_body_has_limits_too(gateway: RunningGateway, around: bytes) -> None:
    """Trailers, extensions and sizes may be as large as headers, and trailers as many; then it is 431."""
    async with connected(gateway) as wire:
        await wire.say(post(b"", "Transfer-Encoding: chunked"), around)
        status, headers, body = await wire.hear()
        assert (status, headers["connection"]) == (431, "close")
        assert orjson.loads(body)["reason"] == "headers-too-large"
        assert await wire.is_closed()


async def test_a_request_that_does_not_arrive_is_given_up(gateway: RunningGateway) -> None:
    """Slow headers and slow bodies get 408; whoever says nothing at all is hung up on."""

    async def says(*pieces: bytes) -> int:
        async with connected(gateway) as wire:
            await wire.say(*pieces)
            status, _, body = await wire.hear()
            assert orjson.loads(body)["reason"] == "timeout"
            assert await wire.is_closed()
            return status

    async def drips(piece: bytes) -> int:
        async with connected(gateway) as wire:
            dripping = asyncio.create_task(drip(wire, piece))
            try:
                return (await wire.hear())[0]
            finally:
                dripping.cancel()

    async def drip(wire: Wire, piece: bytes) -> None:
        await wire.say(post(b"", "Content-Length: 1000"))
        with contextlib.suppress(ConnectionError):
            while True:
                await wire.say(piece)
                await asyncio.sleep(0.05)  # this is what a slow sender is

    async def is_silent() -> bool:
        async with connected(gateway) as wire:
            return await wire.is_closed()

    statuses = await asyncio.gather(
        says(b"POST /events HTTP/1.1\r\nHost: a\r\n"),
        says(post(b"", "Content-Length: 100")),
        says(post(b"", "Transfer-Encoding: chunked"), b"5\r\nabc"),
        drips(b"x"),
    )
    assert statuses == [408] * 4
    assert await is_silent()


async def test_a_large_body_may_take_its_time(gateway: RunningGateway) -> None:
    """Each byte that has come buys time: at 100 KB a second, 300 KB over a second are no slow body."""
    async with connected(gateway) as wire:
        await wire.say(post(b"", "Content-Length: 300015"))
        for _ in range(10):
            await wire.say(b" " * 30_000)
            await asyncio.sleep(0.08)  # a sender on a thin line
        await wire.say(EVENT)
        assert (await wire.hear())[0] == 202


async def test_an_idle_connection_is_closed(gateway: RunningGateway) -> None:
    """After the answer, once nothing has come for a while."""
    async with connected(gateway) as wire:
        await wire.say(post(EVENT))
        assert (await wire.hear())[0] == 202
        assert await wire.is_closed()


async def test_idle_connections_make_room_for_new_ones(gateway: RunningGateway) -> None:
    """A crowd that says nothing, or only begins to, does not lock anybody out."""
    async with contextlib.AsyncExitStack() as crowd:
        for number in range(30):
            wire = await crowd.enter_async_context(connected(gateway))
            if number % 2:
                await wire.say(b"POST /events HTT")
        async with connected(gateway) as wire:
            await wire.say(post(EVENT))
            assert (await wire.hear())[0] == 202


async def test_a_reader_that_does_not_read_is_cut_off(gateway: RunningGateway) -> None:
    """An answer that nobody takes is not kept for ever, and no further one is made for him."""
    accepted = await gateway.http.post("/events", json={"type": "a.b", "data": "x" * 8_000_000})
    path = f"/events/{accepted.json()['id']}/body"
    with socket.create_connection(("127.0.0.1", gateway.port)) as reader:
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 5)
        await asyncio.to_thread(eventually, lambda: congested(gateway) == 1, "an answer waits", 10)
        await asyncio.to_thread(eventually, lambda: congested(gateway) == 0, "it waits no longer", 10)
        taken = await asyncio.to_thread(
            lambda: sum(len(part) for part in iter(lambda: reader.recv(65_536), b""))
        )
    assert taken < 8_000_000


def congested(gateway: RunningGateway) -> int:
    return sum(connection.congested is not None for connection in list(gateway.hub.connections))


async def test_the_gateway_stops_in_good_order(tmp_path: Path) -> None:
    """A request under way is answered before the connection ends."""
    body = b'{"type": "a.b", "id": "last"}'
    async with contextlib.AsyncExitStack() as stack:
        async with running_gateway(tmp_path) as gateway:
            wire = await stack.enter_async_context(connected(gateway))
            await wire.say(post(body)[:-5])
            idle = await stack.enter_async_context(connected(gateway))
            stopping = asyncio.create_task(asyncio.sleep(0))
            await wire.say(body[-5:])
            await stopping
        assert (await wire.hear())[0] == 202
        assert await idle.is_closed()


async def test_no_header_of_an_answer_breaks_out_of_its_line() -> None:
    """Whatever ends up in an answer's headers, a line break in it is a fault and is never sent."""
    for value in ("a\r\nset-cookie: b", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="line break"):
            render(Reply(200, (("location", value),)), date="", keep_alive=True)
