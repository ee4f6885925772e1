"""Lesson 5: a dispatch starts one flow run in Prefect, however often it is tried."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.event import BodyFormat, Draft
from hookline.inbox import EventStatus, Inbox, Tracked
from hookline.prefect_api import PrefectApi
from hookline.triggers import Trigger
from tests.support.prefect import PrefectHttp
from tests.support.servers import PrefectServer


class Chain:
    """An inbox, a dispatcher and a Prefect server with one deployment and one trigger for it."""

    def __init__(self, inbox: Inbox, prefect: PrefectApi, event_type: str) -> None:
        self.inbox = inbox
        self.prefect = prefect
        self.event_type = event_type
        self.changes = Changes()

    def new_dispatcher(self) -> Dispatcher:
        """Return a dispatcher as a gateway that has just started has it: it knows what the inbox knows."""
        return Dispatcher(
            self.inbox,
            self.prefect,
            gateway_url="http://127.0.0.1:4280",
            default_limit=10,
            changes=self.changes,
            on_started=lambda dispatch, event, run: None,
        )

    async def accept(self) -> str:
        """Record an event and leave the rest to the dispatcher, which finds it in the inbox."""
        draft = Draft(
            door="events/local",
            type=self.event_type,
            source="shop",
            body=b'{"parcel": 7}',
            body_format=BodyFormat.JSON,
        )
        recorded, _ = await self.inbox.record(draft)
        return recorded.id

    async def dispatch_until(self, event_id: str, status: EventStatus) -> Tracked:
        """Let the dispatcher run until the event has a status."""
        with self.changes.watch(event_id) as watch:
            work = asyncio.create_task(self.new_dispatcher().run())
            try:
                while True:
                    tracked = await self.inbox.track(event_id)
                    if tracked is not None and tracked.event.status is status:
                        return tracked
                    assert await watch.wait(timeout_seconds=10), f"not {status}: {tracked}"
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    async def dispatch_until_it_would_settle(self) -> None:
        """Let the dispatcher create a run, and end it at the moment at which it would note that."""
        reached = asyncio.Event()

        async def crash(*_: object, **__: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        settle = self.inbox.settle_started
        self.inbox.settle_started = crash  # type: ignore[method-assign]
        work = asyncio.create_task(self.new_dispatcher().run())
        try:
            await asyncio.wait_for(reached.wait(), timeout=10)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            self.inbox.settle_started = settle  # type: ignore[method-assign]


@pytest.fixture
async def chain(prefect_server: PrefectServer, tmp_path: Path) -> AsyncIterator[Chain]:
    event_type = f"parcel.sent.{uuid.uuid4().hex[:8]}"
    PrefectHttp(prefect_server.api_url).deployment("deliver", event_type)
    trigger = Trigger(flow="deliver", deployment=event_type, name="sent", expect=(event_type,))
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        async with (
            Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox,
            PrefectApi.open() as prefect,
        ):
            await inbox.save_trigger_set([trigger])
            yield Chain(inbox, prefect, event_type)


async def test_an_event_becomes_a_flow_run_that_carries_its_stamps(
    chain: Chain, prefect_server: PrefectServer
) -> None:
    """Prefect's own API finds the run by the event's id, and its name says what started it."""
    event_id = await chain.accept()

    tracked = await chain.dispatch_until(event_id, EventStatus.DISPATCHED)

    [run] = PrefectHttp(prefect_server.api_url).runs_of_event(event_id)
    assert run["id"] == tracked.dispatches[0].flow_run_id
    assert run["name"] == f"{chain.event_type}-{event_id[-8:]}"
    assert f"event-type:{chain.event_type}" in run["tags"]
    assert run["idempotency_key"] == f"hookline:{tracked.dispatches[0].id}"


async def test_a_dispatch_that_is_tried_again_finds_the_run_that_it_had_started(
    chain: Chain, prefect_server: PrefectServer
) -> None:
    """Prefect answers, we crash before we note it, and after the restart the same run is found."""
    event_id = await chain.accept()
    await chain.dispatch_until_it_would_settle()
    [run] = PrefectHttp(prefect_server.api_url).runs_of_event(event_id)

    tracked = await chain.dispatch_until(event_id, EventStatus.DISPATCHED)

    assert tracked.dispatches[0].flow_run_id == run["id"]
    assert len(PrefectHttp(prefect_server.api_url).runs_of_event(event_id)) == 1


async def test_an_event_whose_deployment_is_gone_becomes_a_dead_letter_with_its_reason(
    chain: Chain, prefect_server: PrefectServer
) -> None:
    """What cannot be done is there to be seen, and to be replayed once it is mended."""
    missing = Trigger(flow="deliver", deployment="gone", name="sent", expect=(chain.event_type,))
    await chain.inbox.save_trigger_set([missing])
    event_id = await chain.accept()

    tracked = await chain.dispatch_until(event_id, EventStatus.DEAD)

    assert "404" in (tracked.dispatches[0].reason or "")
    assert PrefectHttp(prefect_server.api_url).runs_of_event(event_id) == []
