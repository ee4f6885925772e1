"""Claiming dispatches and settling them: each step commits by itself, so a crash between two repeats one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, or_, select, update

from hookline.inbox import routing
from hookline.inbox.reading import dispatch_from_row
from hookline.inbox.records import (
    TERMINAL_STATES,
    Dispatch,
    DispatchStatus,
    RunSeen,
    to_micros,
)
from hookline.inbox.schema import dispatches

RESPONSE_LIMIT = 2000


def claim(
    connection: Connection, *, lane: str, limit: int, at: datetime, owner: str, lease: timedelta
) -> list[Dispatch]:
    """Lease a lane's oldest pending dispatches that nobody else holds.

    Parameters
    ----------
    lane: `flow/deployment`.
    limit: at most this many.
    at: now; a lease that ended before it is nobody's.
    """
    now_us = to_micros(at)
    ids = connection.scalars(
        select(dispatches.c.id)
        .where(
            dispatches.c.status == DispatchStatus.PENDING.value,
            dispatches.c.lane == lane,
            or_(dispatches.c.due_us.is_(None), dispatches.c.due_us <= now_us),
            or_(dispatches.c.lease_until_us.is_(None), dispatches.c.lease_until_us <= now_us),
        )
        .order_by(dispatches.c.event_id, dispatches.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if not ids:
        return []
    connection.execute(
        update(dispatches)
        .where(dispatches.c.id.in_(ids))
        .values(lease_owner=owner, lease_until_us=to_micros(at + lease))
    )
    rows = connection.execute(
        select(dispatches).where(dispatches.c.id.in_(ids)).order_by(dispatches.c.event_id, dispatches.c.id)
    )
    return [dispatch_from_row(row) for row in rows]


def renew_leases(connection: Connection, *, owner: str, at: datetime, lease: timedelta) -> int:
    """Extend the leases that a living gateway holds."""
    result = connection.execute(
        update(dispatches)
        .where(
            dispatches.c.status == DispatchStatus.PENDING.value,
            dispatches.c.lease_owner == owner,
            dispatches.c.lease_until_us > to_micros(at),
        )
        .values(lease_until_us=to_micros(at + lease))
    )
    return result.rowcount


def release_leases(
    connection: Connection, *, owner: str | None = None, ids: Sequence[str] | None = None
) -> int:
    """Give leases back: those of one gateway, of some dispatches, or, where nobody else can be, all."""
    statement = update(dispatches).where(dispatches.c.status == DispatchStatus.PENDING.value)
    if owner is not None:
        statement = statement.where(dispatches.c.lease_owner == owner)
    if ids is not None:
        statement = statement.where(dispatches.c.id.in_(ids))
    return connection.execute(statement.values(lease_owner=None, lease_until_us=None)).rowcount


def waiting_lanes(connection: Connection, *, at: datetime) -> dict[str, int]:
    """Return the lanes with pending dispatches that nobody holds, and how many there are."""
    now_us = to_micros(at)
    rows = connection.execute(
        select(dispatches.c.lane, func.count())
        .where(
            dispatches.c.status == DispatchStatus.PENDING.value,
            or_(dispatches.c.lease_until_us.is_(None), dispatches.c.lease_until_us <= now_us),
        )
        .group_by(dispatches.c.lane)
    )
    return dict(rows.tuples().all())


def settle_started(
    connection: Connection,
    dispatch: Dispatch,
    *,
    flow_run_id: str,
    flow_run_name: str,
    deployment_id: str,
    state: str,
    created: datetime,
    at: datetime,
) -> None:
    """Write that Prefect acknowledged the dispatch's run."""
    connection.execute(
        update(dispatches)
        .where(dispatches.c.id == dispatch.id, dispatches.c.status == DispatchStatus.PENDING.value)
        .values(
            status=DispatchStatus.STARTED.value,
            attempts=dispatches.c.attempts + 1,
            reason=None,
            response=None,
            due_us=None,
            lease_owner=None,
            lease_until_us=None,
            flow_run_id=flow_run_id,
            flow_run_name=flow_run_name,
            deployment_id=deployment_id,
            run_created_us=to_micros(created),
            state=state,
            state_as_of_us=to_micros(at),
        )
    )
    routing.refresh_status(connection, [dispatch.event_id])


def settle_retry(
    connection: Connection, dispatch: Dispatch, *, reason: str, due: datetime, keep_lease: bool
) -> None:
    """Write that an attempt failed for now, and when the next one is."""
    values: dict[str, object] = {
        "attempts": dispatches.c.attempts + 1,
        "reason": reason,
        "due_us": to_micros(due),
    }
    if not keep_lease:
        values |= {"lease_owner": None, "lease_until_us": None}
    connection.execute(
        update(dispatches)
        .where(dispatches.c.id == dispatch.id, dispatches.c.status == DispatchStatus.PENDING.value)
        .values(**values)
    )


def settle_dead(
    connection: Connection, dispatch: Dispatch, *, reason: str, response: str, at: datetime
) -> None:
    """Write that the dispatch gave up, and why; the next one of its key may go on."""
    connection.execute(
        update(dispatches)
        .where(dispatches.c.id == dispatch.id, dispatches.c.status == DispatchStatus.PENDING.value)
        .values(
            status=DispatchStatus.DEAD.value,
            attempts=dispatches.c.attempts + 1,
            reason=reason,
            response=response[:RESPONSE_LIMIT],
            due_us=None,
            lease_owner=None,
            lease_until_us=None,
            finished_us=to_micros(at),
        )
    )
    routing.refresh_status(connection, [dispatch.event_id])
    rows = connection.execute(select(dispatches).where(dispatches.c.id == dispatch.id)).all()
    routing.release_keys(connection, rows)


def see_runs(connection: Connection, seen: Sequence[RunSeen]) -> list[str]:
    """Write what was seen of runs; return the ids of events whose picture changed.

    News that is older than what is known only fills in times that were missing.
    """
    changed: list[str] = []
    for run in seen:
        row = connection.execute(
            select(dispatches).where(dispatches.c.flow_run_id == run.flow_run_id)
        ).first()
        if row is None:
            continue
        values: dict[str, object] = {}
        as_of_us = to_micros(run.as_of)
        was_final = row.finished_us is not None
        if not (was_final and run.state not in TERMINAL_STATES) and as_of_us >= (row.state_as_of_us or 0):
            values |= {"state": run.state, "state_as_of_us": as_of_us}
        if run.name and run.name != row.flow_run_name:
            values["flow_run_name"] = run.name
        if run.started is not None:
            values["run_started_us"] = _earliest(row.run_started_us, run.started)
        if run.first_task is not None:
            values["first_task_us"] = _earliest(row.first_task_us, run.first_task)
        if run.state in TERMINAL_STATES and not was_final:
            values["finished_us"] = to_micros(run.finished or run.as_of)
        elif run.state not in TERMINAL_STATES and was_final and as_of_us > row.finished_us:
            # Prefect retries a finished run from its UI: it is not finished after all.
            values |= {"finished_us": None, "state": run.state, "state_as_of_us": as_of_us}
        if values:
            connection.execute(update(dispatches).where(dispatches.c.id == row.id).values(**values))
            changed.append(row.event_id)
        if values.get("finished_us") is not None:
            routing.release_keys(connection, [row])
    return changed


def _earliest(known_us: int | None, seen: datetime) -> int:
    return to_micros(seen) if known_us is None else min(known_us, to_micros(seen))
