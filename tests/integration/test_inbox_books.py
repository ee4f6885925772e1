"""The audit finds every row that does not add up, and retention keeps the books balanced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, update

from hookline.auditing import Audit, audit
from hookline.inbox import Inbox, Rejection
from hookline.inbox.gauging import gauges
from hookline.inbox.records import id_at, to_micros
from hookline.inbox.schema import bodies, counters, dispatches, events
from hookline.retention import Forgotten, Limits, retain
from hookline.triggers import Debounce, Trigger
from tests.support.dispatching import Bench
from tests.support.inboxes import START, Clock, draft

MONTH = timedelta(days=30)
LIMITS = Limits(events=MONTH, bodies=MONTH, rejections=MONTH)


@pytest.fixture
async def bench(address: str) -> AsyncIterator[Bench]:
    async with Inbox.open(address) as inbox:
        bench = Bench(inbox, Clock(), default_limit=100)
        await bench.deploy(Trigger(flow="f", deployment="d", name="t", expect=("sent",)))
        yield bench


async def audited(bench: Bench) -> Audit:
    return await audit(bench.inbox, bench.prefect)  # type: ignore[arg-type]


async def some_of_everything(bench: Bench) -> dict[str, str]:
    """Leave an event in each status, with a duplicate."""
    made = {"dispatched": await bench.send("sent", 1, source_id="a")}
    await bench.send("sent", 1, source_id="a")
    await bench.work()
    made["ignored"] = await bench.send("other")
    await bench.work()
    bench.prefect.pool_of.clear()
    bench.restart()
    made["dead"] = await bench.send("sent", 2)
    await bench.work()
    bench.prefect.pool_of["f/d"] = None
    bench.prefect.is_away = True
    made["pending"] = await bench.send("sent", 3)
    await bench.work()
    bench.prefect.is_away = False
    recorded, _ = await bench.inbox.record(draft("sent"), accepted=bench.clock())
    return {**made, "accepted": recorded.id}


# The audit ------------------------------------------------------------------------------------------


async def test_books_with_some_of_everything_balance(bench: Bench) -> None:
    """Received is the sum of the statuses; duplicates and rejections are counted apart."""
    await some_of_everything(bench)
    found = await audited(bench)

    assert found.balances, found
    assert found.books.received == 5
    assert found.books.by_status == {
        "accepted": 1, "pending": 1, "dispatched": 1, "ignored": 1, "dead": 1,
    }  # fmt: skip
    assert (found.books.duplicates, found.runs, found.gone, found.missing_count) == (1, 1, 0, 0)


def _lose_event(connection: Connection, made: dict[str, str]) -> None:
    connection.execute(delete(events).where(events.c.id == made["ignored"]))


def _lose_dispatch(connection: Connection, made: dict[str, str]) -> None:
    connection.execute(delete(dispatches).where(dispatches.c.event_id == made["pending"]))


def _lose_parent(connection: Connection, made: dict[str, str]) -> None:
    connection.execute(delete(events).where(events.c.id == made["dead"]))


def _wrong_status(connection: Connection, made: dict[str, str]) -> None:
    connection.execute(update(events).where(events.c.id == made["dead"]).values(status="ignored"))


def _lose_body(connection: Connection, made: dict[str, str]) -> None:
    connection.execute(delete(bodies).where(bodies.c.event_id == made["pending"]))


def _miscount(connection: Connection, made: dict[str, str]) -> None:
    connection.execute(update(counters).where(counters.c.name == "duplicates").values(value=7))


def _lose_run_id(connection: Connection, made: dict[str, str]) -> None:
    connection.execute(update(dispatches).where(dispatches.c.status == "started").values(flow_run_id=None))


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (_lose_event, None),
        (_lose_dispatch, "pending"),
        (_lose_parent, None),
        (_wrong_status, "dead"),
        (_lose_body, "pending"),
        (_miscount, None),
        (_lose_run_id, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_every_damage_is_found_and_named(bench: Bench, damage: Any, names: str | None) -> None:
    """A row that went, a status that does not fit, a count that is off."""
    made = await some_of_everything(bench)
    await bench.inbox.write(lambda c: damage(c, made))
    found = await audited(bench)

    assert not found.balances
    if names is not None:
        assert made[names] in {row for fault in found.faults for row in fault.ids}


async def test_a_run_that_was_seen_and_deleted_is_gone_and_no_fault(bench: Bench) -> None:
    """Somebody deleted it in Prefect; that is their right."""
    event_id = await bench.send("sent")
    await bench.work()
    await bench.work()
    bench.prefect.delete(bench.run_of(event_id).id)
    found = await audited(bench)

    assert found.balances
    assert (found.runs, found.gone) == (1, 1)


async def test_a_run_that_was_never_seen_is_missing(bench: Bench) -> None:
    """Prefect acknowledged it, and it was never heard of again: that is a failure, and is named."""
    event_id = await bench.send("sent")
    await bench.work()
    bench.prefect.delete(bench.run_of(event_id).id)
    found = await audited(bench)

    assert not found.balances
    [missing] = found.missing
    assert (missing.event_id, missing.flow_run_id) == (event_id, "run-0")


async def test_a_run_under_another_key_is_a_fault(bench: Bench) -> None:
    """Whoever makes up a key at random starts two runs one day."""
    event_id = await bench.send("sent")
    await bench.work()
    await bench.work()
    runs = bench.prefect._by_key
    [(key, run)] = runs.items()
    del runs[key]
    runs["random"] = replace(run, idempotency_key="random")
    found = await audited(bench)

    assert [missing.event_id for missing in found.missing] == [event_id]
    assert "random" in found.missing[0].reason


# Retention ------------------------------------------------------------------------------------------


async def test_finished_events_go_at_their_age_and_the_books_still_balance(bench: Bench) -> None:
    """With bodies and dispatches; what is younger stays, and what went is counted by its status."""
    old = [await bench.send("sent", 1, source_id="a"), await bench.send("other")]
    await bench.send("sent", 1, source_id="a")
    await bench.work()
    bench.prefect.finish_all()
    bench.clock.advance(days=20)
    await bench.work()
    young = await bench.send("other")
    await bench.work()
    bench.clock.advance(days=11)

    forgotten = await retain(bench.inbox, LIMITS, clock=bench.clock, pause_seconds=0)
    assert forgotten.events == 2
    for event_id in old:
        assert await bench.inbox.event(event_id) is None
        assert await bench.inbox.body(event_id) is None
        assert await bench.inbox.dispatches(event_id) == []
    assert await bench.inbox.event(young) is not None
    found = await audited(bench)
    assert found.balances, found
    assert found.books.pruned == {"dispatched": 1, "ignored": 1}
    assert (found.books.received, found.books.duplicates) == (3, 1)
    again = await bench.send("sent", 1, source_id="a")
    assert again not in old  # deduplication lasts as long as the event is retained


async def test_what_is_pending_or_dead_or_runs_never_goes(bench: Bench) -> None:
    """Nor does what was merged into a run that is not finished."""
    made = await some_of_everything(bench)  # the run of the dispatched one is not finished
    debounced = Trigger(
        flow="f", deployment="d", name="b", expect=("saved",),
        debounce=Debounce(quiet=timedelta(days=365), key=None),
    )  # fmt: skip
    await bench.deploy(debounced)
    merged, leads = await bench.send("saved"), await bench.send("saved")
    bench.prefect.is_away = True
    await bench.dispatcher.work_off()
    made["accepted"] = (await bench.inbox.record(draft("sent"), accepted=bench.clock()))[0].id
    bench.clock.advance(days=300)
    await retain(bench.inbox, LIMITS, clock=bench.clock, pause_seconds=0)

    for name in ("dispatched", "dead", "pending", "accepted"):
        assert await bench.inbox.event(made[name]) is not None, name
        assert await bench.inbox.body(made[name]) is not None, name
    assert await bench.inbox.event(made["ignored"]) is None
    assert await bench.inbox.event(merged) is not None
    assert await bench.inbox.event(leads) is not None


async def test_bodies_may_go_before_their_events(bench: Bench) -> None:
    """The tracking document stays; the data is not there to be replayed any more."""
    event_id = await bench.send("sent")
    await bench.work()
    running = await bench.send("sent")
    await bench.finish(event_id)
    bench.clock.advance(days=8)
    limits = Limits(events=MONTH, bodies=timedelta(days=7), rejections=MONTH)
    forgotten = await retain(bench.inbox, limits, clock=bench.clock, pause_seconds=0)

    assert forgotten == Forgotten(events=0, bodies=1, rejections=0)
    assert await bench.inbox.track(event_id) is not None
    assert await bench.inbox.body(event_id) is None
    assert await bench.inbox.body(running) is not None
    assert (await audited(bench)).balances


async def test_above_its_size_the_oldest_go_first(bench: Bench) -> None:
    """However young; the door is not stopped, and the file gives its room back."""
    sent = [await bench.send("other", "x" * 20_000) for _ in range(300)]
    await bench.work()
    before = (await bench.inbox.read(gauges)).size_bytes
    # PostgreSQL's tables keep their size after a delete, so that there all that may go goes.
    limits = Limits(events=MONTH, bodies=MONTH, rejections=MONTH, size_bytes=before // 2)
    forgotten = await retain(bench.inbox, limits, clock=bench.clock, pause_seconds=0)

    assert forgotten.events >= 100
    assert await bench.inbox.event(sent[0]) is None
    if not bench.inbox.is_shared:
        assert await bench.inbox.event(sent[-1]) is not None
        assert (await bench.inbox.read(gauges)).size_bytes <= before // 2
    assert (await audited(bench)).balances


async def test_old_rejections_go(bench: Bench) -> None:
    """They are for looking at."""
    for age in (40, 10):
        at = START - timedelta(days=age)
        row = Rejection(
            id=id_at(to_micros(at)), at=at, door="d", remote="r", status=401, reason="x", detail="", size=0
        )
        await bench.inbox.reject([row])
    forgotten = await retain(bench.inbox, LIMITS, clock=bench.clock, pause_seconds=0)

    assert forgotten.rejections == 1
    [left] = await bench.inbox.rejections(limit=10)
    assert left.at == START - timedelta(days=10)
    assert (await bench.inbox.totals())["rejections"] == 2
