"""Writing lineage: observations are merged with what is known, inside the inbox's writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select

from hookline.inbox.records import to_micros
from hookline.inbox.schema import dispatches
from hookline.lineage.outbox import queue_exports, steps_to_export
from hookline.lineage.records import (
    TERMINAL,
    Artifact,
    Asset,
    FlowRun,
    Observation,
    TaskRun,
    Write,
    merge_flow_run,
    merge_task_run,
)
from hookline.lineage.rows import (
    flow_run_from_row,
    flow_run_values,
    insert_new,
    rows_by,
    task_run_from_row,
    task_run_values,
    upsert,
)
from hookline.lineage.schema import artifacts, assets, flow_runs, inputs, reads, task_runs, writes


@dataclass(slots=True)
class Applied:
    """What is to be asked of Prefect after observations were written.

    Parameters
    ----------
    new: flow runs that were not known before.
    finished: flow runs that have ended and were not asked for since, with the time of their end.
    """

    new: list[FlowRun] = field(default_factory=list)
    finished: dict[str, datetime] = field(default_factory=dict)


def apply(
    connection: Connection, seen: Sequence[Observation], *, at: datetime, export: bool = False
) -> Applied:
    """Write observations, in any order and as often as they come.

    Parameters
    ----------
    connection: inside the writer's transaction.
    at: now.
    export: put an OpenLineage event into the outbox for each run that has started or ended.
    """
    applied = _apply_flow_runs(connection, [o for o in seen if isinstance(o, FlowRun)], at, export)
    _apply_task_runs(connection, [o for o in seen if isinstance(o, TaskRun)])
    written = [o for o in seen if isinstance(o, Write)]
    _apply_writes(connection, written)
    _apply_assets(connection, [w.asset for w in written] + [o for o in seen if isinstance(o, Asset)])
    _apply_artifacts(connection, [o for o in seen if isinstance(o, Artifact)])
    return applied


def _apply_flow_runs(connection: Connection, seen: Sequence[FlowRun], at: datetime, export: bool) -> Applied:
    applied = Applied()
    if not seen:
        return applied
    rows = {row.id: row for row in rows_by(connection, flow_runs, "id", {run.id for run in seen})}
    known = {run_id: flow_run_from_row(row) for run_id, row in rows.items()}
    for run in seen:
        known[run.id] = merge_flow_run(known.get(run.id), run)
    known = _with_parents(connection, known)
    exported = {run_id: row.exported for run_id, row in rows.items()}
    if export:
        due = steps_to_export(known.values(), exported)
        queue_exports(connection, due, at)
    upsert(
        connection,
        flow_runs,
        [
            {**flow_run_values(run), "exported": exported.get(run.id, 0), "touched_us": to_micros(at)}
            for run in known.values()
        ],
    )
    for run in known.values():
        if run.is_final and not run.settled:
            applied.finished[run.id] = run.finished or at
        elif run.id not in rows and run.auto_scheduled is None:
            applied.new.append(run)
    return applied


def _with_parents(connection: Connection, runs: dict[str, FlowRun]) -> dict[str, FlowRun]:
    """Fill in the flow run of parents whose task run is known."""
    wanted = {
        run.parent_task_run_id
        for run in runs.values()
        if run.parent_task_run_id is not None and run.parent_flow_run_id is None
    }
    if not wanted:
        return runs
    found = {row.id: row.flow_run_id for row in rows_by(connection, task_runs, "id", wanted)}
    return {
        run_id: replace(run, parent_flow_run_id=found[run.parent_task_run_id])
        if run.parent_flow_run_id is None and run.parent_task_run_id in found
        else run
        for run_id, run in runs.items()
    }


def _apply_task_runs(connection: Connection, seen: Sequence[TaskRun]) -> None:
    if not seen:
        return
    known = {
        row.id: task_run_from_row(row)
        for row in rows_by(connection, task_runs, "id", {run.id for run in seen})
    }
    for run in seen:
        known[run.id] = merge_task_run(known.get(run.id), run)
    upsert(connection, task_runs, [task_run_values(run) for run in known.values()])
    insert_new(
        connection,
        inputs,
        [
            {
                "task_run_id": run.id,
                "source_id": given.source_id,
                "kind": given.kind,
                "flow_run_id": run.flow_run_id,
            }
            for run in known.values()
            for given in run.inputs
        ],
    )


def _apply_writes(connection: Connection, seen: Sequence[Write]) -> None:
    insert_new(
        connection,
        writes,
        [
            {
                "id": write.id,
                "asset_key": write.asset.key,
                "flow_run_id": write.flow_run_id,
                "task_run_id": write.task_run_id,
                "at_us": to_micros(write.at),
                "succeeded": write.succeeded,
                "made_by": write.made_by,
                "details": orjson.dumps(dict(write.details)).decode(),
            }
            for write in seen
        ],
    )
    insert_new(
        connection,
        reads,
        [
            {
                "write_id": write.id,
                "asset_key": key,
                "at_us": to_micros(write.at),
                "flow_run_id": write.flow_run_id,
            }
            for write in seen
            for key in dict.fromkeys(write.reads)
        ],
    )
    _apply_assets(connection, [Asset(key=key, at=write.at) for write in seen for key in write.reads])


def _apply_assets(connection: Connection, seen: Sequence[Asset]) -> None:
    if not seen:
        return
    values: dict[str, dict[str, Any]] = {
        row.key: dict(row._mapping)
        for row in rows_by(connection, assets, "key", {asset.key for asset in seen})
    }
    for asset in seen:
        at_us = to_micros(asset.at)
        row = values.setdefault(
            asset.key,
            {"key": asset.key, "name": None, "description": None, "url": None, "owners": "[]",
             "first_us": at_us, "last_us": at_us},
        )  # fmt: skip
        if at_us >= row["last_us"]:
            for name in ("name", "description", "url"):
                row[name] = getattr(asset, name) or row[name]
            if asset.owners:
                row["owners"] = orjson.dumps(asset.owners).decode()
        row["first_us"], row["last_us"] = min(row["first_us"], at_us), max(row["last_us"], at_us)
    upsert(connection, assets, list(values.values()))


def _apply_artifacts(connection: Connection, seen: Sequence[Artifact]) -> None:
    insert_new(
        connection,
        artifacts,
        [
            {
                "id": artifact.id,
                "key": artifact.key,
                "type": artifact.type,
                "flow_run_id": artifact.flow_run_id,
                "task_run_id": artifact.task_run_id,
                "created_us": to_micros(artifact.created),
            }
            for artifact in seen
        ],
    )


def unsettled(connection: Connection, *, limit: int, before: datetime) -> list[str]:
    """Return flow runs that Prefect has to be asked about, the longest untouched first."""
    return list(
        connection.scalars(
            select(flow_runs.c.id)
            .where(~flow_runs.c.settled, flow_runs.c.touched_us < to_micros(before))
            .order_by(flow_runs.c.touched_us)
            .limit(limit)
        )
    )


def known_flow_runs(connection: Connection, ids: Iterable[str]) -> dict[str, FlowRun]:
    """Return those of these flow runs that are known, by id."""
    return {row.id: flow_run_from_row(row) for row in rows_by(connection, flow_runs, "id", ids)}


def task_states(connection: Connection, flow_run_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return how many task runs of each flow run are known to have ended, and how many are under way."""
    counts: dict[str, tuple[int, int]] = {}
    for row in rows_by(connection, task_runs, "flow_run_id", flow_run_ids):
        ended, under_way = counts.get(row.flow_run_id, (0, 0))
        final = row.state in TERMINAL
        counts[row.flow_run_id] = (ended + final, under_way + (not final))
    return counts


def event_behind(connection: Connection, flow_run_id: str) -> str | None:
    """Return the event that led to a flow run: one that started it, or started a run that called it."""
    seen: set[str] = set()
    current: str | None = flow_run_id
    while current is not None and current not in seen:
        seen.add(current)
        event_id = connection.scalar(
            select(dispatches.c.event_id).where(dispatches.c.flow_run_id == current).limit(1)
        )
        if event_id is not None:
            return str(event_id)
        current = connection.scalar(select(flow_runs.c.parent_flow_run_id).where(flow_runs.c.id == current))
    return None
