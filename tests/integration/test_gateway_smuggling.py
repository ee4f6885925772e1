"""Requests that two servers could read in two ways: one answer, no second request, the connection ends.

A proxy in front of the gateway may take such a request for one where we see two, or the other way round: what
hides in it would get past whatever the proxy checks. Each is raw bytes over a real socket.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.wire import connected, post

EVENT = b'{"type": "a.b"}'
HIDDEN = post(b'{"type": "smuggled.in"}')
#: The same bytes as chunks and as a body whose length does not count the hidden request.
CHUNKS = b"f\r\n" + EVENT + b"\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """Give a gateway."""
    async with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def length(value: str) -> bytes:
    return post(b"", f"Content-Length:{value}") + EVENT + HIDDEN


def coding(*lines: str) -> bytes:
    return post(b"", *lines) + CHUNKS + HIDDEN


def chunk(size: bytes, after: bytes = b"\r\n0\r\n\r\n") -> bytes:
    return post(b"", "Transfer-Encoding: chunked") + size + EVENT + after + HIDDEN


AMBIGUOUS = {
    # Lengths
    "CL.TE": post(b"", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + HIDDEN,
    "TE.CL": post(b"", "Transfer-Encoding: chunked", "Content-Length: 4") + b"5c\r\n" + HIDDEN,
    "two lengths": post(b"", "Content-Length: 15", "Content-Length: 0") + EVENT + HIDDEN,
    "two equal lengths": post(b"", "Content-Length: 15", "Content-Length: 15") + EVENT + HIDDEN,
    "list of equal lengths": length(" 15, 15"),
    "list of lengths": length(" 15, 0"),
    "plus": length(" +15"),
    "minus": length(" -15"),
    "hexadecimal": length(" 0xf"),
    "underscore in number": length(" 1_5"),
    "fraction": length(" 15.0"),
    "exponent": length(" 15e0"),
    "blank inside": length(" 1 5"),
    "vertical tab": length(" \x0b15"),
    "form feed": length(" 15\x0c"),
    "no number": length(""),
    "quoted": length(' "15"'),
    "more zeros than digits of any length": length(" " + "0" * 30 + "15"),
    "more than 64 bits": length(" 18446744073709551631"),
    "blank before the colon": post(b"", "Content-Length : 15", "Content-Length: 0") + EVENT + HIDDEN,
    "tab before the colon": post(b"", "Content-Length\t: 15", "Content-Length: 0") + EVENT + HIDDEN,
    "NUL in a name": post(b"", "Content-\0Length: 15", "Content-Length: 0") + EVENT + HIDDEN,
    # Codings
    "xchunked": coding("Transfer-Encoding: xchunked"),
    "chunked, identity": coding("Transfer-Encoding: chunked, identity"),
    "identity, chunked": coding("Transfer-Encoding: identity, chunked"),
    "identity": post(b"", "Transfer-Encoding: identity") + EVENT + HIDDEN,
    "gzip, chunked": coding("Transfer-Encoding: gzip, chunked"),
    "chunked, gzip": coding("Transfer-Encoding: chunked, gzip"),
    "chunked twice": coding("Transfer-Encoding: chunked, chunked"),
    "chunked in two lines": coding("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "second line": coding("Transfer-Encoding: chunked", "Transfer-Encoding: x"),
    "first line": coding("Transfer-Encoding: x", "Transfer-Encoding: chunked"),
    "empty first line": coding("Transfer-Encoding:", "Transfer-Encoding: chunked"),
    "comma in front": coding("Transfer-Encoding: ,chunked"),
    "parameter": coding("Transfer-Encoding: chunked;q=1"),
    "quoted coding": coding('Transfer-Encoding: "chunked"'),
    "vertical tab before the coding": coding("Transfer-Encoding: \x0bchunked"),
    "vertical tab after the coding": coding("Transfer-Encoding: chunked\x0b"),
    "NUL after the coding": coding("Transfer-Encoding: chunked\0"),
    "blank before the colon of a coding": coding("Transfer-Encoding : chunked"),
    "folded coding": coding("Transfer-Encoding:\r\n chunked"),
    "coding in a folded header": coding("X: y\r\n Transfer-Encoding: chunked"),
    "coding in HTTP/1.0": coding("Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "coding after a bare CR": coding("X: y\rTransfer-Encoding: chunked"),
    "coding after a bare LF": coding("X: y\nTransfer-Encoding: chunked"),
    # Chunks
    "size beyond 64 bits": chunk(b"ffffffffffffffff1\r\n"),
    "size that overflows to the right one": chunk(b"1000000000000000f\r\n"),
    "size with 0x": chunk(b"0xf\r\n"),
    "size with a sign": chunk(b"+f\r\n"),
    "negative size": chunk(b"-f\r\n"),
    "blank before a size": chunk(b" f\r\n"),
    "blank after a size": chunk(b"f \r\n"),
    "tab after a size": chunk(b"f\t\r\n"),
    "no size": chunk(b"\r\n"),
    "size that ends in LF": chunk(b"f\n"),
    "size that ends in CR": chunk(b"f\r"),
    "extension with an LF": chunk(b"f;a\nb\r\n"),
    "extension with a CR": chunk(b"f;a\rb\r\n"),
    "extension with NUL": chunk(b"f;a\0b\r\n"),
    "chunk longer than its size": chunk(b"e\r\n"),
    "chunk that ends in LF": chunk(b"f\r\n", b"\n0\r\n\r\n"),
    "last chunk that ends in LF": chunk(b"f\r\n", b"\r\n0\n\n"),
    "trailers that end in LF": chunk(b"f\r\n", b"\r\n0\r\n\n"),
    "trailer with a blank before its colon": chunk(b"f\r\n", b"\r\n0\r\nX : y\r\n\r\n"),
    "trailer that is folded": chunk(b"f\r\n", b"\r\n0\r\nX: y\r\n z\r\n\r\n"),
    "trailer that is no header": chunk(b"f\r\n", b"\r\n0\r\nX\r\n\r\n"),
    "trailer that is a length": chunk(b"f\r\n", b"\r\n0\r\nContent-Length: 5\r\n\r\n"),
    # Lines and targets
    "LF only": post(EVENT).replace(b"\r\n", b"\n") + HIDDEN,
    "head that ends in LF": post(EVENT).replace(b"\r\n\r\n", b"\r\n\n") + HIDDEN,
    "folded header": post(EVENT, "X: y\r\n z") + HIDDEN,
    "folded first header": post(EVENT, host=" X: y\r\nHost: localhost") + HIDDEN,
    "NUL in a header": post(EVENT, "X: a\0b") + HIDDEN,
    "DEL in a header": post(EVENT, "X: a\x7fb") + HIDDEN,
    "header without a colon": post(EVENT, "X") + HIDDEN,
    "header without a name": post(EVENT, ": x") + HIDDEN,
    "no Host": post(EVENT, host="X: y") + HIDDEN,
    "two Hosts": post(EVENT, "Host: elsewhere") + HIDDEN,
    "two Hosts in HTTP/1.0": post(EVENT, "Host: elsewhere").replace(b"HTTP/1.1", b"HTTP/1.0", 1) + HIDDEN,
    "HTTP/2.0": post(EVENT).replace(b"HTTP/1.1", b"HTTP/2.0", 1) + HIDDEN,
    "HTTP/1.10": post(EVENT).replace(b"HTTP/1.1", b"HTTP/1.10", 1) + HIDDEN,
    "HTTP/0.9": b"GET /events\r\n" + HIDDEN,
    "another protocol": post(EVENT).replace(b"HTTP/1.1", b"RTSP/1.1", 1) + HIDDEN,
    "two blanks": post(EVENT).replace(b"POST ", b"POST  ", 1) + HIDDEN,
    "blank in a target": post(EVENT, path="/events HTTP/1.1\t") + HIDDEN,
    "NUL in a target": post(EVENT, path="/events\0") + HIDDEN,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("stream", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_what_can_be_read_in_two_ways_is_refused_once(gateway: RunningGateway, stream: bytes) -> None:
    """400 as a problem document, nothing after it, and what hides behind is no request."""
    assert await answers(gateway, stream) == [400]
    assert "smuggled.in" not in await types(gateway)


UNAMBIGUOUS = {
    "blanks around a length": (length(" \t15 \t"), [202, 202]),
    "zeros before a length": (length(" 00015"), [202, 202]),
    "coding in capitals": (coding("TRANSFER-ENCODING: CHUNKED"), [202, 202]),
    "zeros before a size": (chunk(b"0000f\r\n"), [202, 202]),
    "extensions": (chunk(b'f;a=b;c="d;e"\r\n'), [202, 202]),
    "trailer": (chunk(b"f\r\n", b"\r\n0\r\nIdempotency-Key: x\r\n\r\n"), [202, 202]),
    "empty line between requests": (post(EVENT) + b"\r\n" + HIDDEN, [202, 202]),
    # Another header by its name: the body is none, so that the next request begins where the body does.
    "Content_Length": (post(b"", "Content_Length: 15", "Content-Length: 0") + EVENT + HIDDEN, [400, 501]),
    "Transfer_Encoding": (post(b"", "Transfer_Encoding: chunked", "Content-Length: 0") + CHUNKS, [400, 501]),
    # What follows the last request of a connection is not read.
    "close": (post(EVENT, "Connection: close") + HIDDEN, [202]),
    "close, upgrade": (post(EVENT, "Connection: close, upgrade", "Upgrade: h2c") + HIDDEN, [202]),
    "upgrade, close": (post(EVENT, "Connection: upgrade", "Connection: close", "Upgrade: x") + HIDDEN, [202]),
    "HTTP/1.0": (post(EVENT).replace(b"HTTP/1.1", b"HTTP/1.0", 1) + HIDDEN, [202]),
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN, [404]),
    "upgrade": (post(EVENT, "Connection: upgrade", "Upgrade: h2c") * 2 + HIDDEN, [202, 202, 202]),
    "refused after an answer": (post(EVENT) + post(EVENT, "X") + HIDDEN, [202, 400]),
}


@pytest.mark.parametrize(("stream", "expected"), UNAMBIGUOUS.values(), ids=UNAMBIGUOUS.keys())
async def test_what_can_be_read_in_one_way_is_read_in_it(
    gateway: RunningGateway, stream: bytes, expected: list[int]
) -> None:
    """Each request has its answer, and there are no more than were sent."""
    assert await answers(gateway, stream, ends_in=expected[-1]) == expected


async def answers(gateway: RunningGateway, stream: bytes, ends_in: int = 400) -> list[int]:
    """Return the statuses of all answers; where the last is an error, the other side closes by itself."""
    async with connected(gateway) as wire:
        await wire.say(stream)
        if ends_in < 400 and b"close" not in stream and b"HTTP/1.0" not in stream:
            wire.writer.write_eof()
        said = await wire.hear_all()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


async def types(gateway: RunningGateway) -> set[str]:
    events = (await gateway.http.get("/events?limit=100")).json()["events"]
    return {event["type"] for event in events}
