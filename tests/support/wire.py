"""HTTP/1.1 by hand: many requests written at once on one connection, and their answers read in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

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
