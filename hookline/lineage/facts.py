"""Collecting what an OpenLineage event tells of a run, from our own tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from sqlalchemy import Connection, select

from hookline.inbox.schema import events
from hookline.lineage import reading, store
from hookline.lineage.causes import cause_of
from hookline.lineage.openlineage import CausingEvent, Dataset, RunFacts
from hookline.lineage.records import FlowRun

#: Runs between a run and the root of its chain: the deepest chain of events, with calls in between.
CHAIN = 64
#: Datasets of one event.
DATASETS = 1_000


def collect_facts(connection: Connection, run_id: str) -> RunFacts | None:
    """Return what is known of a run, or None where it is not known any more."""
    run = store.known_flow_runs(connection, [run_id]).get(run_id)
    if run is None:
        return None
    causing = _events_of(connection, run_id)
    chain = _chain(connection, run)
    outputs, inputs = _datasets(connection, run_id)
    return RunFacts(
        run=run,
        cause=cause_of(run, dispatched=bool(causing)),
        events=causing,
        parent=chain[0] if chain else None,
        root=chain[-1] if chain else None,
        inputs=inputs,
        outputs=outputs,
    )


def _events_of(connection: Connection, run_id: str) -> list[CausingEvent]:
    """Return the events that started a run, its leading one first, then those merged into it."""
    started = reading.dispatches_of_runs(connection, [run_id])
    merged = reading.dispatches_merged_into(connection, [row.id for row in started], limit=DATASETS)
    order = [row.event_id for row in (*started, *merged)]
    found = {row.id: row for row in reading.events_by_id(connection, order)}
    return [
        CausingEvent(row.id, row.type, row.source) for key in order if (row := found.get(key)) is not None
    ]


def _chain(connection: Connection, run: FlowRun) -> list[FlowRun]:
    """Return the runs that led to a run, the nearest first."""
    chain: list[FlowRun] = []
    seen = {run.id}
    current = run
    while len(chain) < CHAIN:
        above = current.parent_flow_run_id or _sender_of(connection, current.id)
        if above is None or above in seen:
            break
        seen.add(above)
        # A run that is not known (any more) still has its id.
        current = store.known_flow_runs(connection, [above]).get(above) or FlowRun(id=above)
        chain.append(current)
    return chain


def _sender_of(connection: Connection, run_id: str) -> str | None:
    """Return the run that sent the event that started this one."""
    started = reading.dispatches_of_runs(connection, [run_id])
    senders = connection.scalars(
        select(events.c.cause_flow_run).where(
            events.c.id.in_([row.event_id for row in started]), events.c.cause_flow_run.is_not(None)
        )
    )
    return next(iter(senders), None)


def _datasets(connection: Connection, run_id: str) -> tuple[list[Dataset], list[Dataset]]:
    """Return what a run wrote and what it read for that."""
    written = [row for row in reading.writes_of(connection, [run_id], limit=DATASETS) if row.succeeded]
    read = {
        row.asset_key for row in reading.reads_of(connection, [row.id for row in written], limit=DATASETS)
    }
    details = {row.asset_key: orjson.loads(row.details) for row in written}
    return _known(connection, details, details), _known(connection, read, {})


def _known(
    connection: Connection, keys: Iterable[str], details: dict[str, dict[str, object]]
) -> list[Dataset]:
    wanted: Sequence[str] = sorted(keys)
    rows = {row.key: row for row in reading.assets_by_key(connection, wanted)}
    return [
        Dataset(
            key,
            name=rows[key].name if key in rows else None,
            description=rows[key].description if key in rows else None,
            owners=tuple(orjson.loads(rows[key].owners)) if key in rows else (),
            details=details.get(key, {}),
        )
        for key in wanted
    ]
