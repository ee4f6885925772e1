"""Prefect's event stream: one subscription, shared by all who listen to it in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: Events that wait for one listener. The server's own queue for a subscription holds 256.
BACKLOG = 10_000


@dataclass(frozen=True, slots=True)
class PrefectEvent:
    """An event of Prefect's feed.

    Parameters
    ----------
    id: Prefect's id; of a state change it is also the state's.
    name: such as `prefect.flow-run.Running`.
    occurred: when it happened, by its sender's clock.
    resource: the labels of what it is about; `prefect.resource.id` is always there.
    related: the labels of what else it is about, each with a `prefect.resource.role`.
    """

    id: str
    name: str
    occurred: datetime
    resource: Mapping[str, str]
    related: tuple[Mapping[str, str], ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def resource_id(self) -> str:
        """Return what it is about, such as `prefect.flow-run.<id>` or an asset's key."""
        return self.resource["prefect.resource.id"]

    def related_ids(self, role: str) -> list[str]:
        """Return the ids of what has this role."""
        return [
            labels["prefect.resource.id"]
            for labels in self.related
            if labels.get("prefect.resource.role") == role
        ]

    def related_in(self, role: str) -> Mapping[str, str] | None:
        """Return the labels of the first thing that has this role."""
        return next((r for r in self.related if r.get("prefect.resource.role") == role), None)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PrefectEvent:
        """Read an event as `POST /events/filter` gives it."""
        return cls(
            id=document["id"],
            name=document["event"],
            occurred=datetime.fromisoformat(document["occurred"]),
            resource=document["resource"],
            related=tuple(document.get("related") or ()),
            payload=document.get("payload") or {},
        )


class StreamLost(Exception):
    """The stream ended, or this listener was too slow for it; what was missed has to be asked for."""


class Feed:
    """Shares one stream among listeners: opened for the first, closed after the last.

    A listener that falls behind loses the stream, and nobody else does. When the connection breaks, all
    lose it; the first that listens again opens a new one.

    Parameters
    ----------
    subscribe: opens the stream.
    """

    def __init__(
        self, subscribe: Callable[[], AbstractAsyncContextManager[AsyncIterator[PrefectEvent]]]
    ) -> None:
        self._subscribe = subscribe
        self._queues: set[asyncio.Queue[PrefectEvent | StreamLost]] = set()
        self._pump: asyncio.Task[None] | None = None

    async def listen(self) -> AsyncIterator[PrefectEvent]:
        """Yield events from now on.

        Raises
        ------
        StreamLost: the connection broke, or this listener fell behind.
        """
        queue: asyncio.Queue[PrefectEvent | StreamLost] = asyncio.Queue(BACKLOG)
        self._queues.add(queue)
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())
        try:
            while True:
                event = await queue.get()
                if isinstance(event, StreamLost):
                    raise event
                yield event
        finally:
            self._queues.discard(queue)
            if not self._queues and self._pump is not None:
                self._pump.cancel()
                self._pump = None

    async def _run(self) -> None:
        reason = "it was closed"
        try:
            async with self._subscribe() as events:
                async for event in events:
                    for queue in tuple(self._queues):
                        self._give(queue, event)
        except Exception as broken:
            # Anything can break in a connection; who listened is told, and makes a new one.
            reason = type(broken).__name__
        finally:
            # Else it was cancelled for want of listeners, and those that came since have another one.
            if self._pump is asyncio.current_task():
                self._pump = None
                for queue in tuple(self._queues):
                    self._end(queue, reason)

    def _give(self, queue: asyncio.Queue[PrefectEvent | StreamLost], event: PrefectEvent) -> None:
        try:
            queue.put_nowait(event)
        except asyncio.QueueFull:
            self._end(queue, "events came faster than they were taken")

    def _end(self, queue: asyncio.Queue[PrefectEvent | StreamLost], reason: str) -> None:
        self._queues.discard(queue)
        while queue.full():
            queue.get_nowait()
        queue.put_nowait(StreamLost(f"Prefect's event stream is away: {reason}"))
