"""Starting one dispatch: its flow run is created under the dispatch's own key, however often it is tried."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

import orjson

from hookline import stamps
from hookline.claim_tokens import claim_token
from hookline.errors import PrefectRefused, RenderError
from hookline.event import Claim, Event
from hookline.inbox import Dispatch, Inbox
from hookline.parameter_rendering import render
from hookline.parameter_schema import check_parameters
from hookline.prefect_api import NewRun, PrefectApi, RunInfo
from hookline.prefect_rows import parameters_bytes
from hookline.room import Rooms
from hookline.sealed import holds_sealed
from hookline.triggers import Trigger

#: Prefect takes parameters of up to 512 KB; a larger event goes as a claim check.
PARAMETER_BYTES = 500_000
#: Events that are kept in memory for their dispatches.
EVENTS_KEPT = 1_000
EVENTS_KEPT_BYTES = 32 * 1024 * 1024


class Starter:
    """Creates the runs of dispatches.

    Parameters
    ----------
    inbox: where the dispatches' events are.
    prefect: where their runs are to be.
    rooms: know the deployments.
    trigger: returns the trigger that made a dispatch, of the version that it was matched against.
    gateway_url: where runs fetch the data of claim checks.
    clock: gives the time.
    creations: held while a run is created, over all lanes.
    """

    def __init__(
        self,
        inbox: Inbox,
        prefect: PrefectApi,
        rooms: Rooms,
        *,
        trigger: Callable[[Dispatch], Awaitable[Trigger | None]],
        gateway_url: str,
        clock: Callable[[], datetime],
        creations: asyncio.Semaphore,
    ) -> None:
        self._inbox = inbox
        self._prefect = prefect
        self._rooms = rooms
        self._trigger = trigger
        self._gateway_url = gateway_url
        self._clock = clock
        self._creations = creations
        self._events: OrderedDict[str, tuple[Event, int]] = OrderedDict()
        self._events_bytes = 0
        self._claim_secret: bytes | None = None
        self._identity: str | None = None

    async def start(self, dispatch: Dispatch) -> tuple[Event, RunInfo]:
        """Create a dispatch's run, or find the one that was created before; return it with the event.

        Raises
        ------
        RenderError: the run's parameters cannot be made.
        PrefectRefused: Prefect says that the request is wrong.
        PrefectUnavailable, InboxError: to be tried again.
        """
        event = await self._event(dispatch.event_id)
        new = await self._new_run(dispatch, event)
        self._rooms.take(dispatch.lane, dispatch.id)
        try:
            async with self._creations:
                run = await self._create(dispatch.lane, new)
        except BaseException:
            self._rooms.give_back([dispatch.id])
            raise
        if new.scheduled is not None:
            # It takes no place before it is due, which may be in a week.
            self._rooms.give_back([dispatch.id])
        return event, run

    async def find(self, dispatch: Dispatch) -> RunInfo | None:
        """Return the run that a dispatch has already, if an attempt created one and its answer was lost.

        Raises
        ------
        PrefectUnavailable: Prefect is away.
        """
        found = await self._prefect.runs_by_key([stamps.idempotency_key(dispatch)])
        return found[0] if found else None

    def keep(self, event: Event, size_bytes: int) -> None:
        """Keep an event in memory for its dispatches, which will be started soon."""
        if event.id not in self._events:
            self._events[event.id] = (event, size_bytes)
            self._events_bytes += size_bytes
        while len(self._events) > EVENTS_KEPT or self._events_bytes > EVENTS_KEPT_BYTES:
            _, (_, freed) = self._events.popitem(last=False)
            self._events_bytes -= freed

    async def _event(self, event_id: str) -> Event:
        kept = self._events.get(event_id)
        event = await self._inbox.full_event(event_id) if kept is None else kept[0]
        if event is None:
            raise RenderError(f"event {event_id} is no longer in the inbox")
        return event

    async def _new_run(self, dispatch: Dispatch, event: Event) -> NewRun:
        trigger = await self._trigger(dispatch)
        if trigger is None:
            raise RenderError(f"trigger {dispatch.trigger_id} is not in version {dispatch.trigger_set}")
        deployment = await self._rooms.deployment(dispatch.lane)
        parameters = await self._parameters(dispatch, trigger, event)
        if holds_sealed(orjson.dumps(parameters)):
            await asyncio.to_thread(check_parameters, parameters, deployment)
        merged: list[str] = []
        if dispatch.debounce_key is not None:
            merged = await self._inbox.merged(dispatch.id, limit=stamps.EVENT_TAGS)
        return NewRun(
            deployment_id=deployment.id,
            idempotency_key=stamps.idempotency_key(dispatch),
            name=stamps.run_name(event),
            tags=stamps.run_tags(event, merged, inbox=await self._inbox_identity()),
            parameters=parameters,
            job_variables=trigger.job_variables,
            scheduled=self._clock() + trigger.schedule_after if trigger.schedule_after else None,
            labels=stamps.run_labels(event),
        )

    async def _inbox_identity(self) -> str:
        if self._identity is None:
            self._identity = await self._inbox.identity()
        return self._identity

    async def _parameters(self, dispatch: Dispatch, trigger: Trigger, event: Event) -> dict[str, object]:
        parameters = await render(trigger, event)
        if (
            trigger.parameters is None
            and trigger.passes_event
            and await self._goes_by_reference(event, parameters)
        ):
            if self._claim_secret is None:
                self._claim_secret = await self._inbox.shared_secret("claims")
            token = claim_token(
                self._claim_secret, event_id=event.id, dispatch_id=dispatch.id, at=self._clock()
            )
            claim = Claim(f"{self._gateway_url}/events/{event.id}/body", token)
            return await render(trigger, replace(event, data=None, claim=claim))
        return parameters

    async def _goes_by_reference(self, event: Event, parameters: dict[str, object]) -> bool:
        stored = await self._inbox.event(event.id)
        if stored is None:
            return False
        # A byte of the body becomes seven of the parameter at most, escaped and sealed; measuring takes time.
        return stored.by_reference or (
            stored.size > PARAMETER_BYTES // 8 and parameters_bytes(parameters) > PARAMETER_BYTES
        )

    async def _create(self, lane: str, new: NewRun) -> RunInfo:
        try:
            return await self._prefect.create_run(new)
        except PrefectRefused as refused:
            if refused.status != 404:
                raise
        # The deployment may have been deleted and deployed again under a new id.
        self._rooms.forget_deployment(lane)
        deployment = await self._rooms.deployment(lane)
        return await self._prefect.create_run(replace(new, deployment_id=deployment.id))
