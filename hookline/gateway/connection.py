"""One HTTP/1.1 connection: requests in, answers out, within limits of size and time.

What a general server leaves to a proxy in front is here, because a front door may stand alone: limits on
headers, connections and the time that a request may take to arrive. docs/decisions/0007-http-server.md
compares it with general servers.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import unquote

from starlette.types import Scope

from hookline.errors import Refusal
from hookline.gateway import heads
from hookline.gateway.hub import Hub
from hookline.gateway.incoming import Incoming
from hookline.gateway.replies import problem
from hookline.gateway.turn import Turn, render

#: For so long a sender may go on after its answer, before it is cut off.
DRAIN_SECONDS = 5.0

_ASGI = {"version": "3.0", "spec_version": "2.4"}
_NEVER = float("inf")


class Connection(Incoming):
    """One connection of a sender.

    Parameters
    ----------
    hub: what it shares with the others.
    """

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        # The request that is being answered.
        self._answering: Turn | None = None
        self._task: asyncio.Task[None] | None = None
        #: When the newest request began, by the loop's clock.
        self.began = hub.now
        #: Why nothing more is read, to be said after all answers.
        self._last_word: Refusal | None = None
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

    def on_headers_complete(self) -> None:
        """Start answering."""
        self._in_head = False
        headers = self._headers
        limits = self.hub.limits
        if len(headers) > limits.headers or (
            self._head_bytes > limits.header_bytes and heads.size_of(self._url, headers) > limits.header_bytes
        ):
            raise heads.headers_too_large()
        parser = self._parser
        method = parser.get_method()
        self._check_line(method)
        if parser.should_upgrade() and method != b"CONNECT":
            return  # the parser stops here; see _feed
        version = parser.get_http_version()
        if self._hosts != 1 or version != "1.1":
            heads.check_host(self._hosts, version)
        if self._codings:
            heads.check_coding(self._codings, self._coding, version)
        path, query = heads.split_target(self._url)
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
        turn = Turn(self, scope, keep_alive, self._expects_continue and version == "1.1")
        self._reading = turn
        self.began = self.hub.now
        self._framing_bytes = self._trailers = 0
        self.deadline = self.hub.now + limits.body_seconds + limits.tick_seconds
        if self._answering is None:
            self._answer(turn)
        else:
            self._pipeline.append(turn)
            self.pause_reading()

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
        elif self._last_word is not None:
            self._refuse(self._last_word)
            return
        if not self._pipeline:
            self.resume_reading()
        if self._answering is None and self._reading is None and not self._in_head:
            self.deadline = self.hub.now + self.hub.limits.idle_seconds

    # Ending ---------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Return whether all that is left is to let the sender end, which has its answer."""
        return self._draining

    @property
    def waits(self) -> bool:
        """Return whether it is the other side that is waited for, to send a body or to read an answer."""
        return (self._reading is not None and not self._deaf) or self.congested is not None

    def give_up(self) -> None:
        """End what the other side takes too long for, as others need the place."""
        if self.congested is not None:
            self.abort()
        else:
            self._end_reading(Refusal(408, "timeout", "The request did not arrive in time; others wait."))

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
        elif self._read_paused:
            self._give_time_for_head()  # it is we who let the sender wait
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

    def _end_reading(self, refusal: Refusal | None) -> None:
        """Read no further; tell whoever waits for more why, or the sender after the answers it is due."""
        turn, self._reading = self._reading, None
        self._in_head, self._deaf = False, True
        self.deadline = _NEVER
        last = turn or (self._pipeline[-1] if self._pipeline else self._answering)
        if self._draining:
            self._linger()
        elif refusal is None:
            if last is not None:
                last.keep_alive = False
        elif turn is not None:
            turn.fail(refusal)
        elif last is not None:
            self._last_word = refusal
        else:
            self._refuse(refusal)

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
            with contextlib.suppress(OSError):  # the other side is gone
                self.transport.write_eof()


def _address(name: Any) -> tuple[str, int] | None:
    """Return a socket's address; a socket without one, such as a Unix socket, has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None
