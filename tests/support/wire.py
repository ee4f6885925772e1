"""HTTP/1.1 by hand: raw bytes, many requests at once on one connection, and their answers read in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

from tests.support.gateway import RunningGateway

#: Requests that are on their way at a time; more would fill the buffers of both sides.
AT_A_TIME = 40


def request(method: str, path: str, headers: Iterable[tuple[str, bytes]], body: bytes = b"") -> bytes:
    """Return a request as bytes; Host and Content-Length are added."""
    lines = [f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}".encode()]
    lines += [name.encode() + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def statuses(port: int, requests: Sequence[bytes]) -> list[int]:
    """Send requests over one connection; return the status of each answer.

    Parameters
    ----------
    port: where the gateway listens.
    requests: whole requests, which keep the connection open.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found: list[int] = []
    try:
        for start in range(0, len(requests), AT_A_TIME):
            few = requests[start : start + AT_A_TIME]
            writer.write(b"".join(few))
            for each in few:
                async with asyncio.timeout(20):
                    found.append(await _status(reader, head_only=each.startswith(b"HEAD ")))
    finally:
        writer.close()
    return found


async def _status(reader: asyncio.StreamReader, *, head_only: bool) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    await reader.readexactly(0 if head_only else int(length or "0"))
    return int(head.split(maxsplit=2)[1])


class Wire:
    """A connection on which a test says and hears what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def hear(self) -> tuple[int, dict[str, str], bytes]:
        """Return the next answer: status, headers in lower case, body."""
        async with asyncio.timeout(10):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)
            }
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(line.split()[1]), headers, body

    async def hear_all(self) -> bytes:
        """Return everything until the other side closes."""
        async with asyncio.timeout(10):
            return await self._reader.read()

    async def is_closed(self) -> bool:
        """Wait until the other side closes; return whether it said nothing more."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                return await self._reader.read() == b""
        return True


@contextlib.asynccontextmanager
async def connected(gateway: RunningGateway) -> AsyncIterator[Wire]:
    """Give a connection to a gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=32 * 1024 * 1024)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def post(body: bytes, *headers: str, path: str = "/events", host: str = "Host: localhost") -> bytes:
    """Return a POST of a body of JSON; Content-Length is added where no header says how the body comes."""
    lines = [f"POST {path} HTTP/1.1", host, "Content-Type: application/json", *headers]
    if not any(each.lower().startswith(("content-length", "transfer-encoding")) for each in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
