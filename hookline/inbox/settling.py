"""Claiming dispatches and settling them: each step commits by itself, so a crash between two repeats one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select, text, update

from hookline.inbox import chain, holding
from hookline.inbox.reading import dispatch_from_row
from hookline.inbox.records import Dispatch, DispatchStatus, storable, to_micros
from hookline.inbox.schema import PENDING, dispatches
from hookline.inbox.standing import refresh_status

RESPONSE_LIMIT = 2000
REASON_LIMIT = 1000


def claim(
    connection: Connection, *, lane: str, limit: int, at: datetime, owner: str, lease: timedelta
) -> list[Dispatch]:
    """Lease a lane's first pending dispatches that nobody else holds.

    Parameters
    ----------
    lane: `flow/deployment`.
    limit: at most this many.
    at: now; a lease that ended before it is nobody's.
    """
    ids = connection.scalars(
        select(dispatches.c.id)
        .where(text(PENDING), dispatches.c.lane == lane, *_is_free(at))
        .order_by(dispatches.c.place)
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
        select(dispatches).where(dispatches.c.id.in_(ids)).order_by(dispatches.c.place, dispatches.c.id)
    )
    return [dispatch_from_row(row) for row in rows]


def _is_free(at: datetime) -> tuple[ColumnElement[bool], ...]:
    now_us = to_micros(at)
    return (
        or_(dispatches.c.due_us.is_(None), dispatches.c.due_us <= now_us),
        or_(dispatches.c.lease_until_us.is_(None), dispatches.c.lease_until_us <= now_us),
    )


def waiting_lanes(connection: Connection, *, at: datetime) -> list[str]:
    """Return the lanes with pending dispatches that may be claimed."""
    # From lane to lane along the index: in a burst there are few lanes and very many dispatches.
    walk = select(func.min(dispatches.c.lane).label("lane")).where(text(PENDING)).cte("walk", recursive=True)
    following = (
        select(func.min(dispatches.c.lane))
        .where(text(PENDING), dispatches.c.lane > walk.c.lane)
        .correlate(walk)
        .scalar_subquery()
    )
    walk = walk.union_all(select(following).where(walk.c.lane.is_not(None)))
    lanes = connection.scalars(select(walk.c.lane).where(walk.c.lane.is_not(None))).all()
    free = _is_free(at)
    return [
        lane
        for lane in lanes
        if connection.scalar(
            select(dispatches.c.id)
            .where(text(PENDING), dispatches.c.lane == lane, *free)
            .order_by(dispatches.c.place)
            .limit(1)
        )
    ]


def renew_leases(
    connection: Connection, dispatch_ids: Sequence[str], *, owner: str, at: datetime, lease: timedelta
) -> set[str]:
    """Extend the leases that a living gateway holds; return the ids of those that it still has."""
    ours = (
        text(PENDING),
        dispatches.c.id.in_(dispatch_ids),
        dispatches.c.lease_owner == owner,
    )
    connection.execute(update(dispatches).where(*ours).values(lease_until_us=to_micros(at + lease)))
    return set(connection.scalars(select(dispatches.c.id).where(*ours)))


def release_leases(
    connection: Connection, *, owner: str | None = None, ids: Sequence[str] | None = None
) -> int:
    """Give leases back: those of one gateway, of some dispatches, or, where nobody else can be, all.

    With all of them, waits between attempts end too: a clock that was ahead may have set them.
    """
    is_leased = dispatches.c.lease_owner.is_not(None)
    if owner is None and ids is None:
        everything = update(dispatches).where(text(PENDING), is_leased | dispatches.c.due_us.is_not(None))
        free = everything.values(lease_owner=None, lease_until_us=None, due_us=None)
        return connection.execute(free).rowcount
    statement = update(dispatches).where(text(PENDING), is_leased)
    if owner is not None:
        statement = statement.where(dispatches.c.lease_owner == owner)
    if ids is not None:
        statement = statement.where(dispatches.c.id.in_(ids))
    return connection.execute(statement.values(lease_owner=None, lease_until_us=None)).rowcount


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
) -> bool:
    """Write that Prefect acknowledged the dispatch's run; False where it was settled before."""
    settled = _settle(
        connection,
        dispatch,
        status=DispatchStatus.STARTED.value,
        reason=None,
        flow_run_id=flow_run_id,
        flow_run_name=storable(flow_run_name),
        deployment_id=deployment_id,
        run_created_us=to_micros(created),
        state=state,
        state_as_of_us=to_micros(at),
    )
    if settled:
        refresh_status(connection, [dispatch.event_id])
    return settled


def settle_dead(
    connection: Connection, dispatch: Dispatch, *, reason: str, response: str, at: datetime
) -> set[str]:
    """Write that the dispatch gave up, and why; return the lanes in which others may go on for it."""
    if dispatch.concurrency_key is not None:
        holding.lock(connection)
    settled = _settle(
        connection,
        dispatch,
        status=DispatchStatus.DEAD.value,
        reason=storable(reason[:REASON_LIMIT]),
        response=storable(response[:RESPONSE_LIMIT]),
        finished_us=to_micros(at),
    )
    if not settled:
        return set()
    refresh_status(connection, [dispatch.event_id])
    rows = connection.execute(select(dispatches).where(dispatches.c.id == dispatch.id)).all()
    return holding.release_keys(connection, rows)


def settle_retry(
    connection: Connection, dispatch: Dispatch, *, reason: str, due: datetime, keep_lease: bool
) -> None:
    """Write that an attempt failed for now, and when the next one is."""
    values: dict[str, Any] = {
        "attempts": dispatches.c.attempts + 1,
        "reason": storable(reason[:REASON_LIMIT]),
        "due_us": to_micros(due),
    }
    if not keep_lease:
        values |= {"lease_owner": None, "lease_until_us": None}
    connection.execute(
        update(dispatches).where(dispatches.c.id == dispatch.id, text(PENDING)).values(**values)
    )


def _settle(connection: Connection, dispatch: Dispatch, **values: Any) -> bool:
    result = connection.execute(
        update(dispatches)
        .where(dispatches.c.id == dispatch.id, text(PENDING))
        .values(
            attempts=dispatches.c.attempts + 1,
            due_us=None,
            lease_owner=None,
            lease_until_us=None,
            **values,
        )
    )
    if result.rowcount == 1:
        chain.note_settled(connection, "id", dispatch.id)
    return result.rowcount == 1
