"""What tests of the inbox share: drafts, a clock of their own, and rows made in one line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from hookline.event import BodyFormat, Cause, Draft
from hookline.inbox import Dispatch, Inbox, NewDispatch, Recorded, Routing, RunSeen

LEASE = timedelta(seconds=15)
START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **by: float) -> datetime:
        """Go on by a time, as in `advance(seconds=5)`."""
        self.moment += timedelta(**by)
        return self.moment


def draft(
    type: str = "parcel.sent",
    data: Any = None,
    *,
    source_id: str | None = None,
    body: bytes | None = None,
    cause: Cause | None = None,
    **more: Any,
) -> Draft:
    """Return a draft as a door makes it."""
    return Draft(
        door=more.pop("door", "events/local"),
        type=type,
        source=more.pop("source", "shop"),
        source_id=source_id,
        body=orjson.dumps(data) if body is None else body,
        body_format=more.pop("body_format", BodyFormat.JSON),
        data=data,
        cause=cause,
        **more,
    )


def to_start(trigger: str = "deliver/now/sent", **more: Any) -> NewDispatch:
    """Return a dispatch for a trigger `flow/deployment/name`."""
    return NewDispatch(trigger_id=trigger, lane=trigger.rpartition("/")[0], **more)


class Desk:
    """An inbox at a clock's time."""

    def __init__(self, inbox: Inbox, clock: Clock) -> None:
        self.inbox = inbox
        self.clock = clock

    async def record(self, *args: Any, **more: Any) -> Recorded:
        """Record a draft; parameters are those of `draft`."""
        recorded, _ = await self.inbox.record(draft(*args, **more), accepted=self.clock())
        return recorded

    async def route(self, event_id: str, *new: NewDispatch, replay: bool = False) -> list[Dispatch]:
        """Route one event against the trigger set in force."""
        version, _ = await self.inbox.trigger_set()
        routing = Routing(event_id, version, tuple(new), replay)
        routed = await self.inbox.route([routing], at=self.clock(), lease=LEASE)
        assert routed is not None
        return routed.ready

    async def accept(self, *new: NewDispatch, type: str = "parcel.sent") -> str:
        """Record an event and route it at once; without dispatches it is ignored."""
        recorded = await self.record(type)
        await self.route(recorded.id, *new)
        return recorded.id

    async def only(self, event_id: str) -> Dispatch:
        """Return the one dispatch of an event."""
        [dispatch] = await self.inbox.dispatches(event_id)
        return dispatch

    async def claim(self, lane: str = "deliver/now", limit: int = 100) -> list[Dispatch]:
        """Lease a lane's first dispatches."""
        return await self.inbox.claim(lane, limit=limit, at=self.clock(), lease=LEASE)

    async def start(self, dispatch: Dispatch, run: str | None = None) -> str:
        """Settle a dispatch as started; return its run's id."""
        run_id = run or f"run-{dispatch.id[-20:]}"
        await self.inbox.settle_started(
            dispatch,
            flow_run_id=run_id,
            flow_run_name="a-run",
            deployment_id="a-deployment",
            state="SCHEDULED",
            created=self.clock(),
            at=self.clock(),
        )
        return run_id

    async def see(self, run_id: str, state: str, **more: Any) -> Any:
        """Write that a run was seen in a state."""
        return await self.inbox.see_runs([RunSeen(run_id, self.clock(), state, **more)])

    async def die(self, dispatch: Dispatch, reason: str = "404") -> set[str]:
        """Settle a dispatch as dead."""
        return await self.inbox.settle_dead(dispatch, reason=reason, response="", at=self.clock())

    async def statuses(self, event_ids: Sequence[str]) -> list[str]:
        """Return the statuses of the only dispatches of some events."""
        return [(await self.only(event_id)).status.value for event_id in event_ids]
