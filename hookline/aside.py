"""Events that are set aside, because matching them takes the evaluator: nothing else waits for them.

Each expression has a queue of its own and asks one question at a time, so that a costly one is waited for by
no event but those that need it too. Where a trigger keeps the order of its events, or waits for the last of
them, those that come after one that was set aside wait behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hookline.event import Event
from hookline.inbox import Routing
from hookline.offered import data_bytes
from hookline.planning import plan
from hookline.triggers import Costly, TriggerSet

#: What is kept in memory; more waits in the inbox.
LIMIT = 10_000
LIMIT_BYTES = 32 * 1024 * 1024
#: For so long events are matched in one go before others get their turn on the loop.
TURN_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: Event
    size_bytes: int
    ordered: frozenset[str]


class Aside:
    """The events that are set aside.

    Parameters
    ----------
    route: routes one event, however long its matching takes.
    on_room: told that there is room again for what waits in the inbox.
    """

    def __init__(self, route: Callable[[Event], Awaitable[None]], on_room: Callable[[], None]) -> None:
        self._route = route
        self._on_room = on_room
        self._queues: dict[str, deque[_Waiting]] = {}
        self._ids: set[str] = set()
        self._bytes = 0
        #: Triggers that keep an order -> the queue in which their events wait.
        self._ordered: dict[str, str] = {}
        self._tasks: asyncio.TaskGroup | None = None
        #: Some did not fit: they are in the inbox, accepted.
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._ids)

    async def sort(self, events: Sequence[Event], triggers: TriggerSet) -> tuple[list[Event], list[Routing]]:
        """Plan what is cheap to plan, and set the rest aside; return the planned events and their plans."""
        planned: list[Event] = []
        routings: list[Routing] = []
        since = time.perf_counter()
        for event in events:
            if event.id in self._ids:
                continue
            queue = self._behind(event, triggers)
            if queue is None:
                try:
                    routings.append(plan(event, triggers))
                    planned.append(event)
                except Costly as costly:
                    queue = costly.question.source
            if queue is not None:
                self._put(queue, event, triggers)
            if time.perf_counter() - since > TURN_SECONDS:
                await asyncio.sleep(0)
                since = time.perf_counter()
        return planned, routings

    async def run(self) -> None:
        """Route what is set aside, for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            for queue in self._queues:
                self._tasks.create_task(self._work_on(queue))
            await asyncio.Event().wait()

    async def work_off(self) -> None:
        """Route all that is set aside, then return: for tests."""
        while self._queues:
            await self._work_on(next(iter(self._queues)))

    def _behind(self, event: Event, triggers: TriggerSet) -> str | None:
        """Return the queue behind which an event has to wait for the sake of its order."""
        if not self._ordered:
            return None
        return next((queue for id in _ordered(event, triggers) if (queue := self._ordered.get(id))), None)

    def _put(self, queue: str, event: Event, triggers: TriggerSet) -> None:
        ordered = _ordered(event, triggers)
        self._ordered.update(dict.fromkeys(ordered, queue))
        size = data_bytes(event)
        full = self.overflowed or len(self._ids) >= LIMIT or self._bytes + size > LIMIT_BYTES
        if full and self._queues:
            self.overflowed = True
            return
        self._ids.add(event.id)
        self._bytes += size
        if queue in self._queues:
            self._queues[queue].append(_Waiting(event, size, ordered))
            return
        self._queues[queue] = deque([_Waiting(event, size, ordered)])
        if self._tasks is not None:
            self._tasks.create_task(self._work_on(queue))

    async def _work_on(self, queue: str) -> None:
        waiting = self._queues[queue]
        while waiting:
            await self._route(waiting[0].event)
            done = waiting.popleft()
            self._ids.discard(done.event.id)
            self._bytes -= done.size_bytes
        del self._queues[queue]
        if not self.overflowed:
            self._ordered = {id: behind for id, behind in self._ordered.items() if behind != queue}
        elif not self._queues:
            # All that came after the first that did not fit is in the inbox, and is read from there in order.
            self.overflowed = False
            self._ordered.clear()
            self._on_room()


def _ordered(event: Event, triggers: TriggerSet) -> frozenset[str]:
    """Return the ids of triggers to which it matters in which order the event comes."""
    expecting = triggers.expecting(event.type)
    return frozenset(
        trigger.id for trigger in expecting if trigger.concurrency is not None or trigger.debounce is not None
    )
