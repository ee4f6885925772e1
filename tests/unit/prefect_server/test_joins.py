"""What belongs to a flow run of Prefect's server comes with it, in one statement, and is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import asyncio, json, sys
from datetime import datetime, timezone
from uuid import UUID
import sqlalchemy as sa
from prefect.server.database import orm_models as orm, provide_database_interface
from prefect.server.models import deployments, flow_runs
from prefect.server.schemas import states
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from hookline.prefect_server import joins

if sys.argv[1] == "joined":
    assert joins.join_what_belongs()
at = datetime(2026, 11, 24, tzinfo=timezone.utc)
common = {"created": at, "updated": at}
def an_id(number):
    return UUID(int=number)
async def main():
    engine = create_async_engine("sqlite+aiosqlite:///" + sys.argv[2])
    statements = 0
    @sa.event.listens_for(engine.sync_engine, "before_cursor_execute")
    def count(*_):
        nonlocal statements
        statements += 1
    async with engine.connect() as connection:
        for table in orm.Base.metadata.tables.values():
            table.indexes.clear()  # some stand for PostgreSQL alone
        await connection.run_sync(orm.Base.metadata.create_all)
        session = AsyncSession(connection, expire_on_commit=False)
        session.add_all([
            orm.WorkPool(id=an_id(1), name="pool", type="warm", base_job_template={"a": 1}, **common),
            orm.WorkQueue(id=an_id(2), name="queue", priority=1, work_pool_id=an_id(1), **common),
            orm.Flow(id=an_id(3), name="flow", **common),
            orm.Deployment(id=an_id(4), name="daily", flow_id=an_id(3), work_queue_id=an_id(2), **common),
        ])
        await session.commit()
        for number, queue, result in ((10, an_id(2), "kept"), (20, None, None)):
            artifact = None
            if result is not None:
                artifact = an_id(number + 2)
                session.add(orm.Artifact(id=artifact, key="result", data=result, **common))
            session.add(orm.FlowRun(id=an_id(number), flow_id=an_id(3), name=f"run-{number}",
                                    deployment_id=an_id(4), work_queue_id=queue, **common))
            await session.commit()
            session.add(orm.FlowRunState(id=an_id(number + 1), flow_run_id=an_id(number), timestamp=at,
                                         type="COMPLETED", name="Completed", result_artifact_id=artifact,
                                         **common))
            await session.commit()
            run = orm.FlowRun
            await session.execute(sa.update(run).where(run.id == an_id(number))
                                  .values(state_id=an_id(number + 1), state_type="COMPLETED"))
        session.add(orm.FlowRun(id=an_id(30), flow_id=an_id(3), name="bare", **common))
        await session.commit()
        session.expunge_all()
        seen, costs = [], []
        def tell(run):
            queue = run.work_queue
            return [run.name, run.state and [run.state.name, run.state.data],
                    queue and [queue.name, queue.work_pool.name, queue.work_pool.base_job_template]]
        for number in (10, 20, 30):
            before = statements
            seen.append(tell(await flow_runs.read_flow_run(session=session, flow_run_id=an_id(number))))
            costs.append(statements - before)
            session.expunge_all()
        listed = await flow_runs.read_flow_runs(session=session)
        seen.append(sorted(map(tell, listed), key=str))
        session.expunge_all()
        before = statements
        made = await deployments.read_deployment(session=session, deployment_id=an_id(4))
        costs.append(statements - before)
        seen.append([made.name, made.work_queue.name, made.work_queue.work_pool.name, made.schedules])
        await session.close()
    await engine.dispose()
    print(json.dumps([seen, costs]))
asyncio.run(main())
"""


def what_is_read(way: str, folder: Path) -> tuple[list[object], list[int]]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, way, str(folder / f"{way}.db")],
        capture_output=True,
        text=True,
        env={"PATH": "", "PREFECT_HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    seen, costs = json.loads(done.stdout)
    return seen, costs


def test_what_belongs_to_a_row_is_read_with_it(tmp_path: Path) -> None:
    """A run with all that can belong to one, one without a queue, one with nothing; lists; a deployment."""
    stock, costs_of_stock = what_is_read("stock", tmp_path)
    joined, costs = what_is_read("joined", tmp_path)
    assert joined == stock
    assert joined[0] == ["run-10", ["Completed", "kept"], ["queue", "pool", {"a": 1}]]
    assert joined[2] == ["bare", None, None]
    assert costs_of_stock == [5, 2, 1, 4]
    # A deployment's schedules are many, and stay a statement of their own.
    assert costs == [1, 1, 1, 2]


@pytest.mark.parametrize(("address", "joins"), [("", True), ("postgresql+asyncpg://u@h/d", False)])
def test_it_is_done_on_sqlite_alone(tmp_path: Path, address: str, joins: bool) -> None:
    """PostgreSQL refuses to lock rows of an outer join."""
    program = "from hookline.prefect_server import joins; print(joins.join_what_belongs())"
    env = {"PATH": "", "PREFECT_HOME": str(tmp_path)}
    if address:
        env["PREFECT_API_DATABASE_CONNECTION_URL"] = address
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert done.stdout == f"{joins}\n", done.stderr
