"""Replay: accepted events go through the trigger set of now once more, as new dispatches.

One event at once; many as a replay of its own, whose steps make dispatches and move it on in one transaction,
so that after a crash it goes on where it was and no event is replayed twice or left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from hookline.errors import InboxError
from hookline.event import Event
from hookline.foresight import Foresight
from hookline.inbox import Dispatch, DispatchStatus, Inbox, Search, replaying
from hookline.inbox.replaying import Page, Replay, ReplayKind, ReplayStatus, ReplayStep
from hookline.planning import plan_costly
from hookline.prefect_api import PrefectApi
from hookline.trigger_sets import TriggerSets

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
#: Events of one step; fewer where the rate asks for it.
STEP_EVENTS = 100
#: A dry run looks at so many events; it says when there are more.
PREVIEWED = 10_000
#: It also ends after so long: conditions that are costly may take a second for each event.
PREVIEW_SECONDS = 20.0
#: Outcomes that a dry run shows one by one.
SHOWN = 100
#: How often it is looked for replays that another gateway has left, or was asked for.
LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would become of an event that is replayed through one trigger in force.

    Parameters
    ----------
    dies: its dispatch would be dead at once.
    reason: why it would not start: it is filtered out, or would be dead.
    """

    event_id: str
    type: str
    trigger_id: str
    starts: bool
    dies: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a replay would do now.

    Parameters
    ----------
    events: how many were looked at.
    complete: they are all there are.
    starts: dispatches that would be made and start a run, by trigger.
    dies: dispatches that would be made and be dead at once, by trigger.
    without_match: events that no trigger would start.
    without_body: events whose data retention has forgotten; they cannot be replayed.
    outcomes: the first outcomes, one by one.
    """

    events: int = 0
    complete: bool = True
    starts: Counter[str] = field(default_factory=Counter)
    dies: Counter[str] = field(default_factory=Counter)
    without_match: int = 0
    without_body: int = 0
    outcomes: tuple[Outcome, ...] = ()


class Replays:
    """Replays events.

    Parameters
    ----------
    inbox: where events, dispatches and replays are.
    trigger_sets: know the set in force.
    prefect: is asked, by a dry run, what the flows take.
    pass_on: takes dispatches that may start now.
    announce: told of events that changed.
    clock: gives the time.
    """

    def __init__(
        self,
        inbox: Inbox,
        trigger_sets: TriggerSets,
        prefect: PrefectApi,
        *,
        pass_on: Callable[[Sequence[Dispatch]], Awaitable[None]],
        announce: Callable[[Sequence[str]], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._inbox = inbox
        self._trigger_sets = trigger_sets
        self._prefect = prefect
        self._pass_on = pass_on
        self._announce = announce
        self._clock = clock
        self._wanted = asyncio.Event()
        self._at_work: set[str] = set()

    # One event ------------------------------------------------------------------------------------

    async def replay(self, event: Event, trigger_id: str | None = None) -> list[Dispatch]:
        """Replay one event; return the dispatches that were made.

        Parameters
        ----------
        event: with its data.
        trigger_id: the one trigger to which it is narrowed.

        Raises
        ------
        InboxError: nothing was written.
        """
        while True:
            routing = await plan_costly(event, await self._trigger_sets.in_force(), True, trigger_id)
            made = await self._inbox.replay(routing, at=self._clock(), lease=LEASE)
            if made is not None:
                break
            self._trigger_sets.forget()
        await self._hand_over(made)
        return made

    async def preview_one(self, event: Event, trigger_id: str | None = None) -> Preview:
        """Return what the replay of one event would do."""
        return await self._judge([(event, trigger_id)], Preview(), Foresight(self._prefect))

    # Many events ----------------------------------------------------------------------------------

    async def begin(
        self, kind: ReplayKind, search: Search, trigger_id: str | None, per_second: float | None
    ) -> Replay:
        """Begin a replay of many events, of what there is now.

        Parameters
        ----------
        kind: events, or dead letters.
        search: which; its cursor and limit do not count.
        trigger_id: the one trigger to which it is narrowed.
        per_second: at most this many events a second; None is as fast as it goes.
        """
        begun = await self._inbox.write(
            partial(
                replaying.begin,
                kind=kind,
                search=replace(search, cursor=None, limit=STEP_EVENTS, oldest_first=True),
                trigger_id=trigger_id,
                per_second=per_second,
                at=self._clock(),
            )
        )
        self._wanted.set()
        return begun

    async def preview(self, kind: ReplayKind, search: Search, trigger_id: str | None) -> Preview:
        """Return what a replay of many events would do."""
        seen, cursor, foresight = Preview(), "", Foresight(self._prefect)
        search = replace(search, oldest_first=True, cursor=None, limit=STEP_EVENTS)
        until = monotonic() + PREVIEW_SECONDS
        while True:
            page = await self._page(kind, search, trigger_id, cursor, STEP_EVENTS)
            if page.cursor is None:
                return seen
            if seen.events >= PREVIEWED or monotonic() > until:
                return replace(seen, complete=False)
            seen = await self._judge(page.events, seen, foresight)
            missing = page.without_body
            seen = replace(seen, events=seen.events + missing, without_body=seen.without_body + missing)
            cursor = page.cursor

    async def cancel(self, replay_id: str) -> bool:
        """Stop a replay; what it has made stays. False where it was not running."""
        ended = partial(replaying.end, status=ReplayStatus.CANCELLED, at=self._clock())
        return await self._inbox.write(lambda c: ended(c, replay_id))

    async def run(self) -> None:
        """Work on the replays that were asked for, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wanted.clear()
                try:
                    for each in await self._inbox.read(replaying.running):
                        if each.id not in self._at_work:
                            self._at_work.add(each.id)
                            tasks.create_task(self._work_on(each.id))
                except InboxError as failed:
                    log.error("looking for replays: %s", failed)
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wanted.wait()
                except TimeoutError:
                    continue

    async def _work_on(self, replay_id: str) -> None:
        try:
            while True:
                wait = await self._step_when_possible(replay_id)
                if wait is None:
                    return
                await asyncio.sleep(wait.total_seconds())
        finally:
            self._at_work.discard(replay_id)

    async def _step_when_possible(self, replay_id: str) -> timedelta | None:
        try:
            return await self.step(replay_id)
        except InboxError as failed:
            log.error("replay %s: %s", replay_id, failed)
            return timedelta(seconds=1)

    async def step(self, replay_id: str) -> timedelta | None:
        """Do the next events of a replay; return how long to wait, by its rate, or None at its end.

        Raises
        ------
        InboxError: nothing was written.
        """
        take = partial(replaying.take, owner=self._inbox.owner, at=self._clock(), lease=LEASE)
        current = await self._inbox.write(lambda c: take(c, replay_id))
        if current is None:
            return None
        limit = STEP_EVENTS
        if current.per_second is not None:
            limit = max(1, min(limit, int(current.per_second)))
            # Held over the wait too, or another gateway would do the next step in the middle of it.
            lease = LEASE + timedelta(seconds=limit / current.per_second)
            take = partial(replaying.take, owner=self._inbox.owner, at=self._clock(), lease=lease)
            await self._inbox.write(lambda c: take(c, replay_id))
        page = await self._page(current.kind, current.search, current.trigger_id, current.cursor, limit)
        if page.cursor is None:
            ended = partial(replaying.end, status=ReplayStatus.DONE, at=self._clock())
            await self._inbox.write(lambda c: ended(c, replay_id))
            return None
        await self._make(current, page)
        done = len(page.events) + page.without_body
        return timedelta(seconds=done / current.per_second if current.per_second else 0)

    async def _make(self, current: Replay, page: Page) -> None:
        triggers = await self._trigger_sets.in_force()
        routings = tuple([await plan_costly(event, triggers, True, only) for event, only in page.events])
        done = ReplayStep(page.cursor or "", routings, page.without_body)
        make = partial(
            replaying.step, current=current, done=done, at=self._clock(), owner=self._inbox.owner, lease=LEASE
        )
        made = await self._inbox.write(lambda c: make(c))
        if made is None:
            self._trigger_sets.forget()  # the next step matches the same events again
        else:
            await self._hand_over(made)

    async def _hand_over(self, made: Sequence[Dispatch]) -> None:
        await self._pass_on([each for each in made if each.status is DispatchStatus.PENDING])
        self._announce([each.event_id for each in made])

    # ----------------------------------------------------------------------------------------------

    async def _page(
        self, kind: ReplayKind, search: Search, trigger_id: str | None, cursor: str, limit: int
    ) -> Page:
        read = partial(
            replaying.page, kind=kind, search=search, trigger_id=trigger_id, cursor=cursor, limit=limit
        )
        return await self._inbox.read(lambda c: read(c))

    async def _judge(
        self, events: Sequence[tuple[Event, str | None]], seen: Preview, foresight: Foresight
    ) -> Preview:
        triggers = await self._trigger_sets.in_force()
        starts, dies, outcomes = Counter(seen.starts), Counter(seen.dies), list(seen.outcomes)
        without_match = seen.without_match
        for event, only in events:
            planned = (await plan_costly(event, triggers, True, only)).dispatches
            without_match += all(new.filtered is not None for new in planned)
            for new in planned:
                death, trigger = new.dead, triggers.get(new.trigger_id)
                if new.filtered is None and death is None and trigger is not None:
                    death = await foresight.death(trigger, event)
                goes = new.filtered is None and death is None
                starts[new.trigger_id] += goes
                dies[new.trigger_id] += death is not None
                if len(outcomes) < SHOWN:
                    reason = new.filtered or death
                    outcomes.append(
                        Outcome(event.id, event.type, new.trigger_id, goes, death is not None, reason)
                    )
        return replace(
            seen,
            events=seen.events + len(events),
            starts=+starts,
            dies=+dies,
            without_match=without_match,
            outcomes=tuple(outcomes),
        )
