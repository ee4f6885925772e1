"""Reading the inbox: single events and what became of them, and what recovery needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import orjson
from sqlalchemy import Connection, Row, func, select, text

from hookline.body import read_data
from hookline.event import BodyFormat, Cause, Event
from hookline.inbox.records import (
    Dispatch,
    DispatchStatus,
    EventStatus,
    Rejection,
    StoredBody,
    StoredEvent,
    Tracked,
    first_id_at,
    from_micros,
    optional_moment,
)
from hookline.inbox.schema import DEAD_LETTER, RUNNING, bodies, dispatches, events, rejections


def stored_event(connection: Connection, event_id: str) -> StoredEvent | None:
    """Return an event, or None."""
    row = connection.execute(select(events).where(events.c.id == event_id)).first()
    return None if row is None else event_from_row(row)


def stored_events(connection: Connection, event_ids: Sequence[str]) -> list[StoredEvent]:
    """Return the events among these ids."""
    rows = connection.execute(select(events).where(events.c.id.in_(event_ids)).order_by(events.c.id))
    return [event_from_row(row) for row in rows]


def replayable(connection: Connection, event_id: str) -> Event | None:
    """Return an event with its data, or None where it or its body is not kept any more, or cannot be read."""
    stored = stored_event(connection, event_id)
    if (
        stored is None
        or connection.scalar(select(bodies.c.event_id).where(bodies.c.event_id == event_id)) is None
    ):
        return None
    try:
        return with_data(connection, stored)
    except ValueError:
        return None


def stored_body(connection: Connection, event_id: str) -> StoredBody | None:
    """Return an event's received bytes, or None where there is no such event or its body was pruned."""
    row = connection.execute(select(bodies).where(bodies.c.event_id == event_id)).first()
    if row is None:
        return None
    headers = tuple((name, value) for name, value in orjson.loads(row.headers))
    return StoredBody(bytes(row.body), BodyFormat(row.body_format), row.content_type, headers)


def event_dispatches(connection: Connection, event_ids: Sequence[str]) -> list[Dispatch]:
    """Return the dispatches of events, oldest first."""
    rows = connection.execute(
        select(dispatches)
        .where(dispatches.c.event_id.in_(event_ids))
        .order_by(dispatches.c.replay, dispatches.c.id)
    )
    return [dispatch_from_row(row) for row in rows]


def effects(connection: Connection, event_id: str) -> list[str]:
    """Return the ids of the events that the event's runs sent."""
    return list(
        connection.scalars(select(events.c.id).where(events.c.cause_event == event_id).order_by(events.c.id))
    )


def track(connection: Connection, event_id: str) -> Tracked | None:
    """Return an event with its dispatches and effects, or None."""
    event = stored_event(connection, event_id)
    if event is None:
        return None
    made = event_dispatches(connection, [event_id])
    leader_ids = [dispatch.merged_into for dispatch in made if dispatch.merged_into is not None]
    leaders: dict[str, Dispatch] = {}
    if leader_ids:
        rows = connection.execute(select(dispatches).where(dispatches.c.id.in_(leader_ids)))
        leaders = {row.id: dispatch_from_row(row) for row in rows}
    return Tracked(event, tuple(made), leaders, tuple(effects(connection, event_id)))


def merged_events(connection: Connection, dispatch_id: str, *, limit: int) -> list[str]:
    """Return the ids of the events that were merged into a dispatch, newest first."""
    return list(
        connection.scalars(
            select(dispatches.c.event_id)
            .where(dispatches.c.merged_into == dispatch_id)
            .order_by(dispatches.c.event_id.desc())
            .limit(limit)
        )
    )


