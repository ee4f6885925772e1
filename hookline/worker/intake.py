"""Decides which flow runs the worker starts, and when: on notice, on time, and on a poll to be safe."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

logger = logging.getLogger("prefect.hookline.worker")

#: A run's event is sent before the run is committed: look again after so long, in seconds.
_LOOK_AGAIN_SECONDS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 0.6)
#: How many runs a poll asks for beyond the room that there is, so that not each takes a poll.
_AHEAD = 20
#: Runs that are due later than this are left to the polls.
_FARTHEST_ALARM_SECONDS = 3600.0
#: For how long a claim is remembered: longer than an answer that is older may be on its way.
_REMEMBERED_SECONDS = 120.0


class Yard(Protocol):
    """What the intake needs to know and do; the worker's side of it."""

    def free(self) -> int:
        """Return how many flow runs can be started now."""

    def has(self, run_id: UUID) -> bool:
        """Return whether a flow run is in hand."""

    def take(self, flow_run: FlowRun, seen: float) -> None:
        """Claim a flow run that was seen waiting at `seen` (monotonic), and carry it to its end."""

    async def read(self, run_id: UUID) -> FlowRun:
        """Read a flow run; raises `ObjectNotFound`."""

    async def ask(self, before: datetime, limit: int) -> Sequence[FlowRun]:
        """Return the runs that are to start before a time, as limits and priorities have it."""

    async def is_open(self, queue_id: UUID) -> bool:
        """Return whether runs of a queue are ours and may start without a look at limits."""

    async def is_plain(self) -> bool:
        """Return whether runs start in the order of their time, since the pool has but one queue."""


class Intake:
    """Starts what waits, in the order that Prefect gives.

    A run of which Prefect gives notice is started without a poll where the pool has no limits and there
    is room; everything else is asked for.

    Parameters
    ----------
    yard: the worker.
    horizon: how far ahead a poll looks; runs in between are started at their time.
    """

    def __init__(self, yard: Yard, horizon: timedelta) -> None:
        self._yard = yard
        self._horizon = horizon
        self._noticed: deque[tuple[UUID, UUID | None]] = deque()
        self._reading: set[UUID] = set()
        self._alarms: dict[UUID, asyncio.TimerHandle] = {}
        self._claimed: dict[UUID, float] = {}
        self._stirred = asyncio.Event()
        self._more_waits = False
        self._look_wanted = False
        self._limited = False
        self._looking = asyncio.Lock()

    def notice(self, run_id: UUID, queue_id: UUID | None) -> None:
        """Take note that a flow run waits to be started."""
        self._noticed.append((run_id, queue_id))
        self._stirred.set()

    def freed(self) -> None:
        """Take note that there is room for one more."""
        if self._limited:  # what did not start for the sake of a limit may start now
            self._look_wanted = True
        if self._look_wanted or self._more_waits or self._noticed:
            self._stirred.set()

    def want_look(self) -> None:
        """Ask for a poll as soon as there is room."""
        self._look_wanted = True
        self._stirred.set()

    async def serve(self) -> None:
        """Act on notices and on room, for ever."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            try:
                await self._serve_once()
            except Exception:
                logger.warning(
                    "Flow runs cannot be asked for; trying again with the next poll.", exc_info=True
                )

    async def look(self) -> list[FlowRun]:
        """Poll once, start what is due and there is room for, and return it."""
        async with self._looking:
            return await self._look()

    def close(self) -> None:
        """Start nothing more."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()
        self._noticed.clear()

    async def _serve_once(self) -> None:
        if self._look_wanted:
            await self.look()
        while self._noticed and self._room() > 0:
            run_id, queue_id = self._noticed.popleft()
            if self._yard.has(run_id) or run_id in self._reading:
                continue
            self._limited = queue_id is None or not await self._yard.is_open(queue_id)
            if self._limited:
                self._look_wanted = True
                continue
            self._reading.add(run_id)
            asyncio.get_running_loop().create_task(self._start_noticed(run_id))
        if self._noticed and not await self._yard.is_plain():
            # Which of those that wait goes first is for Prefect to say, once there is room.
            self._noticed.clear()
            self._more_waits = True
        if self._look_wanted or (self._more_waits and not self._noticed):
            await self.look()

    def _room(self) -> int:
        return self._yard.free() - len(self._reading)

    async def _start_noticed(self, run_id: UUID) -> None:
        try:
            for seconds in _LOOK_AGAIN_SECONDS:
                await asyncio.sleep(seconds)
                seen = time.monotonic()
                try:
                    flow_run = await self._yard.read(run_id)
                except ObjectNotFound:
                    continue
                self._consider(flow_run, seen)
                return
        except Exception:
            logger.warning("Flow run %s cannot be read; the next poll will find it.", run_id, exc_info=True)
        finally:
            self._reading.discard(run_id)
            self.freed()

    async def _look(self) -> list[FlowRun]:
        if self._yard.free() <= 0:
            self._more_waits = True
            return []
        self._look_wanted = self._more_waits = False
        seen = time.monotonic()
        limit = self._yard.free() + _AHEAD
        waiting = await self._yard.ask(datetime.now(UTC) + self._horizon, limit)
        started = [flow_run for flow_run in waiting if self._consider(flow_run, seen)]
        if self._more_waits and await self._yard.is_plain():
            begun = {flow_run.id for flow_run in started}
            now = datetime.now(UTC)
            rest = [
                (run.id, run.work_queue_id)
                for run in waiting
                if run.id not in begun and (run.next_scheduled_start_time or now) <= now
            ]
            self._noticed.extendleft(reversed(rest))
            self._more_waits = len(waiting) >= limit
        return started

    def _consider(self, flow_run: FlowRun, seen: float) -> bool:
        """Start a run that waits if it is due and there is room; set an alarm if it is not due."""
        due = flow_run.next_scheduled_start_time
        if flow_run.state_type is None or flow_run.state_type.value != "SCHEDULED" or due is None:
            return False
        if self._yard.has(flow_run.id) or self._claimed.get(flow_run.id, 0.0) > seen:
            return False
        ahead = due.timestamp() - time.time()
        if ahead > 0:
            self._set_alarm(flow_run, ahead)
            return False
        if self._yard.free() <= 0:
            self._more_waits = True
            return False
        self._note_claim(flow_run.id)
        self._yard.take(flow_run, seen)
        return True

    def _set_alarm(self, flow_run: FlowRun, ahead: float) -> None:
        if ahead > _FARTHEST_ALARM_SECONDS:
            return  # a poll will find it in time
        if (old := self._alarms.pop(flow_run.id, None)) is not None:
            old.cancel()

        def ring() -> None:
            self._alarms.pop(flow_run.id, None)
            self.notice(flow_run.id, flow_run.work_queue_id)

        self._alarms[flow_run.id] = asyncio.get_running_loop().call_later(ahead, ring)

    def _note_claim(self, run_id: UUID) -> None:
        """Remember claims for as long as an answer that is older than they are may be on its way."""
        now = time.monotonic()
        self._claimed.pop(run_id, None)
        self._claimed[run_id] = now
        while self._claimed and now - next(iter(self._claimed.values())) > _REMEMBERED_SECONDS:
            del self._claimed[next(iter(self._claimed))]
