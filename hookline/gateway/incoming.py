"""What comes in on a connection: bytes, given to the parser piece by piece and within limits.

The parser is llhttp (through httptools). It keeps no limits, and copies all of a header again for each piece
of it that comes: so whatever is neither the data of a body nor within the limits of a head has to end here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools

from hookline.errors import Refusal
from hookline.gateway import heads
from hookline.gateway.heads import OF_CONNECTION
from hookline.gateway.hub import Hub
from hookline.gateway.turn import Turn

#: What is read and thrown away after an early answer: many senders look for it only when they have sent all.
DRAIN_BYTES = 32 * 1024 * 1024
#: What is given to the parser at once, except of a body whose length is known: as it cannot be stopped in
#: between, no more requests than fit into this wait for the answer of the one before them.
SLICE_BYTES = 8_192
#: What is parsed of one connection before others have their turn.
STRETCH_BYTES = 65_536
#: A body in chunks may have so many bytes around each of its own, and as many as a head may have at once.
FRAMING_FACTOR = 16


class Incoming(asyncio.Protocol):
    """The half of a connection that reads; `Connection` is the other.

    Parameters
    ----------
    hub: what it shares with the others.
    """

    transport: asyncio.Transport

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._parser: Any = httptools.HttpRequestParser(self)
        #: When it is to be closed, by the loop's clock, unless something happens.
        self.deadline = hub.loop.time() + hub.limits.header_seconds
        # The request that is being read.
        self._url = b""
        self._headers: Any = None
        self._head_bytes = 0
        self._in_head = False
        # The piece that is with the parser, and those before it that the head began in.
        self._piece = b""
        self._pieces_before = b""
        self._begins_piece = True
        self._hosts = 0
        self._codings = 0
        self._coding = b""
        self._expects_continue = False
        self._reading: Turn | None = None
        #: What is still to come of a body whose length is known.
        self._body_left = 0
        # Of a body in chunks: bytes around them that the body has not made up for, and fields after it.
        self._framing_bytes = 0
        self._trailers = 0
        # What has come and is not parsed yet: others have their turn, or answers are due first.
        self._unread = b""
        # Requests that were sent before the answer to the one before them was.
        self._pipeline: deque[Turn] = deque()
        # After the last answer: what still comes is thrown away.
        self._deaf = False
        self._draining = False
        self._drained = 0
        self._read_paused = False

    def _end_reading(self, refusal: Refusal | None) -> None:
        """Read no further; tell whoever waits for more why."""
        raise NotImplementedError

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    # From the transport ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, a stretch at a time."""
        if len(data) <= SLICE_BYTES:
            self._parse(data)
            return
        at = turned = 0
        while at < len(data):
            if self._pipeline or at - turned >= STRETCH_BYTES:
                self._unread = data[at:]
                self.pause_reading()
                if not self._pipeline:
                    self.resume_reading()
                return
            body = 0 if self._reading is None else min(self._body_left, len(data) - at)
            end = at + max(body, SLICE_BYTES)
            self._parse(data[at:end])
            at, turned = end, turned + body

    def _go_on(self) -> None:
        """Parse what was left, unless something else has to happen first."""
        if self._read_paused or not self._unread or self.transport.is_closing():
            return
        data, self._unread = self._unread, b""
        self.data_received(data)
        if not (self._unread or self._read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        """Give a piece of what came to the parser, within limits."""
        if self._deaf:
            self._throw_away(len(data))
            return
        if self._in_head:
            self._head_bytes += len(data)
        elif self._reading is None:
            self._in_head = True
            self._head_bytes = len(data)
            self._pieces_before = b""
            self._begins_piece = True
            self._give_time_for_head()
        else:
            self._framing_bytes += len(data)
        self._piece = data
        try:
            self._feed(data)
        except httptools.HttpParserInvalidMethodError:
            self._end_reading(Refusal(501, "unknown-method", "The method is not known here."))
        except httptools.HttpParserError as wrong:
            cause = wrong.__context__
            self._end_reading(cause if isinstance(cause, Refusal) else heads.bad_http())
        else:
            if self._in_head:
                self._pieces_before += data
                if self._head_bytes > self.hub.limits.header_bytes:
                    self._end_reading(heads.headers_too_large())
            elif self._reading is not None and self._framing_bytes > self.hub.limits.header_bytes:
                self._end_reading(heads.framing_too_large())
        self._piece = b""

    def _feed(self, data: bytes) -> None:
        """Let the parser see a piece; a request for another protocol is answered as if it had not asked."""
        while data:
            parser = self._parser
            try:
                parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as asked:
                method = parser.get_method()
                if method == b"CONNECT":
                    self._end_reading(None)  # what follows is not HTTP
                    return
                head = heads.without_upgrade(method, self._url, parser.get_http_version(), self._headers)
                data = self._piece = head + data[asked.args[0] :]
                self._parser = httptools.HttpRequestParser(self)

    def pause_reading(self) -> None:
        """Let the sender wait."""
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the sender go on."""
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            if self._unread:
                self.hub.loop.call_soon(self._go_on)
            else:
                self.transport.resume_reading()

    # From the parser ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = []
        self._hosts = self._codings = self._body_left = 0
        self._expects_continue = False
        if not self._in_head:
            # It came in one piece with the one before.
            self._in_head = True
            self._head_bytes = 0
            self._pieces_before = b""
            self._begins_piece = False
            self._give_time_for_head()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after the body (trailers) are counted, and not looked at."""
        if not self._in_head:
            self._trailers += 1
            if self._trailers > self.hub.limits.headers:
                raise heads.framing_too_large()
            return
        name = name.lower()
        # Blanks around a value are none of it (RFC 9110, 5.5); the parser takes those in front.
        value = value.rstrip(b" \t")
        if name in OF_CONNECTION:
            if name == b"host":
                self._hosts += 1
            elif name == b"content-length":
                self._body_left = heads.read_length(value)
            elif name == b"expect":
                self._expects_continue = value.lower() == b"100-continue"
            else:
                self._codings += 1
                self._coding = value
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        turn = self._reading
        if turn is None:
            return
        size = len(body)
        if self._body_left:
            self._body_left -= size
        framing = self._framing_bytes - FRAMING_FACTOR * size
        self._framing_bytes = framing if framing > 0 else 0
        if turn.complete:
            self._throw_away(size)
            return
        turn.take(body)
        self.deadline += size / self.hub.limits.body_bytes_per_second

    def _check_line(self, method: bytes) -> None:
        """Check that the request line is what HTTP wants: the parser takes more blanks, and RTSP.

        Where a request came in one piece with the one before, it is not known where in it the line is.

        Raises
        ------
        Refusal: 400.
        """
        line = b"%b %b HTTP/" % (method, self._url)
        if self._piece.startswith(line):
            return
        head = (self._pieces_before + self._piece).lstrip(b"\r\n")
        if not (head.startswith(line) if self._begins_piece else line in head):
            raise heads.bad_http("Its request line is not a method, a blank, a target, a blank and HTTP/1.1.")

    def _give_time_for_head(self) -> None:
        limits = self.hub.limits
        self.deadline = self.hub.now + limits.header_seconds + limits.tick_seconds

    def _throw_away(self, size: int) -> None:
        self._drained += size
        if self._drained > DRAIN_BYTES:
            self.abort()
