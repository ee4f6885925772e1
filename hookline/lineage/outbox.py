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
            {"flow_run_id": run_id, "step": step, "created_us": moment, "due_us": moment, "attempts": 0}
            for run_id, step in steps
        ],
    )
    surplus = int(connection.scalar(select(func.count()).select_from(exports)) or 0) - WAITING
    if surplus > 0:
        oldest = connection.execute(
            select(exports.c.flow_run_id, exports.c.step).order_by(exports.c.created_us).limit(surplus)
        ).all()
        forget_exports(connection, [(row.flow_run_id, row.step) for row in oldest])
        counting.add(connection, "openlineage_left_out", len(oldest))


def due_exports(connection: Connection, *, at: datetime, limit: int) -> list[tuple[str, str, int]]:
    """Return what is to be sent now: flow run, step, and how often it was tried."""
    rows = connection.execute(
        select(exports)
        .where(exports.c.due_us <= to_micros(at))
        .order_by(exports.c.created_us, exports.c.step.desc())
        .limit(limit)
    )
    return [(row.flow_run_id, row.step, row.attempts) for row in rows]


def forget_exports(connection: Connection, sent: Sequence[tuple[str, str]]) -> None:
    """Take events out of the outbox."""
    for step in ("start", "end"):
        for part in chunks([run_id for run_id, its_step in sent if its_step == step]):
            connection.execute(delete(exports).where(exports.c.flow_run_id.in_(part), exports.c.step == step))


def postpone_exports(connection: Connection, failed: Sequence[tuple[str, str]], *, due: datetime) -> None:
    """Let events wait until they are tried again."""
    for run_id, step in failed:
        connection.execute(
            update(exports)
            .where(exports.c.flow_run_id == run_id, exports.c.step == step)
            .values(due_us=to_micros(due), attempts=exports.c.attempts + 1)
        )
