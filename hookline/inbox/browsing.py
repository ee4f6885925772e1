"""Reading the inbox for people: a page's worth at a time, each read an index range, no total counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.sql.expression import FromClause

from hookline.inbox import reading
from hookline.inbox.records import Dispatch, DispatchStatus, EventStatus, Search, StoredEvent
from hookline.inbox.schema import dispatches, events

#: Counts for people end here: nobody acts differently on the thousandth.
COUNT_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Attention:
    """How much waits or gave up, each counted up to `COUNT_LIMIT`.

    Parameters
    ----------
    accepted, pending, dead: events in these statuses.
    dead_letters: dispatches that gave up.
    """

    accepted: int = 0
    pending: int = 0
    dead: int = 0
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A dispatch with its event."""

    dispatch: Dispatch
    event: StoredEvent


def attention(connection: Connection) -> Attention:
    """Return how much waits or gave up."""

    def with_status(status: EventStatus) -> int:
        return _count(connection, events, events.c.status == status.value)

    return Attention(
        accepted=with_status(EventStatus.ACCEPTED),
        pending=with_status(EventStatus.PENDING),
        dead=with_status(EventStatus.DEAD),
        dead_letters=_count(connection, dispatches, dispatches.c.status == DispatchStatus.DEAD.value),
    )


def _count(connection: Connection, table: FromClause, condition: ColumnElement[bool]) -> int:
    some = select(table.c.id).where(condition).limit(COUNT_LIMIT).subquery()
    return int(connection.scalar(select(func.count()).select_from(some)) or 0)


def log(connection: Connection, search: Search) -> list[tuple[StoredEvent, list[Dispatch]]]:
    """Return one page of a search, each event with its dispatches."""
    found = reading.search_events(connection, search)
    made: dict[str, list[Dispatch]] = {event.id: [] for event in found}
    for dispatch in reading.event_dispatches(connection, list(made)) if made else ():
        made[dispatch.event_id].append(dispatch)
    return [(event, made[event.id]) for event in found]


def dead_letters(
    connection: Connection, *, limit: int, before: str | None = None, ids: Sequence[str] | None = None
) -> list[Letter]:
    """Return dead letters with their events, newest first.

    Parameters
    ----------
    before: id of the last dispatch of the page before.
    ids: those of these dispatches alone.
    """
    statement = (
        select(dispatches)
        .where(dispatches.c.status == DispatchStatus.DEAD.value)
        .order_by(dispatches.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(dispatches.c.id < before)
    if ids is not None:
        statement = statement.where(dispatches.c.id.in_(ids))
    found = [reading.dispatch_from_row(row) for row in connection.execute(statement)]
    theirs = events_by_id(connection, [dispatch.event_id for dispatch in found])
    return [Letter(each, theirs[each.event_id]) for each in found if each.event_id in theirs]


def events_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, StoredEvent]:
    """Return the events among these ids."""
    rows = connection.execute(select(events).where(events.c.id.in_(set(ids)))) if ids else ()
    return {row.id: reading.event_from_row(row) for row in rows}


def newest_of_sources(connection: Connection, sources: Sequence[str]) -> dict[str, StoredEvent]:
    """Return the newest event of each source that has one."""
    newest = [
        connection.scalar(select(func.max(events.c.id)).where(events.c.source == source))
        for source in sources
    ]
    found = events_by_id(connection, [each for each in newest if each is not None])
    return {event.source: event for event in found.values()}


def find(connection: Connection, words: str, doors: Sequence[str]) -> str | None:
    """Return the id of the event that somebody means.

    Parameters
    ----------
    words: a tracking id, the sender's own id, or the id of a dispatch or of a flow run.
    doors: where events with the sender's id may have come in.
    """
    event_id = connection.scalar(select(events.c.id).where(events.c.id == words))
    if event_id is None:
        event_id = connection.scalar(
            select(dispatches.c.event_id).where(
                (dispatches.c.id == words) | (dispatches.c.flow_run_id == words)
            )
        )
    if event_id is None and doors:
        event_id = connection.scalar(
            select(events.c.id)
            .where(events.c.door.in_(doors), events.c.dedup_key == f"id:{words}")
            .order_by(events.c.id.desc())
            .limit(1)
        )
    return event_id
