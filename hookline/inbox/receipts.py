"""Receipts: how long the newest events took from acceptance to each step."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, select

from hookline.inbox.schema import dispatches, events

#: In the order in which they come. A flow without tasks has no first one.
STEPS = ("routed", "run_created", "run_started", "first_task", "finished")


def finished_receipts(connection: Connection, *, limit: int) -> list[dict[str, float]]:
    """Return seconds from acceptance to each step, for the runs of the newest events that are finished.

    Each has all of its steps, so that percentiles of them are about the same runs. Replays do not count.
    """
    newest = (
        select(events.c.id, events.c.accepted_us, events.c.routed_us)
        .order_by(events.c.id.desc())
        .limit(limit)
        .subquery()
    )
    ran = dispatches.c
    rows = connection.execute(
        select(newest, ran.run_created_us, ran.run_started_us, ran.first_task_us, ran.finished_us)
        .join(dispatches, (ran.event_id == newest.c.id) & (ran.replay == 0))
        # A dispatch that died has an end too, but no run; a run that was cancelled early has no start.
        .where(
            newest.c.routed_us.is_not(None),
            ran.run_created_us.is_not(None),
            ran.run_started_us.is_not(None),
            ran.finished_us.is_not(None),
        )
    )
    return [_receipt(row._mapping) for row in rows]


def _receipt(row: RowMapping) -> dict[str, float]:
    receipt: dict[str, float] = {}
    latest = row["accepted_us"]
    for step in STEPS:
        if (moment := row[f"{step}_us"]) is not None:
            # Prefect's clock may be behind ours, and then a step before the one that led to it.
            latest = max(latest, moment)
            receipt[step] = (latest - row["accepted_us"]) / 1_000_000
    return receipt
