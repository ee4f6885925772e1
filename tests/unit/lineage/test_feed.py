"""One subscription for all who listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from hookline import feed
from hookline.feed import Feed, PrefectEvent, StreamLost
from tests.unit.lineage.support import START


@dataclass
class Source:
    """A stream that gives what it is told to."""

    opened: int = 0
    closed: int = 0
    queue: asyncio.Queue[PrefectEvent | Exception] = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[PrefectEvent]]:
        self.opened += 1
        try:
            yield self._events()
        finally:
            self.closed += 1

    async def _events(self) -> AsyncIterator[PrefectEvent]:
        while True:
            event = await self.queue.get()
            if isinstance(event, Exception):
                raise event
            yield event


def event(number: int) -> PrefectEvent:
    return PrefectEvent(str(number), "x", START, {"prefect.resource.id": "r"})


async def take(listener: AsyncIterator[PrefectEvent], number: int) -> list[str]:
    async with asyncio.timeout(5):
        return [(await anext(listener)).id for _ in range(number)]


async def close(listener: AsyncIterator[PrefectEvent]) -> None:
    """Leave the stream, and let it notice."""
    await listener.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.01)


async def test_all_who_listen_share_one_stream() -> None:
    """It is opened once, each hears everything, and it is closed after the last has left."""
    source = Source()
    shared = Feed(source.subscribe)
    one, two = shared.listen(), shared.listen()
    hearing = [asyncio.create_task(take(listener, 2)) for listener in (one, two)]
    await asyncio.sleep(0)
    source.queue.put_nowait(event(1))
    source.queue.put_nowait(event(2))

    assert await asyncio.gather(*hearing) == [["1", "2"], ["1", "2"]]
    assert source.opened == 1
    await close(one)
    await close(two)
    assert source.closed == 1


async def test_when_the_connection_breaks_all_are_told() -> None:
    """And whoever listens again opens a new one."""
    source = Source()
    shared = Feed(source.subscribe)
    listeners = [shared.listen(), shared.listen()]
    waiting = [asyncio.ensure_future(anext(listener)) for listener in listeners]
    await asyncio.sleep(0)
    source.queue.put_nowait(ConnectionError())

    for each in waiting:
        with pytest.raises(StreamLost):
            await each
    renewed = shared.listen()
    again = asyncio.create_task(take(renewed, 1))
    await asyncio.sleep(0)
    source.queue.put_nowait(event(1))
    assert await again == ["1"]
    assert source.opened == 2
    await close(renewed)


async def test_one_who_is_slow_loses_the_stream_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its backlog is bounded; it is told, so that it can ask for what it missed."""
    monkeypatch.setattr(feed, "BACKLOG", 3)
    source = Source()
    shared = Feed(source.subscribe)
    slow, quick = shared.listen(), shared.listen()
    first = asyncio.create_task(take(slow, 1))
    hearing = asyncio.create_task(take(quick, 10))
    await asyncio.sleep(0)
    source.queue.put_nowait(event(0))
    assert await first == ["0"]
    for number in range(1, 10):
        source.queue.put_nowait(event(number))
        await asyncio.sleep(0.001)

    assert len(await hearing) == 10
    with pytest.raises(StreamLost):
        await take(slow, 10)
    await close(quick)
