"""A lane: one deployment's dispatches on their way to Prefect, in order, as fast as there is room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import replace
from datetime import timedelta

from hookline.backoff import Backoff
from hookline.errors import InboxError, PrefectUnavailable
from hookline.inbox import Dispatch

log = logging.getLogger(__name__)

#: Dispatches kept in memory for a lane; the rest waits in the inbox.
READY_LIMIT = 100
#: A full pool whose runs end unseen (somebody else's) is looked at again after so long.
FULL_LOOK_AGAIN = timedelta(seconds=1)


class Lane:
    """Starts one deployment's dispatches.

    Parameters
    ----------
    name: `flow/deployment`.
    room: returns how many more runs may be created now.
    claim: leases up to so many of the lane's first pending dispatches from the inbox.
    start: starts one dispatch and settles it.
    retry: writes that an attempt failed for now. It returns None where the dispatch is to stay first in
        the lane, or after how long it is to be looked for in the inbox, to which it was given back.
    """

    def __init__(
        self,
        name: str,
        *,
        room: Callable[[str], Awaitable[int]],
        claim: Callable[[str, int], Awaitable[list[Dispatch]]],
        start: Callable[[Dispatch], Awaitable[None]],
        retry: Callable[[Dispatch, PrefectUnavailable], Awaitable[timedelta | None]],
    ) -> None:
        self.name = name
        self._room = room
        self._claim = claim
        self._start = start
        self._retry = retry
        self._ready: deque[Dispatch] = deque()
        self._starting: Dispatch | None = None
        # True while the inbox may hold pending dispatches that are not in `_ready`: those go first.
        self._more_in_inbox = True
        self._wake = asyncio.Event()
        self._backoff = Backoff()
        self._failures = 0

    @property
    def is_full(self) -> bool:
        """Return whether a new dispatch has to wait in the inbox."""
        return self._more_in_inbox or len(self._ready) >= READY_LIMIT

    def offer(self, dispatch: Dispatch) -> bool:
        """Take a dispatch that is leased to this process; False where it has to wait in the inbox.

        After a False, give the lease back and call `look`.
        """
        if self.is_full:
            return False
        self._ready.append(dispatch)
        self._wake.set()
        return True

    def look(self) -> None:
        """Look into the inbox again: it may hold something for this lane."""
        self._more_in_inbox = True
        if not self._ready:  # else it looks when those have gone
            self._wake.set()

    def wake(self) -> None:
        """Go on if there is room now."""
        self._wake.set()

    @property
    def held(self) -> list[str]:
        """Return the ids of the dispatches that are leased for this lane."""
        starting = [] if self._starting is None else [self._starting.id]
        return starting + [dispatch.id for dispatch in self._ready]

    def drop(self, dispatch_ids: Collection[str]) -> None:
        """Forget dispatches whose lease was lost: somebody else starts them."""
        self._ready = deque(each for each in self._ready if each.id not in dispatch_ids)

    async def run(self) -> None:
        """Start dispatches as room allows, for ever."""
        while True:
            self._wake.clear()
            await self._sleep(await self.advance())

    async def advance(self) -> timedelta | None:
        """Start what can be started; return how long to wait before going on, None for until woken."""
        try:
            wait = await self._start_what_fits()
        except PrefectUnavailable as away:
            return self._backed_off(str(away), away.retry_after)
        except InboxError as failed:
            self._more_in_inbox = True
            return self._backed_off(str(failed), None)
        self._failures = 0
        return wait

    async def _start_what_fits(self) -> timedelta | None:
        while self._ready or self._more_in_inbox:
            if not self._ready:
                await self._refill()
            elif await self._room(self.name) <= 0:
                return FULL_LOOK_AGAIN
            elif self._ready:
                await self._start_one(self._ready.popleft())
                self._failures = 0
        return None

    async def _refill(self) -> None:
        self._more_in_inbox = False
        try:
            claimed = await self._claim(self.name, READY_LIMIT)
        except BaseException:
            self._more_in_inbox = True
            raise
        held = set(self.held)
        # Before what was offered meanwhile: what waited in the inbox is older.
        self._ready.extendleft(dispatch for dispatch in reversed(claimed) if dispatch.id not in held)
        self._more_in_inbox = self._more_in_inbox or len(claimed) == READY_LIMIT

    async def _start_one(self, dispatch: Dispatch) -> None:
        """Start a dispatch; where that fails for now, put it back in its place and raise."""
        self._starting = dispatch
        try:
            await self._start(dispatch)
        except PrefectUnavailable as away:
            wait = await self._keep(dispatch, away)
            if wait is not None:
                asyncio.get_running_loop().call_later(wait.total_seconds(), self.look)
            raise
        except InboxError:
            self._ready.appendleft(dispatch)
            raise
        finally:
            self._starting = None

    async def _keep(self, dispatch: Dispatch, away: PrefectUnavailable) -> timedelta | None:
        again = replace(dispatch, attempts=dispatch.attempts + 1, reason=str(away))
        try:
            wait = await self._retry(dispatch, away)
        except InboxError:
            wait = None
        if wait is None:
            self._ready.appendleft(again)
        return wait

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


def held_by(lanes: Iterable[Lane]) -> list[str]:
    """Return the ids of all dispatches that are leased for some lanes."""
    return [dispatch_id for lane in lanes for dispatch_id in lane.held]
