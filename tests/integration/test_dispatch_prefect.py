"""The dispatcher and a real Prefect server: back-pressure, outages, refusals, and what becomes of runs."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline.auditing import audit
from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.errors import PrefectRefused, PrefectUnavailable
from hookline.following import Follower
from hookline.inbox import EventStatus, Inbox
from hookline.inbox.gauging import gauges
from hookline.mirror import mirror_once
from hookline.prefect_api import NewRun, PrefectApi
from hookline.sealed import opened, seal
from hookline.triggers import Trigger
from tests.support.inboxes import draft
from tests.support.prefect import PrefectHttp
from tests.support.servers import PrefectServer, running_prefect


class Chain:
    """An inbox, a dispatcher and a follower at work, and a Prefect server that others use too."""

    def __init__(self, inbox: Inbox, prefect: PrefectApi, oracle: PrefectHttp) -> None:
        self.inbox = inbox
        self.prefect = prefect
        self.oracle = oracle
        self.changes = Changes()
        self.name = f"d{uuid.uuid4().hex[:8]}"
        self.dispatcher = Dispatcher(
            inbox,
            prefect,
            gateway_url="http://127.0.0.1:4280",
            default_limit=10,
            changes=self.changes,
            on_started=lambda dispatch, event, run: self.follower.follow(run.id),
        )
        self.follower = Follower(
            inbox, prefect, changes=self.changes, on_finished=self.dispatcher.run_finished
        )

    async def deploy(self, pool: str | None = None, **more: Any) -> str:
        """Make a deployment and a trigger for it; return the deployment's id."""
        made = self.oracle.deployment("deliver", self.name, pool, **more)
        trigger = Trigger(
            flow="deliver", deployment=self.name, name="sent", expect=(self.name,), passes_event=True
        )
        await self.inbox.save_trigger_set([trigger])
        return made

    async def send(self, data: Any = None) -> str:
        """Accept an event as a door does."""
        recorded, _ = await self.inbox.record(draft(self.name, data))
        event = await self.inbox.full_event(recorded.id)
        assert event is not None
        self.dispatcher.offer(event)
        return recorded.id

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs that Prefect has of the deployment."""
        return self.oracle.runs(tags={"all_": [f"event-type:{self.name}"]})

    async def until(self, condition: Callable[[], Any], what: str, seconds: float = 30) -> None:
        """Wait until something holds; looked at at every change, and now and then."""
        deadline = asyncio.get_running_loop().time() + seconds
        with self.changes.watch() as watch:
            while not await _value(condition):
                left = deadline - asyncio.get_running_loop().time()
                assert left > 0, what
                await watch.wait(min(left, 0.5))

    async def settled(self, event_ids: Sequence[str], status: EventStatus) -> bool:
        """Return whether all events have a status."""
        stored = [await self.inbox.event(event_id) for event_id in event_ids]
        return all(event is not None and event.status is status for event in stored)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Let dispatcher and follower work meanwhile."""
        works = [asyncio.create_task(self.dispatcher.run()), asyncio.create_task(self.follower.run())]
        try:
            yield
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)


async def _value(condition: Callable[[], Any]) -> Any:
    found = condition()
    return await found if asyncio.iscoroutine(found) else found


@contextlib.asynccontextmanager
async def chain_on(server: PrefectServer, tmp_path: Path) -> AsyncIterator[Chain]:
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        async with (
            Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox,
            PrefectApi.open() as prefect,
        ):
            yield Chain(inbox, prefect, PrefectHttp(server.api_url))


@pytest.fixture
async def chain(prefect_server: PrefectServer, tmp_path: Path) -> AsyncIterator[Chain]:
    async with chain_on(prefect_server, tmp_path) as chain:
        yield chain


async def test_a_burst_waits_in_the_inbox_and_not_in_prefect(chain: Chain) -> None:
    """A hundred events and nobody who runs them: ten runs are created. Cancel three, and three more are."""
    await chain.deploy()
    async with chain.at_work():
        sent = [await chain.send(number) for number in range(100)]
        await chain.until(lambda: chain.settled(sent[:10], EventStatus.DISPATCHED), "ten runs")
        assert len(chain.runs()) == 10
        await chain.until(lambda: chain.settled(sent[10:], EventStatus.PENDING), "the rest is routed")
        assert (await chain.inbox.read(gauges)).pending == 90
        for run in chain.runs()[:3]:
            chain.oracle.set_state(run["id"], "CANCELLED")
        await chain.until(lambda: chain.settled(sent[:13], EventStatus.DISPATCHED), "three more")
    assert len(chain.runs()) == 13
    assert (await audit(chain.inbox, chain.prefect)).balances


