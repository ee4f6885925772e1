"""The outbox of OpenLineage events: which are still to be sent. They are written when their turn comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from hookline.inbox import counting
from hookline.inbox.records import to_micros
from hookline.lineage.records import FlowRun
from hookline.lineage.rows import chunks, insert_new
from hookline.lineage.schema import exports

#: Events that wait to be sent; beyond, the oldest are given up and counted.
WAITING = 10_000
#: Bits of `exported`.
START, END = 1, 2


def steps_to_export(runs: Iterable[FlowRun], exported: dict[str, int]) -> list[tuple[str, str]]:
    """Return what is to be exported now, once a run: its START, and after its end the terminal event."""
    steps: list[tuple[str, str]] = []
    for run in runs:
        bits = exported.get(run.id, 0)
        if run.state == "GONE" and not bits:
            continue
        if not bits & START and (run.started is not None or run.is_final):
            steps.append((run.id, "start"))
            bits |= START
        # Only when Prefect was asked: before, assets may be missing.
        if not bits & END and run.is_final and run.settled:
            steps.append((run.id, "end"))
            bits |= END
        exported[run.id] = bits
    return steps


def queue_exports(connection: Connection, steps: Sequence[tuple[str, str]], at: datetime) -> None:
    """Put events into the outbox; where too many wait, give up the oldest and count them."""
    if not steps:
        return
    moment = to_micros(at)
    insert_new(
        connection,
        exports,
        [
            {"flow_run_id": run_id, "step": step, "created_us": moment, "attempts": 0}
            for run_id, step in steps
        ],
    )
    surplus = int(connection.scalar(select(func.count()).select_from(exports)) or 0) - WAITING
    if surplus > 0:
        oldest = connection.execute(
            select(exports.c.flow_run_id, exports.c.step).order_by(exports.c.created_us).limit(surplus)
        ).all()
        left_out = [(row.flow_run_id, row.step) for row in oldest]
        forget_exports(connection, left_out, counted="openlineage_left_out")


def waiting_exports(connection: Connection, *, limit: int) -> list[tuple[str, str, int]]:
    """Return what is to be sent next, a run's START before its end: flow run, step, and refusals so far."""
    rows = connection.execute(
        select(exports).order_by(exports.c.created_us, exports.c.step.desc()).limit(limit)
    )
    return [(row.flow_run_id, row.step, row.attempts) for row in rows]


def forget_exports(connection: Connection, sent: Sequence[tuple[str, str]], *, counted: str) -> None:
    """Take events out of the outbox, and count what became of them."""
    for step in ("start", "end"):
        for part in chunks([run_id for run_id, its_step in sent if its_step == step]):
            connection.execute(delete(exports).where(exports.c.flow_run_id.in_(part), exports.c.step == step))
    counting.add(connection, counted, len(sent))


def count_attempt(connection: Connection, run_id: str, step: str) -> None:
    """Count that an event was answered with an error."""
    connection.execute(
        update(exports)
        .where(exports.c.flow_run_id == run_id, exports.c.step == step)
        .values(attempts=exports.c.attempts + 1)
    )