def unrouted_events(
    connection: Connection,
    *,
    limit: int,
    limit_bytes: int,
    before: datetime | None = None,
    after: str = "",
) -> tuple[list[Event], list[str]]:
    """Return accepted events that were not routed, oldest first, and the ids of those that cannot be read.

    Parameters
    ----------
    limit, limit_bytes: no more than fit, but at least one.
    before: only those accepted before; another gateway may be about to route younger ones.
    after: id of the last one that was seen already.
    """
    statement = (
        select(events)
        .where(events.c.status == EventStatus.ACCEPTED.value, events.c.id > after)
        .order_by(events.c.id)
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(events.c.id < first_id_at(before))
    found: list[Event] = []
    broken: list[str] = []
    for row in connection.execute(statement).all():
        if (found or broken) and row.size > limit_bytes:
            break
        limit_bytes -= row.size
        try:
            found.append(with_data(connection, event_from_row(row)))
        except ValueError:
            broken.append(row.id)
    return found, broken


def with_data(connection: Connection, event: StoredEvent) -> Event:
    """Return a stored event as an `Event`, its data read back from the received bytes.

    Raises
    ------
    ValueError: the bytes are not of the format that they were accepted with.
    """
    found = stored_body(connection, event.id)
    data = None if found is None else read_data(found.body, found.body_format)
    return Event(
        id=event.id,
        type=event.type,
        source=event.source,
        source_id=event.source_id,
        subject=event.subject,
        time=event.time,
        accepted=event.accepted,
        data=data,
        cause=event.cause,
        depth=event.depth,
        traceparent=event.traceparent,
        tracestate=event.tracestate,
    )


def running_dispatches(connection: Connection, *, limit: int, after: str = "") -> list[Dispatch]:
    """Return started dispatches whose runs are not finished, oldest first, as pages by id."""
    statement = (
        select(dispatches)
        .where(text(RUNNING), dispatches.c.id > after)
        .order_by(dispatches.c.id)
        .limit(limit)
    )
    return [dispatch_from_row(row) for row in connection.execute(statement)]


def unfinished(connection: Connection, dispatch_ids: Sequence[str]) -> set[str]:
    """Return those of some dispatches that may still have an unfinished run."""
    rows = connection.scalars(
        select(dispatches.c.id).where(
            dispatches.c.id.in_(dispatch_ids),
            dispatches.c.status.in_((DispatchStatus.PENDING.value, DispatchStatus.STARTED.value)),
            dispatches.c.finished_us.is_(None),
        )
    )
    return set(rows)


def dead_dispatches(
    connection: Connection,
    *,
    limit: int,
    cursor: str | None = None,
    trigger_id: str | None = None,
    oldest_first: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Dispatch]:
    """Return dead letters that were not replayed, newest first unless told otherwise.

    Parameters
    ----------
    since, until: bounds of the time at which the dispatch was made, inclusive and exclusive.
    """
    statement = (
        select(dispatches)
        .where(text(DEAD_LETTER))
        .order_by(dispatches.c.id if oldest_first else dispatches.c.id.desc())
        .limit(limit)
    )
    if cursor is not None:
        statement = statement.where(dispatches.c.id > cursor if oldest_first else dispatches.c.id < cursor)
    if trigger_id is not None:
        statement = statement.where(dispatches.c.trigger_id == trigger_id)
    if since is not None:
        statement = statement.where(dispatches.c.id >= first_id_at(since))
    if until is not None:
        statement = statement.where(dispatches.c.id < first_id_at(until))
    return [dispatch_from_row(row) for row in connection.execute(statement)]


def dispatch(connection: Connection, dispatch_id: str) -> Dispatch | None:
    """Return a dispatch, or None."""
    row = connection.execute(select(dispatches).where(dispatches.c.id == dispatch_id)).first()
    return None if row is None else dispatch_from_row(row)


def recent_rejections(connection: Connection, *, limit: int, cursor: str | None = None) -> list[Rejection]:
    """Return what was turned away, newest first."""
    statement = select(rejections).order_by(rejections.c.id.desc()).limit(limit)
    if cursor is not None:
        statement = statement.where(rejections.c.id < cursor)
    return [
        Rejection(
            id=row.id,
            at=from_micros(row.at_us),
            door=row.door,
            remote=row.remote,
            status=row.status,
            reason=row.reason,
            detail=row.detail,
            size=row.size,
        )
        for row in connection.execute(statement)
    ]


def status_counts(connection: Connection) -> dict[str, int]:
    """Return how many events are kept in each status."""
    rows = connection.execute(select(events.c.status, func.count()).group_by(events.c.status))
    return dict(rows.tuples().all())


def event_from_row(row: Row[Any]) -> StoredEvent:
    """Return a row of `events` as a value."""
    caused = row.cause_event or row.cause_flow_run
    return StoredEvent(
        id=row.id,
        door=row.door,
        source=row.source,
        source_id=row.source_id,
        type=row.type,
        subject=row.subject,
        time=from_micros(row.time_us),
        accepted=from_micros(row.accepted_us),
        status=EventStatus(row.status),
        routed=optional_moment(row.routed_us),
        trigger_set=row.trigger_set,
        size=row.size,
        duplicates=row.duplicates,
        conflicts=row.conflicts,
        by_reference=row.by_reference,
        cause=Cause(row.cause_event, row.cause_flow_run, row.cause_task_run) if caused else None,
        depth=row.depth,
        traceparent=row.traceparent,
        tracestate=row.tracestate,
        verdict=row.verdict,
        remote=row.remote,
        erased=optional_moment(row.erased_us),
    )


def dispatch_from_row(row: Row[Any] | SimpleNamespace) -> Dispatch:
    """Return a row of `dispatches` as a value."""
    return Dispatch(
        id=row.id,
        event_id=row.event_id,
        trigger_id=row.trigger_id,
        replay=row.replay,
        trigger_set=row.trigger_set,
        lane=row.lane,
        place=row.place,
        status=DispatchStatus(row.status),
        created=from_micros(row.created_us),
        reason=row.reason,
        response=row.response,
        attempts=row.attempts,
        merged_into=row.merged_into,
        replaced_by=row.replaced_by,
        concurrency_key=row.concurrency_key,
        concurrency_limit=row.concurrency_limit,
        debounce_key=row.debounce_key,
        due=optional_moment(row.due_us),
        run_created=optional_moment(row.run_created_us),
        run_started=optional_moment(row.run_started_us),
        first_task=optional_moment(row.first_task_us),
        finished=optional_moment(row.finished_us),
        flow_run_id=row.flow_run_id,
        flow_run_name=row.flow_run_name,
        deployment_id=row.deployment_id,
        state=row.state,
        state_as_of=optional_moment(row.state_as_of_us),
        seen=row.seen,
    )
