"""Rows of lineage's tables as values and back, and the few statements that all of its store is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, Row, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from hookline.inbox.records import optional_moment, to_micros
from hookline.lineage.records import FlowRun, TaskRun

T = TypeVar("T")

#: Values in one IN list.
IN_LIST = 500


def flow_run_from_row(row: Row[Any]) -> FlowRun:
    """Return a row of `lineage_flow_runs` as a value."""
    return FlowRun(
        id=row.id,
        name=row.name,
        flow_name=row.flow_name,
        deployment_id=row.deployment_id,
        deployment_name=row.deployment_name,
        tags=tuple(orjson.loads(row.tags)),
        parent_task_run_id=row.parent_task_run_id,
        parent_flow_run_id=row.parent_flow_run_id,
        auto_scheduled=row.auto_scheduled,
        creator_kind=row.creator_kind,
        creator_name=row.creator_name,
        state=row.state,
        state_name=row.state_name,
        message=row.message,
        state_at=optional_moment(row.state_us),
        created=optional_moment(row.created_us),
        expected=optional_moment(row.expected_us),
        started=optional_moment(row.started_us),
        finished=optional_moment(row.finished_us),
        run_count=row.run_count,
        settled=row.settled,
    )


def task_run_from_row(row: Row[Any]) -> TaskRun:
    """Return a row of `lineage_task_runs` as a value, without its inputs."""
    return TaskRun(
        id=row.id,
        flow_run_id=row.flow_run_id,
        name=row.name,
        state=row.state,
        state_name=row.state_name,
        message=row.message,
        state_at=optional_moment(row.state_us),
        started=optional_moment(row.started_us),
        finished=optional_moment(row.finished_us),
        run_count=row.run_count,
    )


def flow_run_values(run: FlowRun) -> dict[str, Any]:
    """Return a flow run as a row of `lineage_flow_runs`, without its bookkeeping."""
    return {
        "id": run.id,
        "name": run.name,
        "flow_name": run.flow_name,
        "deployment_id": run.deployment_id,
        "deployment_name": run.deployment_name,
        "tags": orjson.dumps(run.tags).decode(),
        "parent_task_run_id": run.parent_task_run_id,
        "parent_flow_run_id": run.parent_flow_run_id,
        "auto_scheduled": run.auto_scheduled,
        "creator_kind": run.creator_kind,
        "creator_name": run.creator_name,
        "state": run.state,
        "state_name": run.state_name,
        "message": run.message,
        "state_us": _micros(run.state_at),
        "created_us": _micros(run.created),
        "expected_us": _micros(run.expected),
        "started_us": _micros(run.started),
        "finished_us": _micros(run.finished),
        "run_count": run.run_count,
        "settled": run.settled,
    }


def task_run_values(run: TaskRun) -> dict[str, Any]:
    """Return a task run as a row of `lineage_task_runs`."""
    return {
        "id": run.id,
        "flow_run_id": run.flow_run_id,
        "name": run.name,
        "state": run.state,
        "state_name": run.state_name,
        "message": run.message,
        "state_us": _micros(run.state_at),
        "started_us": _micros(run.started),
        "finished_us": _micros(run.finished),
        "run_count": run.run_count,
    }


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Part values into lists that a statement takes."""
    for start in range(0, len(values), IN_LIST):
        yield values[start : start + IN_LIST]


def rows_by(connection: Connection, table: Table, column: str, values: Iterable[str]) -> list[Row[Any]]:
    """Return the rows that have one of these values in a column."""
    rows: list[Row[Any]] = []
    for part in chunks(sorted(set(values))):
        rows += connection.execute(select(table).where(table.c[column].in_(part)))
    return rows


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose keys are new."""
    if rows:
        connection.execute(_dialect(connection).insert(table).on_conflict_do_nothing(), list(rows))


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or change those whose keys are there; all rows have the same columns."""
    if not rows:
        return
    statement = _dialect(connection).insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), list(rows))
