"""An insert of Prefect's server is compiled once, and writes what SQLAlchemy's own way would have written."""

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
from prefect.server.database import orm_models as orm
from prefect.server.database.query_components import AioSqliteQueryComponents
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.sql.compiler import SQLCompiler
from hookline.prefect_server import inserts, statements

if sys.argv[1] == "ours":
    statements.visit_once()
    inserts.compile_once()
compiled = 0
visit_insert = SQLCompiler.visit_insert
def counted(self, statement, **more):
    global compiled
    compiled += 1
    return visit_insert(self, statement, **more)
SQLCompiler.visit_insert = counted
queries = AioSqliteQueryComponents()
at = datetime(2026, 11, 24, tzinfo=timezone.utc)
def an_id(number):
    return UUID(int=number)
def log(number, **more):
    return {"id": an_id(number), "name": f"log-{number}", "level": 20, "message": "said",
            "timestamp": at, "flow_run_id": None, "task_run_id": None, **more}
def task_run(number, name, second):
    return {"id": an_id(number), "name": name, "task_key": "key", "dynamic_key": str(number),
            "flow_run_id": None, "task_version": None if number % 2 else "1", "created": at, "updated": at,
            "state_timestamp": at.replace(second=second)}
def upsert(rows):
    made = queries.insert(orm.TaskRun).values(rows)
    return made.on_conflict_do_update(
        index_elements=["id"],
        set_={name: sa.func.coalesce(getattr(made.excluded, name), getattr(orm.TaskRun, name))
              for name in ("name", "task_version", "state_timestamp")},
        where=orm.TaskRun.state_timestamp < made.excluded.state_timestamp,
    )
async def main():
    engine = create_async_engine("sqlite+aiosqlite:///" + sys.argv[2])
    seen, compilations = [], []
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: orm.Base.metadata.create_all(
            sync, tables=[each.__table__ for each in (orm.Log, orm.TaskRun, orm.Flow, orm.Variable)]))
        session = AsyncSession(connection)
        async def run(statement):
            before = compiled
            try:
                result = await session.execute(statement)
                seen.append(result.rowcount)
            except sa.exc.IntegrityError as refused:
                seen.append(str(refused.orig))
            compilations.append(compiled - before)
        for number in (1, 4):
            await run(queries.insert(orm.Log).values([log(number), log(number + 1, message="None, too")]))
        await run(queries.insert(orm.Log).values([log(7)]))
        for number, name in ((1, "one"), (2, "two"), (3, "one")):
            await run(queries.insert(orm.Flow).values(id=an_id(number), name=name, created=at, updated=at)
                      .on_conflict_do_nothing(index_elements=["name"]))
        await run(upsert([task_run(1, "first", 1), task_run(2, "first", 1)]))
        await run(upsert([task_run(1, "second", 2), task_run(2, "too late", 0), task_run(3, "new", 5)]))
        for value in ({"a": 1}, None):
            await run(queries.insert(orm.Variable)
                      .values(name=str(value), value=value, created=at, updated=at))
        for name in ("three", "four"):  # a value of its own: never the one of the time before
            await run(queries.insert(orm.Flow).values(id=an_id(1), name=name, created=at, updated=at)
                      .on_conflict_do_update(index_elements=["id"], set_={"name": name + "!"}))
        await run(queries.insert(orm.Log).values([log(8), log(9, message=sa.func.upper("said"))]))
        await run(queries.insert(orm.Log).values([log(10), log(1)]))
        for table, columns in (("log", "id, name, message, flow_run_id"), ("flow", "id, name"),
                               ("task_run", "id, name, task_version, run_count, tags, state_timestamp"),
                               ("variable", "name, value")):
            rows = await session.execute(sa.text(f"SELECT {columns} FROM {table} ORDER BY 1"))
            # The row before a refused one goes with its transaction.
            seen.append([list(map(str, row)) for row in rows if str(row[0]) != str(an_id(10))])
        await session.close()
    await engine.dispose()
    print(json.dumps([seen, compilations]))
asyncio.run(main())
"""


def what_happens(way: str, folder: Path) -> tuple[list[object], list[int]]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, way, str(folder / f"{way}.db")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seen, compilations = json.loads(done.stdout)
    return seen, compilations


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[object], list[int]]]:
    folder = tmp_path_factory.mktemp("inserts")
    return {way: what_happens(way, folder) for way in ("stock", "ours")}


def test_what_is_written_is_the_same(both: dict[str, tuple[list[object], list[int]]]) -> None:
    """Rows, defaults, NULLs, JSON, upserts with and without values of their own, and the refusal."""
    assert both["ours"][0] == both["stock"][0]


def test_each_kind_of_insert_is_compiled_once(both: dict[str, tuple[list[object], list[int]]]) -> None:
    """Logs, two and one; flows; task runs; variables; flows again; logs where a value is an expression."""
    assert both["stock"][1] == [1] * len(both["stock"][1])
    assert both["ours"][1] == [1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0]
