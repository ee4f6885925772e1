"""Reading the inbox: single events, pages of a search, and what recovery needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Select, and_, func, select

from hookline.body import read_data
from hookline.event import BodyFormat, Cause, Event
from hookline.inbox.records import (
    Dispatch,
    DispatchStatus,
    EventStatus,
    Rejection,
    Search,
    StoredBody,
    StoredEvent,
    Tracked,
    from_micros,
    optional_moment,
    to_micros,
)
from hookline.inbox.schema import bodies, dispatches, events, rejections


def stored_event(connection: Connection, event_id: str) -> StoredEvent | None:
    """Return an event, or None."""
    row = connection.execute(select(events).where(events.c.id == event_id)).first()
    return None if row is None else event_from_row(row)


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
        select(dispatches).where(dispatches.c.event_id.in_(event_ids)).order_by(dispatches.c.id)
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


def search_events(connection: Connection, search: Search) -> list[StoredEvent]:
    """Return one page of a search."""
    return [event_from_row(row) for row in connection.execute(search_statement(search))]


def search_statement(search: Search) -> Select[Any]:
    """Return a search as one statement over an index range; ids are times, so time is a range of ids."""
    newest_first = not search.oldest_first
    statement = select(events).order_by(events.c.id.desc() if newest_first else events.c.id)
    if search.type is not None:
        statement = statement.where(_type_is(search.type))
    for column, value in (
        (events.c.source, search.source),
        (events.c.subject, search.subject),
        (events.c.status, search.status),
    ):
        if value is not None:
            statement = statement.where(column == str(value))
    if search.since is not None:
        statement = statement.where(
            events.c.id >= first_id_at(search.since), events.c.accepted_us >= to_micros(search.since)
        )
    if search.until is not None:
        statement = statement.where(
            events.c.id < first_id_at(search.until, round_up=True),
            events.c.accepted_us < to_micros(search.until),
        )
    if search.cursor is not None:
        statement = statement.where(
            events.c.id < search.cursor if newest_first else events.c.id > search.cursor
        )
    return statement.limit(search.limit)


def _type_is(wanted: str) -> Any:
    if not wanted.endswith("*"):
        return events.c.type == wanted
    prefix = wanted[:-1]
    # A half-open range is an index range everywhere; LIKE is one only under some collations.
    return and_(events.c.type >= prefix, events.c.type < prefix + "\U0010ffff")


def first_id_at(moment: datetime, *, round_up: bool = False) -> str:
    """Return the smallest UUIDv7 of a moment's millisecond (RFC 9562: the first 48 bits are the time)."""
    millis = to_micros(moment) // 1000 + int(round_up)
    digits = f"{max(millis, 0):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


def unrouted_events(
    connection: Connection, *, limit: int, before: datetime | None = None, lock: bool = False
) -> list[Event]:
    """Return accepted events that were not routed, oldest first, with their data.

    Parameters
    ----------
    before: only those accepted before; another gateway may be about to route younger ones.
    lock: skip those that another gateway has taken, and take these for this transaction.
    """
    statement = (
        select(events).where(events.c.status == EventStatus.ACCEPTED.value).order_by(events.c.id).limit(limit)
    )
    if before is not None:
        statement = statement.where(events.c.accepted_us < to_micros(before))
    if lock:
        statement = statement.with_for_update(skip_locked=True)
    stored = [event_from_row(row) for row in connection.execute(statement)]
    return [with_data(connection, event) for event in stored]


def with_data(connection: Connection, event: StoredEvent) -> Event:
    """Return a stored event as an `Event`, its data read back from the received bytes."""
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
    )


def running_dispatches(
    connection: Connection, *, limit: int, after: str = "", lane: str | None = None
) -> list[Dispatch]:
    """Return started dispatches whose runs are not finished, oldest first, as pages by id."""
    statement = (
        select(dispatches)
        .where(
            dispatches.c.status == DispatchStatus.STARTED.value,
            dispatches.c.finished_us.is_(None),
            dispatches.c.id > after,
        )
        .order_by(dispatches.c.id)
        .limit(limit)
    )
    if lane is not None:
        statement = statement.where(dispatches.c.lane == lane)
    return [dispatch_from_row(row) for row in connection.execute(statement)]


def dead_dispatches(connection: Connection, *, limit: int, cursor: str | None = None) -> list[Dispatch]:
    """Return dead letters, newest first."""
    statement = (
        select(dispatches)
        .where(dispatches.c.status == DispatchStatus.DEAD.value)
        .order_by(dispatches.c.id.desc())
        .limit(limit)
    )
    if cursor is not None:
        statement = statement.where(dispatches.c.id < cursor)
    return [dispatch_from_row(row) for row in connection.execute(statement)]


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
        verdict=row.verdict,
        remote=row.remote,
    )


def dispatch_from_row(row: Row[Any]) -> Dispatch:
    """Return a row of `dispatches` as a value."""
    return Dispatch(
        id=row.id,
        event_id=row.event_id,
        trigger_id=row.trigger_id,
        replay=row.replay,
        trigger_set=row.trigger_set,
        lane=row.lane,
        status=DispatchStatus(row.status),
        created=from_micros(row.created_us),
        reason=row.reason,
        response=row.response,
        attempts=row.attempts,
        merged_into=row.merged_into,
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
    )
