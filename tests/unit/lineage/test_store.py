"""The store: what is kept, for how long, and who may write it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from hookline.lineage import Kind, books, store
from hookline.lineage.records import Asset, FlowRun, Input
from hookline.lineage.schema import artifacts, assets, exports, flow_runs, inputs, reads, task_runs, writes
from tests.unit.lineage.support import START, World, ids, some_id

ALL = (flow_runs, task_runs, inputs, writes, reads, artifacts, exports, assets)


def counts(world: World) -> dict[str, int]:
    return {
        table.name: int(world.connection.scalar(select(func.count()).select_from(table)) or 0)
        for table in ALL
    }


def a_full_run(world: World) -> str:
    run = world.run()
    task = world.task(run, Input(some_id(), "task_run"))
    world.write(run, "db://b", "db://a", task=task)
    world.artifact(run, "figures", task)
    return run


def test_observations_may_come_again(world: World) -> None:
    """The stream, its backfill and the stored events overlap; nothing is kept twice."""
    run, event = world.run(), world.event()
    write = world.write(run, "db://a", "db://b")
    before = counts(world)

    world.write(run, "db://a", "db://b", id=write)
    world.record(FlowRun(id=run, state="COMPLETED", state_at=START))

    assert counts(world) == before
    assert event not in ids(world.graph(Kind.FLOW_RUN, run), Kind.EVENT)


def test_an_asset_is_as_it_was_declared_last(world: World) -> None:
    """A newer description replaces an older one, and silence replaces nothing."""
    late, early = START + timedelta(hours=2), START
    world.record(Asset(key="db://a", name="new", owners=("ann",), at=late))
    world.record(Asset(key="db://a", name="old", description="old words", at=early))
    world.record(Asset(key="db://a", at=late + timedelta(hours=1)))

    facts = world.graph(Kind.ASSET, "db://a").nodes["asset:db://a"].facts

    assert (facts["name"], facts["owners"]) == ("new", ["ann"])


def test_what_nothing_was_heard_of_for_long_is_forgotten_with_all_that_belongs_to_it(world: World) -> None:
    """Whole runs go, never parts of one; a younger run stays as it was."""
    a_full_run(world)
    world.clock += timedelta(days=31)
    kept = a_full_run(world)

    pruned = books.prune(world.connection, before=world.clock - timedelta(days=30), limit=100)

    assert pruned == 1
    assert counts(world) == {
        "lineage_flow_runs": 1, "lineage_task_runs": 1, "lineage_inputs": 1, "lineage_writes": 1,
        "lineage_reads": 1, "lineage_artifacts": 1, "lineage_exports": 0, "lineage_assets": 2,
    }  # fmt: skip
    assert ids(world.graph(Kind.FLOW_RUN, kept), Kind.ASSET) == {"db://a", "db://b"}


def test_forgetting_goes_in_small_steps(world: World) -> None:
    """One transaction forgets so many runs at most, and says whether there may be more."""
    for _ in range(5):
        world.run()
    later = world.clock + timedelta(days=1)

    assert [books.prune(world.connection, before=later, limit=2) for _ in range(3)] == [2, 2, 1]


def test_an_asset_that_nobody_touches_any_more_is_forgotten(world: World) -> None:
    """Keys that hold a date would otherwise pile up for ever."""
    a_full_run(world)

    books.prune(world.connection, before=world.clock + timedelta(days=1), limit=100)

    assert not any(counts(world).values())


def test_one_gateway_records(world: World) -> None:
    """A lease that ends gives another its turn."""

    def take(owner: str, minutes: int) -> bool:
        at = START + timedelta(minutes=minutes)
        return books.take_lease(
            world.connection, "recorder", owner=owner, at=at, until=at + timedelta(minutes=2)
        )

    assert take("one", 0)
    assert not take("two", 1)
    assert take("one", 1)
    assert not take("two", 2)
    assert take("two", 4)
    assert not take("one", 5)


def test_the_event_behind_a_run_is_found_through_its_callers(world: World) -> None:
    """A deployment that a run called sends events too; what began it all is their cause."""
    event = world.event()
    run = world.run(event)
    child = world.run(parent_flow_run_id=run)
    grandchild = world.run(parent_flow_run_id=child)

    assert store.event_behind(world.connection, grandchild) == event
    assert store.event_behind(world.connection, world.run()) is None


def test_prefect_is_asked_about_runs_that_are_new_or_have_ended(world: World) -> None:
    """Not about those that a dispatch started: the inbox knows why they exist."""
    scheduled, dispatched = some_id(), some_id()
    first = world.record(
        FlowRun(id=scheduled, state="RUNNING", state_at=START),
        FlowRun(id=dispatched, state="COMPLETED", state_at=START, tags=("event:0197",)),
    )
    again = world.record(FlowRun(id=dispatched, state="COMPLETED", state_at=START, settled=True))

    assert [run.id for run in first.new] == [scheduled]
    assert first.finished.keys() == {dispatched}
    assert not again.finished


def test_runs_that_fell_silent_are_found(world: World) -> None:
    """The longest untouched first; settled ones are left alone."""
    settled = world.run(settled=True)
    silent = world.run(state="RUNNING")

    found = store.unsettled(world.connection, limit=10, before=world.clock + timedelta(minutes=1))

    assert found == [silent]
    assert settled not in found
