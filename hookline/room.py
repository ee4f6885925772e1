"""Room: how many more runs a work pool can start, so that no more are created.

Hundreds of waiting runs make a Prefect server fight itself over its database. Where a pool has a concurrency
limit its free places count, for all of its deployments together; where it has none, each deployment gets a
number of its own. Runs that somebody else made take places too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.prefect_api import DeploymentInfo, PrefectApi

log = logging.getLogger(__name__)

#: With room left, what Prefect said is believed for so long, and asked again beside the work.
ROOM_BELIEVED = timedelta(seconds=5)
#: Without, it is asked again before anything is created, and not more often than this: that one of our own
#: runs has finished is heard anyway, and while a burst is worked off each question costs a run its time.
FULL_BELIEVED = timedelta(seconds=1)
#: Which pool a deployment has and that pool's limit are believed for so long.
LIMIT_BELIEVED = timedelta(seconds=5)


@dataclass(slots=True)
class _Room:
    """The places of one pool or deployment.

    Parameters
    ----------
    limit: how many there are.
    others: how many were taken by runs that are not in `ours`, when Prefect was asked.
    ours: ids of our dispatches whose runs take one.
    asked_at: when that was, by the loop's clock.
    """

    limit: int
    others: int = 0
    ours: set[str] = field(default_factory=set)
    asked_at: float = float("-inf")

    @property
    def left(self) -> int:
        return self.limit - self.others - len(self.ours)


@dataclass(slots=True)
class _Lane:
    """What is known of a lane.

    Parameters
    ----------
    deployment: its deployment.
    limit: the limit of that one's pool, None where it has none.
    limit_as_of: when that was asked for, by the loop's clock.
    room: its places, which it may share.
    """

    deployment: DeploymentInfo
    limit: int | None = None
    limit_as_of: float = float("-inf")
    room: _Room | None = None


class Rooms:
    """The rooms of all lanes.

    Parameters
    ----------
    prefect: says which pool a deployment has, its limit, and how many runs are outstanding.
    default_limit: outstanding runs of a deployment whose pool has no limit.
    unfinished: returns those of some dispatches whose runs may still be unfinished.
    """

    def __init__(
        self,
        prefect: PrefectApi,
        default_limit: int,
        unfinished: Callable[[Sequence[str]], Awaitable[set[str]]],
    ) -> None:
        self._prefect = prefect
        self._default_limit = default_limit
        self._unfinished = unfinished
        self._lanes: dict[str, _Lane] = {}
        # By a pool's name or a deployment's id.
        self._rooms: dict[str, _Room] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def deployment(self, lane: str) -> DeploymentInfo:
        """Return a lane's deployment.

        Raises
        ------
        PrefectRefused: there is none.
        PrefectUnavailable: Prefect is away.
        """
        known = self._lanes.get(lane)
        if known is None:
            known = self._lanes[lane] = _Lane(await self._prefect.deployment(lane))
        return known.deployment

    def forget_deployment(self, lane: str) -> None:
        """Look a deployment up again: it may have been deleted and made anew."""
        self._lanes.pop(lane, None)

    async def left(self, lane: str) -> int:
        """Return how many runs may be created in a lane now.

        Raises
        ------
        PrefectRefused: the lane has no deployment.
        PrefectUnavailable: Prefect is away.
        """
        room = self._room_of(lane)
        if room is None:
            return (await self._ask(lane)).left
        age = timedelta(seconds=asyncio.get_running_loop().time() - room.asked_at)
        if room.left <= 0 and age > FULL_BELIEVED:
            return (await self._ask(lane)).left
        if room.left > 0 and age > ROOM_BELIEVED:
            # Do not make the first event after a quiet time wait for the answer.
            self.ask_beside(lane)
        return room.left

    def ask_beside(self, lane: str) -> None:
        """Ask Prefect about a lane without waiting for the answer."""
        if lane not in self._asking:
            task = asyncio.create_task(self._ask_quietly(lane))
            self._asking[lane] = task
            task.add_done_callback(lambda _: self._asking.pop(lane, None))

    def take(self, lane: str, dispatch_id: str) -> None:
        """Count a run that is being created."""
        room = self._room_of(lane)
        if room is not None:
            room.ours.add(dispatch_id)

    def give_back(self, dispatch_ids: Iterable[str]) -> None:
        """Count runs that have finished, or were not created after all; saying it twice does no harm."""
        gone = set(dispatch_ids)
        for room in self._rooms.values():
            room.ours -= gone

    def _room_of(self, lane: str) -> _Room | None:
        known = self._lanes.get(lane)
        return None if known is None else known.room

    async def _ask_quietly(self, lane: str) -> None:
        try:
            await self._ask(lane)
        except (PrefectUnavailable, PrefectRefused, InboxError) as failed:
            # The next creation meets the same, and is where it is handled.
            log.debug("room of %s: %s", lane, failed)

    async def _ask(self, lane: str) -> _Room:
        known = await self._with_limit(lane)
        deployment, limit, pool = known.deployment, known.limit, known.deployment.work_pool
        key = f"pool {pool}" if limit is not None else f"deployment {deployment.id}"
        room = self._rooms.setdefault(key, _Room(self._default_limit))
        ours = set(room.ours)
        if limit is not None:
            busy = await self._prefect.outstanding(work_pool=pool)
        else:
            busy = await self._prefect.outstanding(deployment_id=deployment.id)
        # Another gateway may have been the one that saw one of ours finish.
        room.ours -= ours - await self._unfinished(sorted(ours)) if ours else set()
        room.limit = self._default_limit if limit is None else limit
        room.others = max(0, busy - len(ours))
        room.asked_at = asyncio.get_running_loop().time()
        known.room = room
        return room

    async def _with_limit(self, lane: str) -> _Lane:
        """Return what is known of a lane, with a limit that may be believed."""
        now = asyncio.get_running_loop().time()
        known = self._lanes.get(lane)
        if known is not None and now - known.limit_as_of < LIMIT_BELIEVED.total_seconds():
            return known
        deployment = await self._prefect.deployment(lane)
        pool = deployment.work_pool
        limit = None if pool is None else await self._prefect.pool_limit(pool)
        fresh = self._lanes[lane] = _Lane(deployment, limit, now, self._room_of(lane))
        return fresh
