"""A request and its answer: what lies between a connection and the application."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.types import Message, Scope

from hookline.errors import Refusal
from hookline.gateway.hub import App
from hookline.gateway.replies import problem
from hookline.sources import Reply

if TYPE_CHECKING:
    from hookline.gateway.connection import Connection

log = logging.getLogger(__name__)

#: Body bytes that wait in memory for the application before the sender has to pause.
HIGH_WATER_BYTES = 262_144
#: What a part of a body takes in memory besides its bytes: it may be a chunk of a byte or two.
PART_BYTES = 48

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_WITHOUT_BODY = (204, 304)
_CROWDED = Refusal(
    503, "crowded", "Too many requests at once; retry in a second.", headers={"retry-after": "1"}
)


def render(reply: Reply, *, date: str, keep_alive: bool, head_only: bool = False) -> bytes:
    """Return an answer as it goes over the wire.

    Parameters
    ----------
    reply: the answer.
    date: the line that says what time it is.
    keep_alive: another request may follow on the connection.
    head_only: the request was a HEAD.

    Raises
    ------
    ValueError: a header would break out of its line.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
    if lines.count("\n") != len(reply.headers) or lines.count("\r") != len(reply.headers):
        raise ValueError("a header of the answer holds a line break")
    end = "\r\n" if keep_alive else "connection: close\r\n\r\n"
    if reply.status in _WITHOUT_BODY:
        return f"{_STATUS_LINES[reply.status]}{date}{lines}{end}".encode("latin-1")
    head = f"{_STATUS_LINES[reply.status]}{date}{lines}content-length: {len(reply.body)}\r\n{end}"
    return head.encode("latin-1") if head_only else head.encode("latin-1") + reply.body


class Turn:
    """A request and its answer: the two ends that ASGI gives to an application."""

    __slots__ = (
        "_body", "_body_ended", "_body_given", "_connection", "_expects_continue", "_failure", "_held_bytes",
        "_leaving", "_scope", "_waiter", "complete", "keep_alive",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, scope: Scope, keep_alive: bool, expects_continue: bool
    ) -> None:
        self.keep_alive = keep_alive
        self.complete = False
        self._connection = connection
        self._scope = scope
        self._expects_continue = expects_continue
        self._body: list[bytes] = []
        self._held_bytes = 0
        self._body_ended = False
        self._body_given = False
        self._leaving = False
        self._failure: Refusal | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def run(self, app: App) -> None:
        """Let the application answer, and write that."""
        connection = self._connection
        hub = connection.hub
        hub.busy += 1
        try:
            reply = await app(self._scope, self.receive) if hub.make_way() else problem(_CROWDED)
            self.keep_alive = self.keep_alive and self._body_ended
            answer = render(
                reply,
                date=hub.date,
                keep_alive=self.keep_alive,
                head_only=self._scope["method"] == "HEAD",
            )
            self.complete = True
            if not connection.transport.is_closing():
                connection.transport.write(answer)
                if connection.congested is not None:
                    await connection.congested
            connection.answered(self)
        except Exception:
            log.exception("%s %s", self._scope["method"], self._scope["path"])
            connection.abort()
        finally:
            hub.leave()

    # What the connection tells --------------------------------------------------------------------

    def take(self, body: bytes) -> None:
        """Keep a part of the body for the application."""
        self._body.append(body)
        self._held_bytes += len(body) + PART_BYTES
        if self._held_bytes > HIGH_WATER_BYTES:
            self._connection.pause_reading()
        if self._waiter is not None:
            self._wake()

    def end_of_body(self) -> None:
        """Take the news that the body is complete."""
        self._body_ended = True
        if self._waiter is not None:
            self._wake()

    def fail(self, refusal: Refusal) -> None:
        """Take the news that the body will not come, and why."""
        self._failure = refusal
        self._wake()

    def disconnect(self) -> None:
        """Take the news that the other side is leaving."""
        self._leaving = True
        self._wake()

    @property
    def body_ended(self) -> bool:
        """Return whether all of the body has come."""
        return self._body_ended

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> Message:
        """Return what has come of the body, or wait for it; after it, wait until the other side is gone.

        Raises
        ------
        Refusal: 408, the body did not arrive in time; 400, it is malformed.
        """
        while not (self._body or (self._body_ended and not self._body_given) or self._leaving):
            if self._failure is not None:
                raise self._failure
            if self._expects_continue:
                self._expects_continue = False
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._connection.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._body_given or (self._leaving and not self._body_ended):
            return {"type": "http.disconnect"}
        parts, self._body, self._held_bytes = self._body, [], 0
        self._body_given = self._body_ended
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": not self._body_ended}
