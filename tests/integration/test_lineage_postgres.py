"""Lineage on PostgreSQL says what it says on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from hookline.inbox.engine import inbox_url, migrate, open_engine
from hookline.lineage import Direction, Kind, books, outbox, store
from hookline.lineage.facts import collect_facts
from hookline.lineage.openlineage import run_event
from hookline.lineage.records import FlowRun, Input
from tests.support.postgres import PostgresServer
from tests.unit.lineage.support import World, ids, links
from tests.unit.lineage.test_openlineage import a_run, valid


@pytest.fixture
def world(postgres_server: PostgresServer) -> Iterator[World]:
    with postgres_server.database() as address:
        engine = open_engine(inbox_url(address), writing=True)
        migrate(engine)
        with engine.begin() as connection:
            yield World(connection)
        engine.dispose()


def test_a_whole_history_in_every_direction(world: World) -> None:
    """Chain, merged events, calls, assets through time, artifacts, causes."""
    first, merged = world.event("order.placed"), world.event("order.placed")
    run = world.run(first)
    leader = next(row.id for row in world.connection.exec_driver_sql("SELECT id FROM dispatches"))
    world.dispatch(merged, status="merged", merged_into=leader)
    task = world.task(run)
    world.task(run, Input(task, "task_run"))
    world.write(run, "db://orders", task=task)
    world.artifact(run, "figures", task)
    second = world.event("orders.stored", by=run, task=task)
    child = world.run(parent_flow_run_id=world.run(second), parent_task_run_id=task)
    world.write(reader := world.run(auto_scheduled=True), "db://report", "db://orders")

    down = world.graph(Kind.EVENT, first, Direction.DOWN, through_assets=True)
    up = world.graph(Kind.FLOW_RUN, child, Direction.UP)
    came_from = world.graph(Kind.ASSET, "db://report", Direction.UP)

    assert {run, child, reader} <= ids(down, Kind.FLOW_RUN)
    assert ("wrote", f"task_run:{task}", "asset:db://orders") in links(down)
    assert ids(up, Kind.EVENT) == {first, merged, second}
    assert ids(came_from, Kind.FLOW_RUN) == {run, reader}
    assert down.nodes[f"flow_run:{reader}"].facts["cause"]["kind"] == "schedule"
    assert store.event_behind(world.connection, child) == second


def test_news_comes_again_leases_end_and_what_is_old_is_forgotten(world: World) -> None:
    """The statements that differ between the two databases."""
    run = world.run(world.event())
    world.record(FlowRun(id=run, state="RUNNING", state_at=world.clock - timedelta(hours=1)))
    at = world.clock

    assert world.graph(Kind.FLOW_RUN, run).nodes[f"flow_run:{run}"].state == "COMPLETED"
    assert store.unsettled(world.connection, limit=9, before=at + timedelta(hours=1)) == [run]
    assert books.take_lease(world.connection, "recorder", owner="one", at=at, until=at + timedelta(minutes=1))
    assert not books.take_lease(world.connection, "recorder", owner="two", at=at, until=at)
    assert books.prune(world.connection, before=at + timedelta(days=1), limit=9) == 1


def test_runs_wait_in_the_outbox_and_are_valid_events(world: World) -> None:
    """START before the end, in order."""
    run = a_run(settled=True)
    world.record(run, export=True)
    world.record(run, export=True)

    waiting = outbox.waiting_exports(world.connection, limit=9)
    facts = collect_facts(world.connection, run.id)

    assert waiting == [(run.id, "start", 0), (run.id, "end", 0)]
    assert facts is not None
    valid(run_event("end", facts, "prefect"))
