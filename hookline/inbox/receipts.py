"""Receipts: how long the newest events took from acceptance to each step."""

from __future__ import annotations

from sqlalchemy import Connection, select

from hookline.inbox.schema import dispatches, events

_STEPS = {
    "run_created": dispatches.c.run_created_us,
    "run_started": dispatches.c.run_started_us,
    "first_task": dispatches.c.first_task_us,
    "finished": dispatches.c.finished_us,
}


def recent_receipts(connection: Connection, *, limit: int) -> dict[str, list[float]]:
    """Return seconds from acceptance to each step, of the newest events; replays do not count."""
    newest = (
        select(events.c.id, events.c.accepted_us, events.c.routed_us)
        .order_by(events.c.id.desc())
        .limit(limit)
        .subquery()
    )
    durations: dict[str, list[float]] = {"routed": []}
    for row in connection.execute(select(newest.c.accepted_us, newest.c.routed_us)):
        if row.routed_us is not None:
            durations["routed"].append(_seconds(row.accepted_us, row.routed_us))
    rows = connection.execute(
        select(newest.c.accepted_us, *(column.label(name) for name, column in _STEPS.items())).join(
            dispatches, (dispatches.c.event_id == newest.c.id) & (dispatches.c.replay == 0)
        )
    )
    for row in rows:
        for name in _STEPS:
            moment_us = getattr(row, name)
            # A dispatch that died has an end too, but no run.
            if moment_us is not None and row.run_created is not None:
                durations.setdefault(name, []).append(_seconds(row.accepted_us, moment_us))
    return durations


def _seconds(start_us: int, end_us: int) -> float:
    # Prefect's clock may be behind ours.
    return max(end_us - start_us, 0) / 1_000_000
