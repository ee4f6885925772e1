"""A dispatcher on a clock of its own and a Prefect server in memory, driven by hand, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.event import Event
from hookline.following import Follower
from hookline.inbox import Dispatch, Inbox
from hookline.prefect_api import RunInfo
from hookline.triggers import Trigger
from tests.support.fake_prefect import FakePrefect
from tests.support.inboxes import Clock, draft


class Bench:
    """An inbox, a dispatcher and a follower, driven by hand."""

    def __init__(self, inbox: Inbox, clock: Clock, *, default_limit: int = 10) -> None:
        self.inbox = inbox
        self.clock = clock
        self.prefect = FakePrefect(clock)
        self.default_limit = default_limit
        self.started: list[tuple[Dispatch, Event, RunInfo]] = []
        self.changes = Changes()
        self.restart()

    def restart(self) -> None:
        """Forget all that was in memory, as a gateway that is killed and started again."""
        self.dispatcher = Dispatcher(
            self.inbox,
            self.prefect,  # type: ignore[arg-type]
            gateway_url="http://127.0.0.1:4280",
            default_limit=self.default_limit,
            changes=self.changes,
            on_started=lambda dispatch, event, run: self.started.append((dispatch, event, run)),
            clock=self.clock,
        )
        self.follower = Follower(
            self.inbox,
            self.prefect,  # type: ignore[arg-type]
            changes=self.changes,
            on_finished=self.dispatcher.run_finished,
        )

    async def deploy(self, *triggers: Trigger) -> None:
        """Put triggers into force, and their deployments into Prefect."""
        for trigger in triggers:
            self.prefect.pool_of.setdefault(f"{trigger.flow}/{trigger.deployment}", None)
        await self.inbox.save_trigger_set(triggers)

    async def send(self, type: str, data: Any = None, **more: Any) -> str:
        """Accept an event as a door does; return its id."""
        given = draft(type, data, **more)
        recorded, accepted = await self.inbox.record(given, accepted=self.clock())
        if not recorded.duplicate:
            self.dispatcher.offer(
                Event(
                    id=recorded.id,
                    type=given.type,
                    source=given.source,
                    subject=given.subject,
                    time=given.time or accepted,
                    accepted=accepted,
                    data=data,
                    cause=given.cause,
                    depth=recorded.depth,
                )
            )
        return recorded.id

    async def work(self) -> None:
        """Learn what became of runs, then dispatch all that can be dispatched now."""
        if not self.prefect.is_away:
            await self.follower.ask()
        await self.dispatcher.work_off()

    async def pass_time(self, **by: float) -> datetime:
        """Let time go on, then work."""
        moment = self.clock.advance(**by)
        await self.work()
        return moment

    @property
    def events_started(self) -> list[str]:
        """Return the ids of the events whose runs were created, in the order of creation."""
        return [tag.removeprefix("event:") for new in self.prefect.news for tag in new.tags[:1]]

    def run_of(self, event_id: str) -> RunInfo:
        """Return the run that an event leads."""
        new = next(new for new in self.prefect.news if new.tags[0] == f"event:{event_id}")
        return next(run for run in self.prefect.created if run.idempotency_key == new.idempotency_key)

    async def finish(self, event_id: str, state: str = "COMPLETED") -> None:
        """Bring the run that an event leads to its end, and work."""
        self.clock.advance(milliseconds=1)
        self.prefect.set_state(self.run_of(event_id).id, state)
        await self.work()

    async def statuses(self, event_ids: Sequence[str]) -> list[str]:
        """Return the statuses of the newest dispatches of some events."""
        return [(await self.inbox.dispatches(event_id))[-1].status.value for event_id in event_ids]
