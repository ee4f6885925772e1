"""What the connections of a listener share: the application, limits, and one clock for all deadlines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope

from hookline.errors import Refusal
from hookline.sources import Reply

if TYPE_CHECKING:
    from hookline.gateway.connection import Connection

#: Answers a request, given as the scope and the body's `receive` of ASGI.
App = Callable[[Scope, Receive], Awaitable[Reply]]


#: What is full is relieved of one in so many at once.
A_FEW = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a connection may take.

    Parameters
    ----------
    connections: so many at once; beyond, the longest idle ones are closed, then the slowest, and only where
        there are none new ones are turned away.
    requests: so many at once, those that wait for an event included; beyond, those that have been arriving
        for longest are given up, and only where there are none new ones are turned away.
    header_bytes, headers: size of the request line and headers together, and their number.
    idle_seconds: between requests.
    header_seconds: from a request's first byte to the end of its headers.
    body_seconds: for a body, and a second more for each `body_bytes_per_second` that have come.
    write_seconds: without the reader taking anything of the answer.
    tick_seconds: how often all this is looked at; nobody is cut off earlier, but as much later.
    """

    connections: int = 4096
    requests: int = 2_000
    header_bytes: int = 32_768
    headers: int = 100
    idle_seconds: float = 75.0
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    body_bytes_per_second: int = 16_384
    write_seconds: float = 30.0
    tick_seconds: float = 1.0


class Hub:
    """What the connections of a listener share.

    Parameters
    ----------
    app: answers requests.
    limits: what a connection may take.
    on_refused: told of what was turned away before it was a request, with the sender's address.
    """

    def __init__(self, app: App, limits: Limits, on_refused: Callable[[Refusal, str], None]) -> None:
        self.app = app
        self.limits = limits
        self.on_refused = on_refused
        self.loop = asyncio.get_running_loop()
        #: In the order they came; a dict, because sets have none.
        self.connections: dict[Connection, None] = {}
        #: Requests that are being answered, also those whose sender is gone.
        self.busy = 0
        self.closing = False
        self._all_answered = asyncio.Event()
        #: Where it listens.
        self.port = 0
        self.now = self.loop.time()
        self.date = ""
        self._tick()

    async def tick_for_ever(self) -> None:
        """Look at every connection's deadline, for ever."""
        while True:
            await asyncio.sleep(self.limits.tick_seconds)
            self._tick()
            for connection in [each for each in self.connections if each.deadline <= self.now]:
                connection.out_of_time()

    def _tick(self) -> None:
        self.now = self.loop.time()
        self.date = f"date: {formatdate(usegmt=True)}\r\n"

    def leave(self) -> None:
        """Count a request as answered."""
        self.busy -= 1
        if self.closing and not self.busy:
            self._all_answered.set()

    async def close(self, within_seconds: float) -> None:
        """Let requests under way be answered, then close all connections."""
        self.closing = True
        for connection in list(self.connections):
            connection.shut()
        if self.busy:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_seconds):
                    await self._all_answered.wait()
        for connection in list(self.connections):
            connection.end()

    def make_room(self) -> bool:
        """Return whether there is room for one more connection; where there is none, make some."""
        if len(self.connections) < self.limits.connections:
            return True
        idle = [each for each in self.connections if each.idle or each.draining]
        for connection in idle[: self.limits.connections // A_FEW + 1]:
            connection.abort()
        return bool(idle) or self._give_up_slowest()

    def make_way(self) -> bool:
        """Return whether one more request may be answered now; where there are too many, make way for it."""
        return self.busy <= self.limits.requests or self._give_up_slowest()

    def _give_up_slowest(self) -> bool:
        """Give up a few that have waited for their sender or reader for longest; return whether any have."""
        slow = sorted((each for each in self.connections if each.waits), key=lambda each: each.began)
        for connection in slow[: self.limits.connections // A_FEW + 1]:
            connection.give_up()
        return bool(slow)