async def test_a_pools_limit_counts_other_peoples_runs(chain: Chain) -> None:
    """A pool of five; somebody has started two runs there by hand."""
    pool = chain.oracle.pool(f"pool-{chain.name}", limit=5)
    deployment = await chain.deploy(pool)
    for _ in range(2):
        chain.oracle.post(f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    async with chain.at_work():
        sent = [await chain.send() for _ in range(20)]
        await chain.until(lambda: chain.settled(sent[:3], EventStatus.DISPATCHED), "three runs")
        await chain.until(lambda: len(chain.runs()) == 3, "no more")
        await chain.until(lambda: chain.settled(sent[3:], EventStatus.PENDING), "the rest is routed")
    assert (await chain.inbox.read(gauges)).pending == 17


async def test_what_becomes_of_a_run_is_followed(chain: Chain) -> None:
    """By Prefect's event stream, or by asking: running, finished, and deleted."""
    await chain.deploy()
    async with chain.at_work():
        event_id = await chain.send()
        await chain.until(lambda: chain.settled([event_id], EventStatus.DISPATCHED), "a run")
        [run] = chain.runs()
        chain.oracle.set_state(run["id"], "RUNNING")
        await chain.until(lambda: _state(chain, event_id, "RUNNING"), "it runs")
        chain.oracle.set_state(run["id"], "COMPLETED")
        await chain.until(lambda: _state(chain, event_id, "COMPLETED"), "it is finished")
    [dispatch] = await chain.inbox.dispatches(event_id)
    assert dispatch.run_started is not None
    assert dispatch.finished is not None
    assert dispatch.seen


async def _state(chain: Chain, event_id: str, state: str) -> bool:
    return all(dispatch.state == state for dispatch in await chain.inbox.dispatches(event_id))


async def test_parameters_that_do_not_fit_are_a_dead_letter(chain: Chain) -> None:
    """Prefect says so once; its answer is kept beside the reason."""
    schema = {
        "type": "object",
        "properties": {"event": {"type": "integer"}},
        "required": ["event"],
    }
    await chain.deploy(parameter_openapi_schema=schema, enforce_parameter_schema=True)
    async with chain.at_work():
        event_id = await chain.send({"not": "an integer"})
        await chain.until(lambda: chain.settled([event_id], EventStatus.DEAD), "dead")
    [dead] = await chain.inbox.dead(limit=1)
    assert "409" in (dead.reason or "")
    assert dead.response
    assert dead.attempts == 1
    assert chain.runs() == []


async def test_what_a_sender_wrote_is_not_taken_for_a_template(chain: Chain) -> None:
    """Prefect would fill in a variable of the workspace; the server keeps what was sent, sealed."""
    chain.oracle.post("/variables/", {"name": f"secret_{chain.name}", "value": "hidden"})
    await chain.deploy()
    data = {"x": {"__prefect_kind": "workspace_variable", "variable_name": f"secret_{chain.name}"}}
    async with chain.at_work():
        event_id = await chain.send(data)
        await chain.until(lambda: chain.settled([event_id], EventStatus.DISPATCHED), "a run")
    [run] = chain.runs()
    assert opened(run["parameters"]["event"])["data"] == data
    assert run["parameters"]["event"]["data"] == seal(data)


async def test_a_large_event_that_is_not_ascii_goes_as_a_claim_check(chain: Chain) -> None:
    """Prefect measures parameters with all but ASCII escaped, and would refuse these."""
    await chain.deploy()
    async with chain.at_work():
        event_id = await chain.send("ж" * 100_000)
        await chain.until(lambda: chain.settled([event_id], EventStatus.DISPATCHED), "a run")
    [run] = chain.runs()
    assert run["parameters"]["event"]["claim"]["url"].endswith(f"/events/{event_id}/body")


async def test_a_dispatched_event_is_in_prefects_feed_under_its_own_name(chain: Chain) -> None:
    """Attributes without data; sent again it is there once."""
    await chain.deploy()
    async with chain.at_work():
        event_id = await chain.send({"private": 1})
        await chain.until(lambda: chain.settled([event_id], EventStatus.DISPATCHED), "a run")
    assert await mirror_once(chain.inbox, chain.prefect) == 1
    assert await mirror_once(chain.inbox, chain.prefect) == 0
    body = {"filter": {"event": {"name": [f"hookline.{chain.name}"]}}}

    def mirrored() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = chain.oracle.post("/events/filter", body)["events"]
        return found

    await chain.until(mirrored, "it is in the feed")
    [event] = mirrored()
    assert event["id"] == event_id
    assert "private" not in str(event)


async def test_a_wrong_address_is_no_verdict_on_the_event(
    chain: Chain, prefect_server: PrefectServer
) -> None:
    """Without /api the server answers 404 to everything: that is no missing deployment."""
    wrong = prefect_server.api_url.removesuffix("/api")
    with temporary_settings({PREFECT_API_URL: wrong}):
        async with PrefectApi.open() as prefect:
            with pytest.raises(PrefectUnavailable, match="PREFECT_API_URL"):
                await prefect.deployment("a/b")
    with pytest.raises(PrefectRefused):
        await chain.prefect.deployment("a/b")
    with pytest.raises(PrefectRefused):
        await chain.prefect.create_run(NewRun(str(uuid.uuid4()), "k", "n", [], {}))


async def test_while_prefect_is_killed_events_wait_and_start_once_when_it_is_back(tmp_path: Path) -> None:
    """SIGKILL in the middle of a burst; every event has one run in the end, and the books balance."""
    with running_prefect(tmp_path / "prefect") as server:
        async with chain_on(server, tmp_path) as chain:
            pool = chain.oracle.pool(f"pool-{chain.name}", limit=100)
            await chain.deploy(pool)
            async with chain.at_work():
                sent = [await chain.send(number) for number in range(30)]
                await chain.until(lambda: chain.settled(sent[:3], EventStatus.DISPATCHED), "it has begun")
                server.kill()
                sent += [await chain.send(number) for number in range(30, 35)]
                await asyncio.to_thread(server.start)
                await chain.until(lambda: chain.settled(sent, EventStatus.DISPATCHED), "all", seconds=60)
            runs = chain.runs()
            assert len(runs) == 35
            assert {tag for run in runs for tag in run["tags"] if tag.startswith("event:")} == {
                f"event:{event_id}" for event_id in sent
            }
            assert (await audit(chain.inbox, chain.prefect)).balances
