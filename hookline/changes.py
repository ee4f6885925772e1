"""News of events inside one process: what lets a request wait for an event without polling the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Changes:
    """Wakes those who wait for an event to change, and those who follow all of them."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def announce(self, event_ids: Iterable[str]) -> None:
        """Say that these events have changed."""
        for event_id in event_ids:
            for signal in (*self._waiting.get(event_id, ()), *self._waiting.get("", ())):
                signal.set()

    def watch(self, event_id: str = "") -> Watch:
        """Return a watch on one event, or on all events; what happens from now on is not missed."""
        return Watch(self._waiting, event_id)


class Watch:
    """A watch on changes, as a context manager."""

    def __init__(self, waiting: dict[str, set[asyncio.Event]], event_id: str) -> None:
        self._waiting = waiting
        self._event_id = event_id
        self._signal = asyncio.Event()

    def __enter__(self) -> Watch:
        self._waiting.setdefault(self._event_id, set()).add(self._signal)
        return self

    def __exit__(self, *_: object) -> None:
        signals = self._waiting[self._event_id]
        signals.discard(self._signal)
        if not signals:
            del self._waiting[self._event_id]

    async def wait(self, timeout_seconds: float) -> bool:
        """Return True at the next change, or False when the time is over."""
        try:
            async with asyncio.timeout(max(timeout_seconds, 0)):
                await self._signal.wait()
        except TimeoutError:
            return False
        self._signal.clear()
        return True
