"""The dispatcher: match -> hold -> claim -> start -> settle.

Committed events come straight from memory; the inbox's tables are the recovery path. Every step commits by
itself and may be repeated: an event is routed once, and a dispatch's run is created under its own key.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import orjson

from hookline import stamps
from hookline.changes import Changes
from hookline.claim_tokens import claim_token
from hookline.errors import EvaluationError, InboxError, PrefectRefused, PrefectUnavailable, RenderError
from hookline.event import MAX_DEPTH, Claim, Event, now
from hookline.inbox import Dispatch, Inbox, NewDispatch, Routing
from hookline.lane import Lane, Room
from hookline.prefect_api import NewRun, PrefectApi, RunInfo
from hookline.triggers import Match, Trigger, TriggerSet, delay_until, evaluate_key
from hookline.triggers.rendering import render_parameters

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Nobody else may start a dispatch for so long after its holder last said that it lives.
LEASE = timedelta(seconds=15)
#: Events that wait in memory to be matched; those beyond are found in the inbox.
OFFERED_LIMIT = 20_000
#: Events matched in one go.
ROUTE_LIMIT = 500
#: Runs that are created at the same time, over all lanes. On SQLite, Prefect's server answers 503 to all
#: but one of those that come at once (measured: 1 of 2, 4 of 5, 9 of 10), and one takes 20 ms.
CREATIONS = 1
#: Prefect takes parameters of up to 512 KB; a larger event goes as a claim check.
PARAMETER_BYTES = 500_000
#: Events that are kept in memory for their dispatches.
EVENTS_KEPT = 1_000
#: How often the inbox is looked through for what nobody holds.
RECOVERY_SECONDS = 5.0


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
        self._prefect = prefect
        self._gateway_url = gateway_url
        self._default_limit = default_limit
        self._changes = changes
        self._on_started = on_started
        self._clock = clock
        self._trigger_sets: dict[int, TriggerSet] = {}
        self._in_force: TriggerSet | None = None
        self._offered: deque[Event] = deque()
        self._overflowed = False
        self._something_offered = asyncio.Event()
        self._held_changed = asyncio.Event()
        self._events: OrderedDict[str, Event] = OrderedDict()
        self._lanes: dict[str, Lane] = {}
        self._lane_of_deployment: dict[str, Lane] = {}
        self._side_by_side = asyncio.Semaphore(CREATIONS)
        self._claim_secret = b""

    def offer(self, event: Event) -> None:
        """Take an event that was just committed; never waits. What memory cannot hold is in the inbox."""
        if len(self._offered) < OFFERED_LIMIT:
            self._offered.append(event)
        else:
            self._overflowed = True
        self._something_offered.set()

    def unexpected(self, event_type: str) -> int | None:
        """Return the version of the trigger set in which nothing expects a type of event; None where one does.

        Such an event can be recorded as ignored at once, if that version is still in force then.
        """
        triggers = self._in_force
        return None if triggers is None or triggers.expects(event_type) else triggers.version

    @property
    def waiting_to_be_matched(self) -> int:
        """Return how many events wait in memory to be matched."""
        return len(self._offered)

    def run_finished(self, deployment_id: str | None) -> None:
        """Take the news that a run of a deployment has finished, whoever made it."""
        lane = self._lane_of_deployment.get(deployment_id or "")
        if lane is not None:
            lane.run_finished()
        # The next one of a concurrency key may have become pending.
        for other in self._lanes.values():
            other.look()

    def look(self) -> None:
        """Look into the inbox again: a replay or a release may have made something pending."""
        self._held_changed.set()
        for lane in self._lanes.values():
            lane.look()

    async def run(self) -> None:
        """Recover what was left, then dispatch for ever."""
        self._claim_secret = await self._inbox.shared_secret("claims")
        if not self._inbox.is_shared:
            # Nobody else can be at work: what a killed gateway held is free at once.
            await self._inbox.release_leases(everybody=True)
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._route_for_ever())
            self._tasks.create_task(self._release_held_for_ever())
            self._tasks.create_task(self._recover_for_ever())
            self._tasks.create_task(self._renew_leases_for_ever())

    # Match ----------------------------------------------------------------------------------------

    async def _route_for_ever(self) -> None:
        await self._route_unrouted(before=None if not self._inbox.is_shared else self._clock() - LEASE)
        while True:
            await self._something_offered.wait()
            self._something_offered.clear()
            while self._offered:
                batch = [self._offered.popleft() for _ in range(min(ROUTE_LIMIT, len(self._offered)))]
                await self._until_it_works(partial(self.route, batch), "routing")
            if self._overflowed:
                self._overflowed = False
                await self._route_unrouted(before=None)

    async def _route_unrouted(self, *, before: datetime | None) -> None:
        """Route what the inbox holds unrouted: left by a crash, or by a burst that memory did not hold."""

        async def once() -> bool:
            events = await self._inbox.unrouted(limit=ROUTE_LIMIT, before=before)
            if events:
                await self.route(events)
            return bool(events)

        while await self._until_it_works(once, "recovery of unrouted events"):
            pass

    async def route(self, events: Sequence[Event], *, replay: bool = False, only: str | None = None) -> None:
        """Match events against the trigger set in force, write their dispatches, and pass them on.

        Parameters
        ----------
        events: in order of arrival.
        replay: they were routed before; they get further dispatches.
        only: id of the one trigger to which a replay is narrowed.
        """
        while True:
            triggers = await self._triggers_in_force()
            at = self._clock()
            routings = [self._plan(event, triggers, at, replay=replay, only=only) for event in events]
            ready = await self._inbox.route(routings, at=at, lease=LEASE)
            if ready is not None:
                break  # else a newer set came into force meanwhile: match again
        matched = [routing.event_id for routing in routings if routing.dispatches]
        if matched:
            for event in events:
                self._keep(event)
            self._held_changed.set()
            await self._pass_on(ready)
        self._changes.announce(event.id for event in events)

    def _plan(
        self, event: Event, triggers: TriggerSet, at: datetime, *, replay: bool, only: str | None
    ) -> Routing:
        matches = [m for m in triggers.match(event) if only is None or m.trigger.id == only]
        plans = tuple(plan(match, event, at) for match in matches)
        return Routing(event.id, triggers.version, plans, replay)

    async def _triggers_in_force(self) -> TriggerSet:
        version, documents = await self._inbox.trigger_set()
        known = self._trigger_sets.get(version)
        if known is None:
            known = TriggerSet(version, [Trigger.from_dict(document) for document in documents])
            self._trigger_sets[version] = known
        self._in_force = known
        return known

    async def _trigger(self, dispatch: Dispatch) -> Trigger | None:
        if dispatch.trigger_set not in self._trigger_sets:
            version, documents = await self._inbox.trigger_set(dispatch.trigger_set)
            self._trigger_sets[version] = TriggerSet(version, [Trigger.from_dict(d) for d in documents])
        triggers = self._trigger_sets.get(dispatch.trigger_set)
        return None if triggers is None else triggers.get(dispatch.trigger_id)

    # Hold -----------------------------------------------------------------------------------------

    async def _pass_on(self, ready: Sequence[Dispatch]) -> None:
        """Give pending dispatches to their lanes; those that a lane cannot keep wait in the inbox."""
        refused = [dispatch for dispatch in ready if not self._lane(dispatch.lane).offer(dispatch)]
        if refused:
            await self._inbox.release_leases([dispatch.id for dispatch in refused])
            for name in {dispatch.lane for dispatch in refused}:
                self._lane(name).look()

    async def _release_held_for_ever(self) -> None:
        """Let held dispatches go on when their time comes."""
        while True:
            self._held_changed.clear()
            due = await self._until_it_works(self._inbox.next_due, "looking for held dispatches")
            if due is not None and due <= self._clock():
                await self._until_it_works(self.promote_due, "releasing held dispatches")
                continue
            wait = None if due is None else (due - self._clock()).total_seconds()
            try:
                async with asyncio.timeout(wait):
                    await self._held_changed.wait()
            except TimeoutError:
                continue

    async def promote_due(self) -> None:
        """Make held dispatches pending whose time has come, and start them."""
        await self._inbox.promote_due(at=self._clock())
        await self._look_where_work_waits()

    # Claim, start, settle -------------------------------------------------------------------------

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = Lane(
                name,
                Room(self._prefect, name, self._default_limit),
                claim=self._claim,
                start=self._start,
                retry=self._retry,
                side_by_side=self._side_by_side,
            )
            self._lanes[name] = lane
            self._tasks.create_task(lane.run())
        return lane

    async def _claim(self, lane: str, limit: int) -> list[Dispatch]:
        return await self._inbox.claim(lane, limit=limit, at=self._clock(), lease=LEASE)

    async def _retry(self, dispatch: Dispatch, reason: str, wait: timedelta) -> None:
        due = self._clock() + wait
        await self._inbox.settle_retry(dispatch, reason=reason, due=due, keep_lease=True)
        self._changes.announce([dispatch.event_id])

    async def _start(self, dispatch: Dispatch, room: Room) -> None:
        """Start one dispatch's run and settle it: started, or dead with its reason.

        Raises
        ------
        PrefectUnavailable, InboxError: to be tried again.
        """
        try:
            event = await self._event(dispatch.event_id)
            new = await self._new_run(dispatch, event, room)
            run = await self._create(new, room)
        except (PrefectRefused, RenderError) as wrong:
            room.give_back()
            await self._bury(dispatch, wrong)
            return
        except (PrefectUnavailable, InboxError):
            raise
        except Exception as unexpected:
            # A fault of ours must not stop the lane, nor be lost in a log: it becomes a dead letter.
            log.exception("dispatch %s", dispatch.id)
            room.give_back()
            await self._bury(dispatch, RenderError(f"internal error: {type(unexpected).__name__}"))
            return
        await self._settle(dispatch, event, run)

    async def _new_run(self, dispatch: Dispatch, event: Event, room: Room) -> NewRun:
        trigger = await self._trigger(dispatch)
        if trigger is None:
            raise RenderError(f"trigger {dispatch.trigger_id} is not in version {dispatch.trigger_set}")
        deployment = await room.deployment()
        self._lane_of_deployment[deployment.id] = self._lane(dispatch.lane)
        merged: list[str] = []
        if dispatch.debounce_key is not None:
            merged = await self._inbox.merged(dispatch.id, limit=stamps.EVENT_TAGS)
        return NewRun(
            deployment_id=deployment.id,
            idempotency_key=stamps.idempotency_key(dispatch),
            name=stamps.run_name(event),
            tags=stamps.run_tags(event, merged),
            parameters=await self._parameters(dispatch, trigger, event),
            job_variables=trigger.job_variables,
            scheduled=self._clock() + trigger.schedule_after if trigger.schedule_after else None,
            labels=stamps.run_labels(event),
        )

    async def _parameters(self, dispatch: Dispatch, trigger: Trigger, event: Event) -> dict[str, object]:
        if trigger.parameters is None and await self._goes_by_reference(event):
            token = claim_token(
                self._claim_secret, event_id=event.id, dispatch_id=dispatch.id, at=self._clock()
            )
            claim = Claim(f"{self._gateway_url}/events/{event.id}/body", token)
            event = replace(event, data=None, claim=claim)
        return render_parameters(trigger, event)

    async def _goes_by_reference(self, event: Event) -> bool:
        stored = await self._inbox.event(event.id)
        if stored is None:
            return False
        # A body can grow when it is written as JSON again, but hardly to twice its size.
        return stored.by_reference or (
            stored.size > PARAMETER_BYTES // 2 and len(orjson.dumps(event.to_dict())) > PARAMETER_BYTES
        )

    async def _create(self, new: NewRun, room: Room) -> RunInfo:
        try:
            return await self._prefect.create_run(new)
        except PrefectRefused as refused:
            if refused.status != 404:
                raise
        # The deployment may have been deleted and deployed again under a new id.
        room.forget_deployment()
        deployment = await room.deployment()
        return await self._prefect.create_run(replace(new, deployment_id=deployment.id))

    async def _settle(self, dispatch: Dispatch, event: Event, run: RunInfo) -> None:
        await self._inbox.settle_started(
            dispatch,
            flow_run_id=run.id,
            flow_run_name=run.name,
            deployment_id=run.deployment_id or "",
            state=run.state,
            created=run.created,
            at=run.state_at,
        )
        self._events.pop(event.id, None)
        self._on_started(dispatch, event, run)
        self._changes.announce([dispatch.event_id])

    async def _bury(self, dispatch: Dispatch, wrong: PrefectRefused | RenderError) -> None:
        response = wrong.response if isinstance(wrong, PrefectRefused) else ""
        await self._inbox.settle_dead(dispatch, reason=str(wrong), response=response, at=self._clock())
        log.warning("dispatch %s is dead: %s", dispatch.id, wrong)
        self._changes.announce([dispatch.event_id])
        self._lane(dispatch.lane).look()

    def _keep(self, event: Event) -> None:
        self._events[event.id] = event
        if len(self._events) > EVENTS_KEPT:
            self._events.popitem(last=False)

    async def _event(self, event_id: str) -> Event:
        event = self._events.get(event_id) or await self._inbox.full_event(event_id)
        if event is None:
            raise RenderError(f"event {event_id} is no longer in the inbox")
        return event

    # Recover --------------------------------------------------------------------------------------

    async def _recover_for_ever(self) -> None:
        """Find, now and then, what nobody holds: another gateway's leavings, or our own after an error."""
        while True:
            await self._until_it_works(self._look_where_work_waits, "recovery")
            await asyncio.sleep(RECOVERY_SECONDS)
            if self._inbox.is_shared:
                await self._route_unrouted(before=self._clock() - LEASE)

    async def _look_where_work_waits(self) -> None:
        for name in await self._inbox.waiting_lanes(at=self._clock()):
            self._lane(name).look()

    async def _renew_leases_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            await self._until_it_works(
                lambda: self._inbox.renew_leases(at=self._clock(), lease=LEASE), "renewing leases"
            )

    async def _until_it_works(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        """Repeat work that the inbox cannot do just now: its disk is full, or somebody has locked it."""
        while True:
            try:
                return await work()
            except InboxError as failed:
                log.error("%s: %s", what, failed)
                await asyncio.sleep(1)


def plan(match: Match, event: Event, at: datetime) -> NewDispatch:
    """Return the dispatch that a match makes: to start, to hold, filtered, or dead from the start. Pure."""
    trigger = match.trigger
    new = NewDispatch(trigger_id=trigger.id, lane=f"{trigger.flow}/{trigger.deployment}")
    if not match.matched:
        return replace(new, filtered=match.reason or "where is false")
    if event.depth > MAX_DEPTH:
        return replace(new, dead="loop")
    try:
        if trigger.concurrency is not None:
            key = evaluate_key(trigger.concurrency.key, event)
            new = replace(new, concurrency_key=key, concurrency_limit=trigger.concurrency.limit)
        if trigger.debounce is not None:
            new = replace(
                new,
                debounce_key=evaluate_key(trigger.debounce.key, event),
                quiet=trigger.debounce.quiet,
                max_wait=trigger.debounce.max_wait,
            )
        if trigger.delay is not None:
            new = replace(new, due=delay_until(trigger.delay, event))
    except EvaluationError as wrong:
        return replace(new, dead=f"flow control: {wrong}")
    return new
