"""A lane: one deployment's dispatches on their way to Prefect, no faster than its pool can start them.

Hundreds of waiting runs make a Prefect server fight itself over its database, so what the pool cannot
start yet waits in the inbox, in order of arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from hookline.backoff import Backoff
from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.inbox import Dispatch
from hookline.prefect_api import DeploymentInfo, PrefectApi

log = logging.getLogger(__name__)

#: Dispatches kept in memory for a lane; the rest waits in the inbox.
READY_LIMIT = 100
#: With room left, what Prefect said about a pool is believed for so long; without, it is asked again soon.
ROOM_BELIEVED = timedelta(seconds=5)
FULL_BELIEVED = timedelta(milliseconds=250)
#: A full pool whose runs end unseen (somebody else's) is looked at again after so long.
FULL_LOOK_AGAIN = timedelta(seconds=1)


class Room:
    """How many more runs of a deployment its pool can start now.

    Free pool concurrency where the pool has a limit, else `default_limit` for the deployment; runs that
    others made count too.
    """

    def __init__(self, prefect: PrefectApi, lane: str, default_limit: int) -> None:
        self._prefect = prefect
        self._lane = lane
        self._default_limit = default_limit
        self._deployment: DeploymentInfo | None = None
        self._left = 0
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def deployment(self) -> DeploymentInfo:
        """Return the lane's deployment."""
        if self._deployment is None:
            self._deployment = await self._prefect.deployment(self._lane)
        return self._deployment

    def forget_deployment(self) -> None:
        """Look the deployment up again: it may have been deleted and made anew."""
        self._deployment = None

    async def left(self) -> int:
        """Return how many runs may be created now."""
        age = timedelta(seconds=min(asyncio.get_running_loop().time() - self._asked_at, 86_400))
        if self._left <= 0 and age > FULL_BELIEVED:
            await self._ask()
        elif self._left > 0 and age > ROOM_BELIEVED and self._asking is None:
            # Do not make the first event after a quiet time wait for the answer.
            self._asking = asyncio.create_task(self._ask_quietly())
        return self._left

    def take(self) -> None:
        """Count a run that is being created."""
        self._left -= 1

    def give_back(self) -> None:
        """Count a run that has finished."""
        self._left += 1

    async def _ask_quietly(self) -> None:
        try:
            await self._ask()
        except (PrefectUnavailable, PrefectRefused):
            self._left = 0  # the next look asks again, and meets the error where it is handled
        finally:
            self._asking = None

    async def _ask(self) -> None:
        deployment = await self.deployment()
        pool_limit = await self._prefect.pool_limit(deployment.work_pool) if deployment.work_pool else None
        if pool_limit is None:
            busy = await self._prefect.outstanding(deployment_id=deployment.id)
            self._left = self._default_limit - busy
        else:
            busy = await self._prefect.outstanding(work_pool=deployment.work_pool)
            self._left = pool_limit - busy
        self._asked_at = asyncio.get_running_loop().time()


