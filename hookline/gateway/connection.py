"""One HTTP/1.1 connection: requests in, answers out, within limits of size and time.

The parser is llhttp (through httptools). What a general server leaves to a proxy in front is here, because
a front door may stand alone: limits on headers, connections and the time that a request may take to
arrive. docs/decisions/0007-http-server.md compares it with general servers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any
from urllib.parse import unquote

import httptools
from starlette.types import Scope

from hookline.errors import Refusal
from hookline.gateway.hub import Hub
from hookline.gateway.replies import problem
from hookline.gateway.turn import Turn, render

#: What is read and thrown away after an early answer: many senders look for it only when they have sent all.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 5.0

_ASGI = {"version": "3.0", "spec_version": "2.4"}
_NEVER = float("inf")
_OF_UPGRADES = (b"upgrade", b"connection", b"http2-settings")


class Connection(asyncio.Protocol):
    """One connection of a sender.

    Parameters
    ----------
    hub: what it shares with the others.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._parser: Any = httptools.HttpRequestParser(self)
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self.transport: asyncio.Transport
        #: When it is to be closed, by the loop's clock, unless something happens.
        self.deadline = hub.loop.time() + hub.limits.header_seconds
        # The request that is being read.
        self._url = b""
        self._headers: Any = None
        self._head_bytes = 0
        self._in_head = False
        self._hosts = 0
        self._expects_continue = False
        self._reading: Turn | None = None
        # The request that is being answered, and those that were sent before its answer was.
        self._answering: Turn | None = None
        self._task: asyncio.Task[None] | None = None
        self._pipeline: deque[Turn] = deque()
        # After the last answer: what still comes is thrown away.
        self._deaf = False
        self._draining = False
        self._drained = 0
        self._read_paused = False
        #: Where the reader takes less than is written: done once it has taken enough.
        self.congested: asyncio.Future[None] | None = None
        self._left_to_write = 0

    # From the transport ---------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or turn it away where there are too many."""
        self.transport = transport
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        welcome = self.hub.make_room()
        self.hub.connections[self] = None
        if not welcome:
            self._refuse(
                Refusal(503, "crowded", "Too many connections at once; retry.", headers={"retry-after": "1"})
            )

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the application, which may be waiting."""
        self.hub.connections.pop(self, None)
        for turn in (self._reading, self._answering, *self._pipeline):
            if turn is not None:
                turn.disconnect()
        self._pipeline.clear()
        self.resume_writing()
        # The parser holds us as we hold it.
        self._parser = None

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._deaf:
            self._throw_away(len(data))
            return
        if self._in_head:
            self._head_bytes += len(data)
        elif self._reading is None:
            self._in_head = True
            self._head_bytes = len(data)
            self.deadline = self.hub.now + self.hub.limits.header_seconds + self.hub.limits.tick_seconds
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as asked:
            if self._reading is not None or self._answering is not None:
                self._end_reading(None)  # CONNECT: what follows is not HTTP
            else:
                self._go_on_in_http(data[asked.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._end_reading(Refusal(501, "unknown-method", "The method is not known here."))
        except httptools.HttpParserError as wrong:
            cause = wrong.__context__
            malformed = Refusal(400, "bad-http", "This is not a well-formed HTTP/1.1 request.")
            self._end_reading(cause if isinstance(cause, Refusal) else malformed)
        else:
            if self._in_head and self._head_bytes > self.hub.limits.header_bytes:
                self._end_reading(_headers_too_large())

    def eof_received(self) -> bool:
        """Take the end of what the sender sends; an answer that is on its way is still written."""
        last = self._pipeline[-1] if self._pipeline else self._answering
        if last is None or not last.body_ended:
            return False
        last.keep_alive = False
        for turn in (self._answering, *self._pipeline):
            if turn is not None:
                turn.disconnect()
        return True

    def pause_writing(self) -> None:
        """Hold answers back until the reader has taken some."""
        self.congested = self.hub.loop.create_future()
        self._left_to_write = self.transport.get_write_buffer_size()
        self.deadline = self.hub.now + self.hub.limits.write_seconds

    def resume_writing(self) -> None:
        """Let answers go on."""
        congested, self.congested = self.congested, None
        if congested is not None and not congested.done():
            self.deadline = _NEVER
            congested.set_result(None)

    # From the parser ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = []
        self._hosts = 0
        self._expects_continue = False
        if not self._in_head:
            # It came in one piece with the one before.
            self._in_head = True
            self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after the body (trailers) are not looked at."""
        if self._in_head:
            name = name.lower()
            if name == b"expect":
                self._expects_continue = value.lower() == b"100-continue"
            elif name == b"host":
                self._hosts += 1
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start answering."""
        self._in_head = False
        headers = self._headers
        limits = self.hub.limits
        if len(headers) > limits.headers or (
            self._head_bytes > limits.header_bytes and _size(self._url, headers) > limits.header_bytes
        ):
            raise _headers_too_large()
        parser = self._parser
        method = parser.get_method()
        if parser.should_upgrade() and method != b"CONNECT":
            return  # the parser stops here; see _go_on_in_http
        version = parser.get_http_version()
        if self._hosts != 1 and version != "1.0":
            raise Refusal(400, "bad-http", "The request has no Host header, or several.")
        path, query = _target(self._url)
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path.decode("latin-1")) if b"%" in path else path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._client,
            "server": self._server,
        }
        keep_alive = parser.should_keep_alive() and method != b"CONNECT"
        turn = Turn(self, scope, keep_alive, self._expects_continue)
        self._reading = turn
        self.deadline = self.hub.now + limits.body_seconds + limits.tick_seconds
        if self._answering is None:
            self._answer(turn)
        else:
            self._pipeline.append(turn)
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        turn = self._reading
        if turn is None:
            return
        if turn.complete:
            self._throw_away(len(body))
            return
        turn.take(body)
        limits = self.hub.limits
        self.deadline += len(body) / limits.body_bytes_per_second

    def on_message_complete(self) -> None:
        """End a request."""
        turn, self._reading = self._reading, None
        if turn is None:
            return
        self.deadline = _NEVER
        turn.end_of_body()
        if self._draining:
            self._next()

    # Answering ------------------------------------------------------------------------------------

    def _answer(self, turn: Turn) -> None:
        self._answering = turn
        self._task = self.hub.loop.create_task(turn.run(self.hub.app))

    def answered(self, turn: Turn) -> None:
        """Go on after an answer was written."""
        if turn is self._reading:
            # It was answered before its body had come: read that, so that the sender gets to see the answer.
            self._draining = True
            self.deadline = self.hub.now + DRAIN_SECONDS
            self.resume_reading()
        else:
            self._next()

    def _next(self) -> None:
        turn, self._answering = self._answering, None
        if (turn is not None and not turn.keep_alive) or self.hub.closing:
            self._linger()
            return
        if self._pipeline:
            self._answer(self._pipeline.popleft())
        if not self._pipeline:
            self.resume_reading()
        if self._answering is None and self._reading is None and not self._in_head:
            self.deadline = self.hub.now + self.hub.limits.idle_seconds

    def pause_reading(self) -> None:
        """Let the sender wait."""
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the sender go on."""
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    # Ending ---------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Return whether no request is being read or answered; one whose headers are on their way is none."""
        return self._reading is None and self._answering is None

    def out_of_time(self) -> None:
        """End what has taken too long: a request that does not arrive, or a reader that does not read."""
        self.deadline = _NEVER
        turn = self._reading
        if self.congested is not None:
            left, before = self.transport.get_write_buffer_size(), self._left_to_write
            self._left_to_write = left
            if left >= before:
                self.abort()
            else:
                self.deadline = self.hub.now + self.hub.limits.write_seconds
        elif self._deaf or self._draining:
            self.abort()
        elif turn is not None or self._in_head:
            self._end_reading(Refusal(408, "timeout", "The request did not arrive in time."))
        elif self.idle:
            self.transport.close()

    def shut(self) -> None:
        """Close once the answer under way is written; at once where there is none."""
        if self.idle:
            self.transport.close()

    def end(self) -> None:
        """Close for good: what is not answered by now will not be."""
        if self._task is not None:
            self._task.cancel()
        self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def _end_reading(self, refusal: Refusal | None) -> None:
        """Read no further; tell whoever waits for more why."""
        turn, self._reading = self._reading, None
        self._in_head, self._deaf = False, True
        self.deadline = _NEVER
        last = self._pipeline[-1] if self._pipeline else self._answering
        if last is not None:
            last.keep_alive = False
        if self._draining:
            self._linger()
        elif turn is not None and refusal is not None:
            turn.fail(refusal)
        elif refusal is not None and last is None:
            self._refuse(refusal)

    def _go_on_in_http(self, rest: bytes) -> None:
        """Answer a request that asks for another protocol as if it had not: it may be refused, says HTTP."""
        head = b"%b %b HTTP/1.1\r\n" % (self._parser.get_method(), self._url)
        for name, value in self._headers:
            if name not in _OF_UPGRADES:
                head += b"%b: %b\r\n" % (name, value)
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(head + b"\r\n" + rest)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and close."""
        self.hub.on_refused(refusal, self._client[0] if self._client else "")
        self.transport.write(render(problem(refusal), date=self.hub.date, keep_alive=False))
        self._linger()

    def _linger(self) -> None:
        """Close, but only after the sender, which would not see the answer if it were still writing."""
        self._deaf = True
        self._drained = 0
        self.deadline = self.hub.now + DRAIN_SECONDS
        self.resume_reading()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _throw_away(self, size: int) -> None:
        self._drained += size
        if self._drained > DRAIN_BYTES:
            self.abort()


def _address(name: Any) -> tuple[str, int] | None:
    """Return a socket's address; a socket without one, such as a Unix socket, has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None


def _size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def _target(url: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request's target, which may be a whole address."""
    if not url.startswith(b"/") and b"://" in url:
        _, slash, rest = url.partition(b"://")[2].partition(b"/")
        url = b"/" + rest if slash else b"/"
    path, _, query = url.partition(b"#")[0].partition(b"?")
    return path, query


def _headers_too_large() -> Refusal:
    return Refusal(431, "headers-too-large", "The headers are larger, or more, than what is accepted here.")
