"""The dispatcher: match -> hold -> claim -> start -> settle.

Committed events come straight from memory; the inbox's tables are the recovery path. Every step commits by
itself and may be repeated: an event is routed once, and a dispatch's run is created under its own key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from hookline.aside import Aside
from hookline.backoff import Backoff, until_it_works
from hookline.changes import Changes
from hookline.errors import EvaluationError, InboxError, PrefectRefused, PrefectUnavailable, RenderError
from hookline.evaluator import evaluators
from hookline.event import Event, now
from hookline.inbox import Dispatch, DispatchStatus, Inbox, News
from hookline.lane import Lane, held_by
from hookline.metrics import Metrics
from hookline.offered import Offered, data_bytes
from hookline.planning import plan_costly, unplannable
from hookline.prefect_api import PrefectApi, RunInfo
from hookline.replaying import Replays
from hookline.room import Rooms
from hookline.starting import Starter
from hookline.trigger_sets import TriggerSets
from hookline.triggers.template_cost import is_plain

log = logging.getLogger(__name__)

#: Nobody else may start a dispatch for so long after its holder last said that it lives.
LEASE = timedelta(seconds=15)
#: Events matched in one go.
ROUTE_LIMIT = 500
ROUTE_LIMIT_BYTES = 16 * 1024 * 1024
#: Runs that are created at the same time, over all lanes. On SQLite, Prefect's server answers 503 to all
#: but one of those that come at once (measured: 1 of 2, 4 of 5, 9 of 10), and one takes 20 ms.
CREATIONS = 1
#: Lanes that are made ready before their first event comes; each is three questions to Prefect.
WARMED_UP = 20
#: How often the inbox is looked through for what nobody holds.
RECOVERY_SECONDS = 5.0
#: Answers that say that Prefect cannot do anything just now; after others it fails on this request alone.
OVERLOADED = (401, 403, 404, 408, 425, 429, 502, 503, 504)


class Dispatcher:
    """Turns accepted events into flow runs.

    Parameters
    ----------
    inbox: the store of events and dispatches.
    prefect: the Prefect server.
    gateway_url: where runs fetch the data of claim checks and where traces are.
    default_limit: outstanding runs of a deployment whose pool has no limit.
    changes: told of every event that changes.
    on_started: told of every run that was started, with its event.
    clock: gives the time; tests give their own.
    """

    def __init__(
        self,
        inbox: Inbox,
        prefect: PrefectApi,
        *,
        gateway_url: str,
        default_limit: int,
        changes: Changes,
        on_started: Callable[[Dispatch, Event, RunInfo], None],
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._inbox = inbox
        self._changes = changes
        self._on_started = on_started
        self._clock = clock
        self.trigger_sets = TriggerSets(inbox)
        self._rooms = Rooms(prefect, default_limit, inbox.unfinished)
        self._starter = Starter(
            inbox,
            prefect,
            self._rooms,
            trigger=self.trigger_sets.trigger,
            gateway_url=gateway_url,
            clock=clock,
            creations=asyncio.Semaphore(CREATIONS),
        )
        self._offered = Offered()
        self._aside = Aside(lambda event: self.route([event], wait=True), self._look_for_unrouted)
        self._something_offered = asyncio.Event()
        self._held_changed = asyncio.Event()
        self._lanes: dict[str, Lane] = {}
        self._retries = Backoff(ceiling=timedelta(seconds=30))
        self._tasks: asyncio.TaskGroup | None = None
        self.metrics = Metrics()
        self.replays = Replays(
            inbox, self.trigger_sets, prefect, pass_on=self.pass_on, announce=changes.announce, clock=clock
        )

    def offer(self, event: Event, size_bytes: int | None = None) -> None:
        """Take an event that was just committed; never waits. What memory cannot hold is in the inbox.

        Parameters
        ----------
        size_bytes: of its body; it is measured where it is not given.
        """
        self._offered.put(event, size_bytes)
        self._something_offered.set()

    def unexpected(self, event_type: str) -> int | None:
        """Return the version of the trigger set in which no trigger expects a type, or None where one does.

        Such an event can be recorded as ignored at once, if that version is still in force then.
        """
        triggers = self.trigger_sets.known
        return None if triggers is None or triggers.expects(event_type) else triggers.version

    @property
    def waiting_to_be_matched(self) -> int:
        """Return how many events wait in memory to be matched."""
        return len(self._offered) + len(self._aside)

    def run_finished(self, news: News) -> None:
        """Take the news of runs: places become free, and what waited for the end of one may go on."""
        self.metrics.observe(news.steps)
        self._rooms.give_back(news.finished)
        self.look(news.lanes)
        if news.finished:
            for lane in self._lanes.values():
                lane.wake()

    def look(self, lanes: Iterable[str] | None = None) -> None:
        """Look into the inbox again: something may have become pending, in some lanes or in any."""
        if lanes is None:
            self._held_changed.set()
        for name in list(self._lanes) if lanes is None else lanes:
            self._lane(name).look()

    async def run(self) -> None:
        """Recover what was left, then dispatch for ever."""
        await until_it_works(self.recover, "recovery of leases")
        async with asyncio.TaskGroup() as self._tasks:
            await until_it_works(self.trigger_sets.await_first_deploy, "waiting for the first deploy")
            for work in (
                self._warm_up(),
                self._route_for_ever(),
                self._aside.run(),
                self._release_held_for_ever(),
                self._recover_for_ever(),
                self._renew_leases_for_ever(),
                self.replays.run(),
                *(lane.run() for lane in self._lanes.values()),
            ):
                self._tasks.create_task(work)

    async def recover(self) -> None:
        """Free what a killed gateway held, where nobody else can be at work."""
        if not self._inbox.is_shared:
            await self._inbox.release_leases(everybody=True)

    async def work_off(self) -> None:
        """Do all that can be done at this moment, then return: for tests, with a clock of their own."""
        if await self.trigger_sets.is_deployed():
            await self._route_unrouted(before=None)
            await self._route_offered()
            await self._aside.work_off()
        await self.promote_due()
        await self._look_where_work_waits()
        for lane in list(self._lanes.values()):
            await lane.advance()

    # Match ----------------------------------------------------------------------------------------

    async def _route_for_ever(self) -> None:
        # What was accepted later may just be on its way in another gateway.
        await self._route_unrouted(before=self._clock() - LEASE if self._inbox.is_shared else None)
        while True:
            await self._something_offered.wait()
            self._something_offered.clear()
            await self._route_offered()

    async def _route_offered(self) -> None:
        while self._offered or self._offered.overflowed:
            while batch := self._offered.take(ROUTE_LIMIT, ROUTE_LIMIT_BYTES):
                await self.route(batch)
            if self._offered.overflowed:
                self._offered.overflowed = False
                await self._route_unrouted(before=None)

    def _look_for_unrouted(self) -> None:
        self._offered.overflowed = True
        self._something_offered.set()

    async def _route_unrouted(self, *, before: datetime | None) -> None:
        """Route what the inbox holds unrouted: left by a crash, or by a burst that memory did not hold."""
        read = partial(self._inbox.unrouted, limit=ROUTE_LIMIT, limit_bytes=ROUTE_LIMIT_BYTES, before=before)
        after = ""
        while True:
            events, unreadable = await until_it_works(partial(read, after=after), "unrouted events")
            for event_id in unreadable:
                await self._bury_unroutable(event_id, "its body cannot be read any more")
            await self.route(events)
            if not events and not unreadable:
                return
            # Those that are set aside stay unrouted for a while, and must not be read for ever.
            after = max([*unreadable, *(event.id for event in events)])

    async def route(
        self, events: Sequence[Event], *, replay: bool = False, only: str | None = None, wait: bool = False
    ) -> None:
        """Match events against the trigger set in force, write their dispatches, and pass them on.

        Parameters
        ----------
        events: in order of arrival; those that were routed before are left as they are.
        replay: they were routed before, and get further dispatches.
        only: id of the one trigger to which a replay is narrowed.
        wait: for what is costly to match, instead of setting it aside.
        """
        if not events:
            return
        try:
            await until_it_works(partial(self._route, events, replay, only, wait), "routing")
        except Exception as fault:
            # A fault of ours: it must stop no other event, nor be lost in a log.
            if replay:
                raise
            if len(events) > 1:
                for event in events:
                    await self.route([event], wait=wait)
            else:
                log.exception("routing of event %s", events[0].id)
                await self._bury_unroutable(events[0].id, f"internal error: {type(fault).__name__}")

    async def _route(self, events: Sequence[Event], replay: bool, only: str | None, wait: bool) -> None:
        while True:
            triggers = await self.trigger_sets.in_force()
            if wait or replay:
                routings = [await plan_costly(event, triggers, replay, only) for event in events]
            else:
                events, routings = await self._aside.sort(events, triggers)
            if not events:
                return
            at = self._clock()
            full = {name for name, lane in self._lanes.items() if lane.is_full}
            routed = await self._inbox.route(routings, at=at, lease=LEASE, unleased=full)
            if routed is not None:
                break
            self.trigger_sets.forget()  # a newer set came into force: match again
        for event, routing in zip(events, routings, strict=True):
            if routing.dispatches:
                self._starter.keep(event, data_bytes(event))
        if any(dispatch.status is DispatchStatus.HELD for dispatch in routed.dispatches):
            self._held_changed.set()
        self.look({dispatch.lane for dispatch in routed.ready} & full)
        await self.pass_on([dispatch for dispatch in routed.ready if dispatch.lane not in full])
        if not replay:
            # An event that recovery found may have been offered too.
            self.metrics.routed((event for event in events if event.id in routed.events), at)
        self._changes.announce(event.id for event in events)

    async def _bury_unroutable(self, event_id: str, why: str) -> None:
        async def bury() -> None:
            version, _ = await self._inbox.trigger_set()
            await self._inbox.route([unplannable(event_id, version, why)], at=self._clock(), lease=LEASE)

        await until_it_works(bury, "routing")
        self._changes.announce([event_id])

    # Hold -----------------------------------------------------------------------------------------

    async def pass_on(self, ready: Sequence[Dispatch]) -> None:
        """Give leased dispatches to their lanes; those that a lane cannot keep wait in the inbox."""
        refused = [dispatch for dispatch in ready if not self._lane(dispatch.lane).offer(dispatch)]
        if refused:
            await self._inbox.release_leases([dispatch.id for dispatch in refused])
            self.look({dispatch.lane for dispatch in refused})

    async def _release_held_for_ever(self) -> None:
        """Let held dispatches go on when their time comes."""
        while True:
            self._held_changed.clear()
            due = await until_it_works(self._inbox.next_due, "looking for held dispatches")
            wait = RECOVERY_SECONDS if due is None else (due - self._clock()).total_seconds()
            if wait <= 0:
                await until_it_works(self.promote_due, "releasing held dispatches")
                continue
            try:
                # Not longer: the clock may be set, and another gateway may have died with what it held.
                async with asyncio.timeout(min(wait, RECOVERY_SECONDS)):
                    await self._held_changed.wait()
            except TimeoutError:
                continue

    async def promote_due(self) -> None:
        """Make held dispatches pending whose time has come, and start them."""
        more = True
        while more:
            lanes, more = await self._inbox.promote_due(at=self._clock())
            self.look(lanes)

    # Claim, start, settle -------------------------------------------------------------------------

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(
                name,
                room=self._room,
                claim=self._claim,
                start=self._start,
                retry=self._retry,
            )
            if self._tasks is not None:
                self._tasks.create_task(lane.run())
        return lane

    async def _room(self, lane: str) -> int:
        try:
            return await self._rooms.left(lane)
        except PrefectRefused:
            # The deployment cannot be had: its dispatch finds out why, and dies of it.
            return 1

    async def _claim(self, lane: str, limit: int) -> list[Dispatch]:
        return await self._inbox.claim(lane, limit=limit, at=self._clock(), lease=LEASE)

    async def _start(self, dispatch: Dispatch) -> None:
        """Start one dispatch's run and settle it: started, or dead with its reason.

        Raises
        ------
        PrefectUnavailable, InboxError: to be tried again.
        """
        if not await self._is_still_ours(dispatch):
            return
        try:
            event, run = await self._starter.start(dispatch)
        except (PrefectRefused, RenderError) as wrong:
            found = await self._starter.find(dispatch)
            if found is None:
                await self._bury(dispatch, wrong)
            else:
                # An earlier attempt had created it, and what has changed since cannot undo that.
                await self._settle(dispatch, found)
            return
        except (PrefectUnavailable, InboxError):
            raise
        except Exception as unexpected:
            # A fault of ours must not stop the lane, nor be lost in a log: it becomes a dead letter.
            log.exception("dispatch %s", dispatch.id)
            await self._bury(dispatch, EvaluationError(f"internal error: {type(unexpected).__name__}"))
            return
        await self._settle(dispatch, run, event)

    async def _is_still_ours(self, dispatch: Dispatch) -> bool:
        """Return whether no other gateway took a dispatch while this one seemed dead."""
        if not self._inbox.is_shared:
            return True
        return bool(await self._inbox.renew_leases([dispatch.id], at=self._clock(), lease=LEASE))

    async def _settle(self, dispatch: Dispatch, run: RunInfo, event: Event | None = None) -> None:
        settled = await self._inbox.settle_started(
            dispatch,
            flow_run_id=run.id,
            flow_run_name=run.name,
            deployment_id=run.deployment_id or "",
            state=run.state,
            created=run.created,
            at=run.state_at,
        )
        event = event or await self._inbox.full_event(dispatch.event_id)
        if settled and event is not None:
            self.metrics.run_created(dispatch, event, run)
            self._on_started(dispatch, event, run)
        self._changes.announce([dispatch.event_id])

    async def _bury(self, dispatch: Dispatch, wrong: PrefectRefused | EvaluationError) -> None:
        response = wrong.response if isinstance(wrong, PrefectRefused) else ""
        lanes = await self._inbox.settle_dead(
            dispatch, reason=str(wrong), response=response, at=self._clock()
        )
        log.warning("dispatch %s is dead: %s", dispatch.id, wrong)
        self._changes.announce([dispatch.event_id])
        self.look(lanes)

    async def _retry(self, dispatch: Dispatch, away: PrefectUnavailable) -> timedelta | None:
        overloaded = away.status is None or away.status in OVERLOADED or 300 <= away.status < 400
        wait = self._retries.delay(dispatch.attempts + 1, at_least=away.retry_after)
        # Where Prefect fails on this one alone, it waits in the inbox and lets others pass.
        await self._inbox.settle_retry(
            dispatch, reason=str(away), due=self._clock() + wait, keep_lease=overloaded
        )
        self._changes.announce([dispatch.event_id])
        return None if overloaded else wait

    # Recover --------------------------------------------------------------------------------------

    async def _warm_up(self) -> None:
        """Get to know the lanes of the triggers in force, so that their first event need not wait."""
        triggers = await until_it_works(self.trigger_sets.in_force, "reading the trigger set")
        lanes = dict.fromkeys(f"{trigger.flow}/{trigger.deployment}" for trigger in triggers)
        for name in list(lanes)[:WARMED_UP]:
            self._lane(name)
            self._rooms.ask_beside(name)
        if not all(map(is_plain, triggers)):
            await evaluators("templates").warm_up()

    async def _recover_for_ever(self) -> None:
        """Find, now and then, what nobody holds: another gateway's leavings, or our own after an error."""
        while True:
            await until_it_works(self._look_where_work_waits, "recovery")
            await asyncio.sleep(RECOVERY_SECONDS)
            if not self._aside.overflowed:  # else it would be read again and again
                await self._route_unrouted(before=self._clock() - LEASE)

    async def _look_where_work_waits(self) -> None:
        self.look(await self._inbox.waiting_lanes(at=self._clock()))

    async def _renew_leases_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            await until_it_works(self._renew_leases, "renewing leases")

    async def _renew_leases(self) -> None:
        held = held_by(self._lanes.values())
        if not held:
            return
        kept = await self._inbox.renew_leases(held, at=self._clock(), lease=LEASE)
        self._drop(set(held) - kept)

    def _drop(self, lost: Collection[str]) -> None:
        """Leave to others what they took because we seemed to be dead."""
        if lost:
            for lane in self._lanes.values():
                lane.drop(lost)