class Lane:
    """Starts one deployment's dispatches, in order of arrival.

    Parameters
    ----------
    name: `flow/deployment`.
    room: how many more runs its pool can start.
    claim: leases up to so many of the lane's oldest pending dispatches from the inbox.
    start: starts one dispatch; raises `PrefectUnavailable` where it must be tried again.
    retry: writes that an attempt failed for now; gets the dispatch, the reason and the wait.
    side_by_side: at most this many creations at once.
    """

    def __init__(
        self,
        name: str,
        room: Room,
        *,
        claim: Callable[[str, int], Awaitable[list[Dispatch]]],
        start: Callable[[Dispatch, Room], Awaitable[None]],
        retry: Callable[[Dispatch, str, timedelta], Awaitable[None]],
        side_by_side: asyncio.Semaphore,
    ) -> None:
        self.name = name
        self.room = room
        self._claim = claim
        self._start = start
        self._retry = retry
        self._side_by_side = side_by_side
        self._ready: deque[Dispatch] = deque()
        # True while the inbox holds pending dispatches that are not in `_ready`: those go first.
        self._more_in_inbox = True
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._failures = 0

    def offer(self, dispatch: Dispatch) -> bool:
        """Take a dispatch that is leased to this process; False where it has to wait in the inbox.

        After a False, give the lease back and call `look`.
        """
        if self._more_in_inbox or len(self._ready) >= READY_LIMIT:
            return False
        self._ready.append(dispatch)
        self._wake.set()
        return True

    def look(self) -> None:
        """Look into the inbox again: it may hold something for this lane."""
        self._more_in_inbox = True
        self._wake.set()

    def run_finished(self) -> None:
        """Count a finished run of the lane's deployment."""
        self.room.give_back()
        self._wake.set()

    @property
    def ready(self) -> int:
        """Return how many dispatches wait in memory."""
        return len(self._ready)

    async def run(self) -> None:
        """Start dispatches as room allows, for ever."""
        while True:
            self._wake.clear()
            try:
                wait = await self._advance()
                self._failures = 0
            except PrefectUnavailable as away:
                wait = self._backed_off(str(away), away.retry_after)
            except InboxError as failed:
                self._more_in_inbox = True
                wait = self._backed_off(str(failed), None)
            await self._sleep(wait)

    async def _advance(self) -> timedelta | None:
        """Start what can be started; return how long to wait before looking again, None for a wake-up."""
        while self._ready or self._more_in_inbox:
            if not self._ready:
                await self._refill()
                continue
            room = await self._room_left()
            if room <= 0:
                return FULL_LOOK_AGAIN
            await self._start_all([self._ready.popleft() for _ in range(min(room, len(self._ready)))])
        return None

    async def _room_left(self) -> int:
        """Return the room; one where the deployment cannot be had, so that its dispatch finds out why."""
        try:
            return await self.room.left()
        except PrefectRefused:
            return 1

    async def _refill(self) -> None:
        self._more_in_inbox = False
        try:
            claimed = await self._claim(self.name, READY_LIMIT)
        except BaseException:
            self._more_in_inbox = True
            raise
        # Before what was offered meanwhile: what waited in the inbox is older.
        self._ready.extendleft(reversed(claimed))
        self._more_in_inbox = self._more_in_inbox or len(claimed) == READY_LIMIT

    async def _start_all(self, batch: list[Dispatch]) -> None:
        outcomes = await asyncio.gather(*(self._start_one(dispatch) for dispatch in batch))
        failed = [(d, error) for d, error in zip(batch, outcomes, strict=True) if error is not None]
        for dispatch, error in reversed(failed):
            again = replace(dispatch, attempts=dispatch.attempts + 1)
            if isinstance(error, PrefectUnavailable) and error.status is not None:
                # Prefect is there but fails on this one: do not let it hold up the ones behind it.
                self._ready.append(again)
            else:
                self._ready.appendleft(again)
        if len(failed) < len(batch):
            self._failures = 0
        for _, error in failed:
            raise error

    async def _start_one(self, dispatch: Dispatch) -> PrefectUnavailable | InboxError | None:
        """Start a dispatch; return the error where it is to be tried again."""
        async with self._side_by_side:
            self.room.take()
            try:
                await self._start(dispatch, self.room)
            except PrefectUnavailable as away:
                self.room.give_back()
                try:
                    await self._retry(dispatch, str(away), self._backoff.ceiling)
                except InboxError as failed:
                    return failed
                return away
            except InboxError as failed:
                return failed
        return None

    def _backed_off(self, reason: str, retry_after: float | None) -> timedelta:
        self._failures += 1
        if self._failures == 1:
            log.warning("lane %s: %s; trying again", self.name, reason)
        return self._backoff.delay(self._failures, at_least=retry_after)

    async def _sleep(self, wait: timedelta | None) -> None:
        if wait is None:
            await self._wake.wait()
        elif self._failures:
            # Something is away: new events must not make it be asked more often.
            await asyncio.sleep(wait.total_seconds())
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait.total_seconds()):
                    await self._wake.wait()
