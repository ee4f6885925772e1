"""The audit's other direction: each run in Prefect has its dispatch, and who is older than whom is said."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import Connection, delete, update

from hookline.auditing import Audit, audit
from hookline.cli.inspection import audit_all
from hookline.errors import PrefectUnavailable
from hookline.event import now
from hookline.inbox import EventStatus, Inbox
from hookline.inbox.schema import bodies, counters, dispatches, events
from hookline.retention import Limits, retain
from hookline.settings import Settings
from hookline.triggers import Trigger
from tests.integration.test_dispatch_prefect import chain_on
from tests.support.dispatching import Bench
from tests.support.inboxes import Clock
from tests.support.servers import PrefectServer, free_port

TRIGGER = Trigger(flow="f", deployment="d", name="t", expect=("sent",))


def bench_of(inbox: Inbox) -> Bench:
    return Bench(inbox, Clock(now()), default_limit=1000)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        bench = bench_of(inbox)
        await bench.deploy(TRIGGER)
        yield bench


async def audited(bench: Bench) -> Audit:
    return await audit(bench.inbox, bench.prefect)  # type: ignore[arg-type]


async def started(bench: Bench, number: int = 1) -> list[str]:
    """Start runs, and finish them."""
    sent = []
    for _ in range(number):
        bench.clock.advance(milliseconds=1)
        sent.append(await bench.send("sent"))
        await bench.work()
    bench.prefect.finish_all()
    await bench.work()
    return sent


async def test_a_run_whose_dispatch_was_deleted_is_named(bench: Bench) -> None:
    """The event was set to ignored, as if nothing had come of it."""
    [event_id] = await started(bench)

    def tamper(c: Connection) -> None:
        c.execute(delete(dispatches))
        c.execute(update(events).values(status="ignored"))

    await bench.inbox.write(tamper)
    found = await audited(bench)
    [unknown] = found.unknown.runs
    assert unknown.flow_run_id == bench.run_of(event_id).id
    assert "was taken out of the inbox" in unknown.reason


async def test_a_run_whose_event_was_deleted_is_named(bench: Bench) -> None:
    """With its counter lowered."""
    await started(bench, 2)
    [event_id] = await started(bench)

    def tamper(c: Connection) -> None:
        c.execute(delete(dispatches).where(dispatches.c.event_id == event_id))
        c.execute(delete(bodies).where(bodies.c.event_id == event_id))
        c.execute(delete(events).where(events.c.id == event_id))
        c.execute(update(counters).where(counters.c.name == "received").values(value=2))

    await bench.inbox.write(tamper)
    found = await audited(bench)
    assert [each.flow_run_id for each in found.unknown.runs] == [bench.run_of(event_id).id]


async def test_a_run_whose_dispatch_says_that_it_died_is_named(bench: Bench) -> None:
    """Its run id was taken out of it."""
    [event_id] = await started(bench)
    await bench.inbox.write(
        lambda c: c.execute(
            update(dispatches).values(status="dead", reason="x", flow_run_id=None, finished_us=1)
        )
    )
    found = await audited(bench)
    assert [each.flow_run_id for each in found.unknown.runs] == [bench.run_of(event_id).id]
    assert "is dead" in found.unknown.runs[0].reason


@pytest.mark.parametrize("key", ["hookline:{}", "made by hand"])
async def test_a_run_with_our_tag_that_no_dispatch_started_is_named(bench: Bench, key: str) -> None:
    """Under a key of our form or another; a run that carries the event's tag alone, too."""
    [event_id] = await started(bench)
    run = bench.run_of(event_id)
    for number, tags in enumerate((run.tags, (f"event:{event_id}",))):
        of_hand = key.format(uuid.uuid4())
        bench.prefect._by_key[of_hand] = replace(run, id=f"hand-{number}", idempotency_key=of_hand, tags=tags)
        found = await audited(bench)
        assert [each.flow_run_id for each in found.unknown.runs] == [f"hand-{number}"]
        assert not found.balances
        del bench.prefect._by_key[of_hand]
    assert (await audited(bench)).balances


async def test_runs_of_another_inbox_are_none_of_ours(bench: Bench, tmp_path: Path) -> None:
    """Two systems share one Prefect."""
    await started(bench, 3)
    async with Inbox.open(f"sqlite:///{tmp_path / 'other.db'}") as inbox:
        other = bench_of(inbox)
        other.prefect = bench.prefect
        other.restart()
        await other.deploy(TRIGGER)
        await started(other, 2)
        assert (await audited(other)).balances
    assert (await audited(bench)).balances
    assert len(bench.prefect._by_key) == 5


