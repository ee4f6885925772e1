"""Reading lineage: one statement for many nodes, so that a graph takes a few statements a generation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, func, or_, select

from hookline.inbox.records import DispatchStatus
from hookline.inbox.schema import dispatches, events
from hookline.lineage.rows import chunks
from hookline.lineage.schema import artifacts, assets, flow_runs, inputs, reads, task_runs, writes

Rows = list[Row[Any]]

#: What a graph shows of an event: all but its bytes.
_EVENT = (
    events.c.id, events.c.type, events.c.source, events.c.subject, events.c.status, events.c.accepted_us,
    events.c.cause_event, events.c.cause_flow_run, events.c.cause_task_run,
)  # fmt: skip


def events_by_id(connection: Connection, ids: Iterable[str]) -> Rows:
    """Return events."""
    return _select(connection, _EVENT, events.c.id, ids)


def events_sent_by(connection: Connection, flow_run_ids: Iterable[str], *, limit: int) -> Rows:
    """Return the events that flow runs sent."""
    return _select(connection, _EVENT, events.c.cause_flow_run, flow_run_ids, order=events.c.id, limit=limit)


def dispatches_of_events(connection: Connection, event_ids: Iterable[str], *, limit: int) -> Rows:
    """Return the dispatches of events, without those that `where` has filtered."""
    effective = dispatches.c.status != DispatchStatus.FILTERED.value
    return _all(
        connection,
        dispatches,
        dispatches.c.event_id,
        event_ids,
        effective,
        order=dispatches.c.id,
        limit=limit,
    )


def dispatches_by_id(connection: Connection, ids: Iterable[str]) -> Rows:
    """Return dispatches."""
    return _all(connection, dispatches, dispatches.c.id, ids)


def dispatches_of_runs(connection: Connection, flow_run_ids: Iterable[str]) -> Rows:
    """Return the dispatches that started flow runs."""
    return _all(connection, dispatches, dispatches.c.flow_run_id, flow_run_ids)


def dispatches_merged_into(connection: Connection, ids: Iterable[str], *, limit: int) -> Rows:
    """Return the dispatches that were merged into these."""
    return _all(connection, dispatches, dispatches.c.merged_into, ids, order=dispatches.c.id, limit=limit)


def dispatched_runs(connection: Connection, flow_run_ids: Iterable[str]) -> set[str]:
    """Return which of these flow runs a dispatch started."""
    rows = _select(connection, (dispatches.c.flow_run_id,), dispatches.c.flow_run_id, flow_run_ids)
    return {row.flow_run_id for row in rows}


def flow_runs_by_id(connection: Connection, ids: Iterable[str]) -> Rows:
    """Return flow runs."""
    return _all(connection, flow_runs, flow_runs.c.id, ids)


def flow_runs_called_by(connection: Connection, flow_run_ids: Iterable[str], *, limit: int) -> Rows:
    """Return the subflows of flow runs, and the runs that they started with `run_deployment`."""
    return _all(
        connection, flow_runs, flow_runs.c.parent_flow_run_id, flow_run_ids, order=flow_runs.c.id, limit=limit
    )


def task_runs_of(connection: Connection, flow_run_ids: Iterable[str], *, limit: int) -> Rows:
    """Return the task runs of flow runs, those that started first first."""
    return _all(
        connection,
        task_runs,
        task_runs.c.flow_run_id,
        flow_run_ids,
        order=task_runs.c.started_us,
        limit=limit,
    )


def task_runs_by_id(connection: Connection, ids: Iterable[str]) -> Rows:
    """Return task runs."""
    return _all(connection, task_runs, task_runs.c.id, ids)


def inputs_of(connection: Connection, flow_run_ids: Iterable[str], *, limit: int) -> Rows:
    """Return what the task runs of flow runs were given."""
    return _all(connection, inputs, inputs.c.flow_run_id, flow_run_ids, limit=limit)


def writes_of(connection: Connection, flow_run_ids: Iterable[str], *, limit: int) -> Rows:
    """Return what flow runs wrote, in order of time."""
    return _all(connection, writes, writes.c.flow_run_id, flow_run_ids, order=writes.c.at_us, limit=limit)


def writes_by_id(connection: Connection, ids: Iterable[str]) -> Rows:
    """Return writes."""
    return _all(connection, writes, writes.c.id, ids)


def newest_writes(connection: Connection, asset_key: str, *, limit: int) -> Rows:
    """Return the newest writes of an asset."""
    return list(
        connection.execute(
            select(writes).where(writes.c.asset_key == asset_key).order_by(writes.c.at_us.desc()).limit(limit)
        )
    )


def writes_behind(connection: Connection, write_ids: Iterable[str]) -> dict[str, str]:
    """Return, for each write, no more than the write of each asset it read that was the newest then.

    Returns
    -------
    Ids of those writes, each with the key of its asset.
    """
    earlier = writes.alias("earlier")
    newest = (
        select(earlier.c.id)
        .where(
            earlier.c.asset_key == reads.c.asset_key,
            earlier.c.at_us <= reads.c.at_us,
            earlier.c.id != reads.c.write_id,
            earlier.c.succeeded,
        )
        .order_by(earlier.c.at_us.desc())
        .limit(1)
        .correlate(reads)
        .scalar_subquery()
    )
    found: dict[str, str] = {}
    for part in chunks(sorted(set(write_ids))):
        rows = connection.execute(
            select(newest.label("id"), reads.c.asset_key).where(reads.c.write_id.in_(part))
        )
        found |= {row.id: row.asset_key for row in rows if row.id is not None}
    return found


def reads_of(connection: Connection, write_ids: Iterable[str], *, limit: int) -> Rows:
    """Return the assets that went into writes."""
    return _all(connection, reads, reads.c.write_id, write_ids, limit=limit)


def readers_since(connection: Connection, since_us: dict[str, int], *, limit: int) -> Rows:
    """Return the reads of assets, each from its own time on."""
    found: Rows = []
    for part in chunks(sorted(since_us)):
        later = or_(*(and_(reads.c.asset_key == key, reads.c.at_us >= since_us[key]) for key in part))
        found += connection.execute(select(reads).where(later).order_by(reads.c.at_us).limit(limit))
    return found


def artifacts_of(connection: Connection, flow_run_ids: Iterable[str], *, limit: int) -> Rows:
    """Return the artifacts that flow runs made."""
    return _all(
        connection,
        artifacts,
        artifacts.c.flow_run_id,
        flow_run_ids,
        order=artifacts.c.created_us,
        limit=limit,
    )


def assets_by_key(connection: Connection, keys: Iterable[str]) -> Rows:
    """Return assets."""
    return _all(connection, assets, assets.c.key, keys)


def count_writes(connection: Connection, asset_key: str) -> int:
    """Return how often an asset was written."""
    return int(
        connection.scalar(select(func.count()).select_from(writes).where(writes.c.asset_key == asset_key))
        or 0
    )


def _all(
    connection: Connection,
    table: Table,
    column: ColumnElement[Any],
    values: Iterable[str],
    *more: ColumnElement[bool],
    order: ColumnElement[Any] | None = None,
    limit: int | None = None,
) -> Rows:
    return _select(connection, tuple(table.c), column, values, *more, order=order, limit=limit)


def _select(
    connection: Connection,
    columns: Sequence[ColumnElement[Any]],
    column: ColumnElement[Any],
    values: Iterable[str],
    *more: ColumnElement[bool],
    order: ColumnElement[Any] | None = None,
    limit: int | None = None,
) -> Rows:
    found: Rows = []
    for part in chunks(sorted(set(values))):
        statement = select(*columns).where(column.in_(part), *more)
        if order is not None:
            statement = statement.order_by(order)
        if limit is not None:
            statement = statement.limit(max(limit - len(found), 0))
        found += connection.execute(statement)
    return found
