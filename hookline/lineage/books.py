"""The recorder's books: how far it has read, which gateway records, and what is forgotten."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from hookline.inbox import counting
from hookline.inbox.records import to_micros
from hookline.lineage.rows import chunks, insert_new, upsert
from hookline.lineage.schema import (
    artifacts,
    assets,
    exports,
    flow_runs,
    inputs,
    notes,
    reads,
    task_runs,
    writes,
)


def note(connection: Connection, name: str) -> str | None:
    """Return one of the recorder's notes."""
    return connection.scalar(select(notes.c.value).where(notes.c.name == name))


def write_note(connection: Connection, name: str, value: str) -> None:
    """Write one of the recorder's notes."""
    upsert(connection, notes, [{"name": name, "value": value}])


def take_lease(connection: Connection, name: str, *, owner: str, at: datetime, until: datetime) -> bool:
    """Take or extend a lease that one gateway at a time has; return whether this one has it."""
    key = f"lease {name}"
    insert_new(connection, notes, [{"name": key, "value": ""}])
    current = connection.scalar(select(notes.c.value).where(notes.c.name == key).with_for_update()) or ""
    holder, _, end_us = current.partition(" ")
    if holder not in ("", owner) and int(end_us or 0) > to_micros(at):
        return False
    connection.execute(update(notes).where(notes.c.name == key).values(value=f"{owner} {to_micros(until)}"))
    return True


def prune(connection: Connection, *, before: datetime, limit: int) -> int:
    """Forget flow runs that nothing was heard of since, with all that belongs to them.

    Returns
    -------
    How many runs were forgotten; at `limit` there may be more.
    """
    ids = list(
        connection.scalars(
            select(flow_runs.c.id)
            .where(flow_runs.c.touched_us < to_micros(before))
            .order_by(flow_runs.c.touched_us)
            .limit(limit)
        )
    )
    for part in chunks(ids):
        for table in (inputs, task_runs, reads, writes, artifacts, exports):
            connection.execute(delete(table).where(table.c.flow_run_id.in_(part)))
        connection.execute(delete(flow_runs).where(flow_runs.c.id.in_(part)))
    _prune_leftovers(connection, before, limit)
    counting.add(connection, "lineage_pruned", len(ids))
    return len(ids)


def _prune_leftovers(connection: Connection, before: datetime, limit: int) -> None:
    """Forget old writes of runs that are not known, and assets that nothing was heard of since."""
    before_us = to_micros(before)
    old = list(connection.scalars(select(writes.c.id).where(writes.c.at_us < before_us).limit(limit)))
    for part in chunks(old):
        connection.execute(delete(reads).where(reads.c.write_id.in_(part)))
        connection.execute(delete(writes).where(writes.c.id.in_(part)))
    keys = list(connection.scalars(select(assets.c.key).where(assets.c.last_us < before_us).limit(limit)))
    for part in chunks(keys):
        connection.execute(delete(assets).where(assets.c.key.in_(part)))