async def test_a_run_that_is_being_started_is_no_fault(bench: Bench) -> None:
    """Prefect created it and its answer was lost; the dispatch is pending and will find it."""
    bench.prefect.answer_lost = True
    await bench.send("sent")
    await bench.work()
    assert (await audited(bench)).balances


async def test_an_inbox_from_a_backup_is_said_to_be_older_than_prefect(bench: Bench, tmp_path: Path) -> None:
    """In one sentence and not as a wall of faults; what comes after it is judged as ever."""
    await started(bench, 2)
    kept = tmp_path / "backup.db"
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "inbox.db")) as live,
        contextlib.closing(sqlite3.connect(kept)) as copy,
    ):
        live.backup(copy)
    later = await started(bench, 4)
    async with Inbox.open(f"sqlite:///{kept}") as inbox:
        restored = bench_of(inbox)
        restored.prefect = bench.prefect
        restored.restart()
        found = await audited(restored)
        assert not found.balances
        assert (found.faults, found.missing_count, found.unknown.count) == ((), 0, 0)
        assert found.unknown.newer == 4
        assert found.unknown.newer_since is not None
        assert abs(found.unknown.newer_since - (await bench.inbox.event(later[0])).accepted).seconds < 1  # type: ignore[union-attr]
        restored.clock.moment = now()
        await started(restored, 2)
        again = await audited(restored)
        assert (again.faults, again.unknown.count, again.unknown.newer) == ((), 0, 4)


async def test_a_prefect_from_a_backup_is_said_to_be_older_than_the_inbox(bench: Bench) -> None:
    """It has none of the newest runs, which it was seen to have: nobody deletes just those."""
    await started(bench, 3)
    for event_id in await started(bench, 3):
        bench.prefect.delete(bench.run_of(event_id).id)
    found = await audited(bench)
    assert not found.balances
    assert (found.faults, found.missing_count, found.gone) == ((), 0, 3)
    assert found.older is not None
    assert found.older.runs == 3


async def test_old_runs_that_prefect_forgot_are_gone_and_no_fault(bench: Bench) -> None:
    """Its own retention takes the oldest."""
    old = await started(bench, 5)
    await started(bench)
    for event_id in old:
        bench.prefect.delete(bench.run_of(event_id).id)
    found = await audited(bench)
    assert found.balances
    assert found.gone == 5


async def test_runs_of_events_that_retention_took_are_no_fault(bench: Bench) -> None:
    """Prefect keeps them longer than the inbox."""
    month = timedelta(days=30)
    await started(bench, 3)
    bench.clock.advance(days=31)
    await started(bench)
    await retain(bench.inbox, Limits(month, month, month), clock=bench.clock, pause_seconds=0)
    found = await audited(bench)
    assert found.balances, found
    assert found.unknown.forgotten == 3


# A real Prefect ---------------------------------------------------------------------------------------


async def test_both_directions_hold_with_a_real_prefect(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    """Beside runs of other inboxes; then a dispatch is taken out of the inbox."""
    async with chain_on(prefect_server, tmp_path) as chain:
        await chain.deploy()
        async with chain.at_work():
            sent = [await chain.send(number) for number in range(3)]
            await chain.until(lambda: chain.settled(sent, EventStatus.DISPATCHED), "three runs")
        assert (await audit(chain.inbox, chain.prefect)).balances

        def tamper(c: Connection) -> None:
            c.execute(delete(dispatches).where(dispatches.c.event_id == sent[1]))
            c.execute(update(events).where(events.c.id == sent[1]).values(status="ignored"))

        await chain.inbox.write(tamper)
        found = await audit(chain.inbox, chain.prefect)
        [unknown] = found.unknown.runs
        tagged = {run["id"] for run in chain.runs() if f"event:{sent[1]}" in run["tags"]}
        assert tagged == {unknown.flow_run_id}


async def test_with_prefect_away_it_says_how_to_audit_the_inbox_alone(bench: Bench, tmp_path: Path) -> None:
    """And what is wrong, as everywhere."""
    await started(bench)
    nobody = f"http://127.0.0.1:{free_port()}/api"
    with (
        temporary_settings({PREFECT_API_URL: nobody}),
        pytest.raises(PrefectUnavailable, match=r"Prefect does not answer.*--no-prefect"),
    ):
        await audit_all(Settings(data=tmp_path), with_prefect=True)
    found, _ = await audit_all(Settings(data=tmp_path), with_prefect=False)
    assert found.balances
