"""Streams of bytes on one connection, as the gateway's server reads them, and as h11 does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import h11
from starlette.types import Receive, Scope

from hookline.errors import Refusal
from hookline.gateway.connection import Connection
from hookline.gateway.hub import Hub, Limits
from hookline.gateway.replies import problem
from hookline.sources import Reply

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
#: Turns of the event loop that a piece may take to be read.
_TURNS = 100


@dataclass(frozen=True)
class Request:
    """A request as a server sees it."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass
class Verdict:
    """What a server makes of a stream.

    Parameters
    ----------
    requests: those that came whole.
    refused: it then said that what came is wrong.
    why: in words.
    """

    requests: list[Request] = field(default_factory=list)
    refused: bool = False
    why: str = field(default="", compare=False)


def by_h11(stream: bytes) -> Verdict:
    """Return what h11 makes of a stream; how it comes in pieces makes no difference to it."""
    verdict = Verdict()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=10_000_000)
    connection.receive_data(stream)
    head: h11.Request | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as wrong:
            verdict.refused, verdict.why = True, str(wrong)
            return verdict
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return verdict
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            verdict.requests.append(
                Request(head.method, head.target, head.http_version, tuple(head.headers), body)
            )
            if head.method == b"CONNECT":
                return verdict  # h11 would go on in HTTP once it is refused
            connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return verdict
            with contextlib.suppress(h11.LocalProtocolError):
                connection.start_next_cycle()


@dataclass
class Line:
    """A connection to our server.

    Parameters
    ----------
    sender: the end of whoever sends.
    heard: bytes that the server was given.
    """

    sender: socket.socket
    heard: int = 0


async def open_line(hub: Hub) -> Line:
    """Connect to our server over a real socket, without a port."""
    sender, receiver = socket.socketpair()
    sender.setblocking(False)
    line = Line(sender)

    class Heard(Connection):
        def data_received(self, data: bytes) -> None:
            line.heard += len(data)
            super().data_received(data)

    await asyncio.get_running_loop().connect_accepted_socket(lambda: Heard(hub), receiver)
    return line


@dataclass
class Listener:
    """The gateway's server with an application that takes everything down."""

    hub: Hub
    seen: list[Request]
    refusals: list[Refusal]

    async def verdict(self, *pieces: bytes) -> Verdict:
        """Return what the server makes of a stream that comes in pieces.

        Each piece is read before the next is sent.
        """
        self.seen.clear()
        loop = asyncio.get_running_loop()
        sent = 0
        line = await open_line(self.hub)
        with line.sender as ours:
            for piece in pieces:
                await loop.sock_sendall(ours, piece)
                sent += len(piece)
                for _ in range(_TURNS):
                    if line.heard >= sent:
                        break
                    await asyncio.sleep(0)
            ours.shutdown(socket.SHUT_WR)
            answer = b""
            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionError):
                    while part := await loop.sock_recv(ours, 65_536):
                        answer += part
        statuses = [int(status) for status in _STATUS.findall(answer) if status != b"100"]
        return Verdict(list(self.seen), bool(statuses) and statuses[-1] >= 400, answer.decode("latin-1"))


@contextlib.asynccontextmanager
async def listening_to_streams(limits: Limits | None = None) -> AsyncIterator[Listener]:
    """Give a server that reads every request to its end and answers 200."""
    seen: list[Request] = []

    async def app(scope: Scope, receive: Receive) -> Reply:
        body = b""
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Reply(200)
                body += message["body"]
                more = message["more_body"]
        except Refusal as refusal:
            return problem(refusal)
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        seen.append(
            Request(
                scope["method"].encode(),
                target,
                scope["http_version"].encode(),
                tuple(scope["headers"]),
                body,
            )
        )
        return Reply(200)

    refusals: list[Refusal] = []
    hub = Hub(app, limits or Limits(), lambda refusal, remote: refusals.append(refusal))
    yield Listener(hub, seen, refusals)
    await hub.close(1)


def pieces_of(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return a stream cut at places."""
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(stream)}), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(at)]
