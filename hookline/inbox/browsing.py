"""Reading the inbox for people: a page's worth at a time, each read an index range, no total counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, TextClause, func, select, text
from sqlalchemy.sql.expression import FromClause

from hookline.event import Event
from hookline.inbox import keeping, reading, searching
from hookline.inbox.records import (
    Dispatch,
    EventStatus,
    Search,
    StoredBody,
    StoredEvent,
    Tracked,
    from_micros,
    optional_moment,
)
from hookline.inbox.schema import DEAD_LETTER, dispatches, events
from hookline.lineage import reading as lineage
from hookline.lineage.schema import assets

#: Counts for people end here: nobody acts differently on the thousandth.
COUNT_LIMIT = 1_000
#: Task runs of an event's flow runs, and events that they sent, that its page shows.
TASKS_SHOWN = 100
EFFECTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Attention:
    """How much waits or gave up, each counted up to `COUNT_LIMIT`.

    Parameters
    ----------
    accepted, pending, dead: events in these statuses.
    dead_letters: dispatches that gave up and were not replayed.
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


@dataclass(frozen=True, slots=True)
class Work:
    """A task run inside a flow run."""

    flow_run_id: str
    name: str
    began: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Story:
    """All that the page of an event tells, as of one moment.

    Parameters
    ----------
    event: the event with its data, for what triggers say to it now.
    body: what was received, unless it was pruned.
    trigger_set: version and documents of the set in force.
    cause: the event whose run sent it.
    effects: the first of the events that its runs sent.
    works: the first task runs of its flow runs.
    """

    tracked: Tracked
    event: Event
    body: StoredBody | None
    trigger_set: tuple[int, list[dict[str, Any]]]
    cause: StoredEvent | None
    effects: tuple[StoredEvent, ...]
    works: tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class KnownAsset:
    """An asset that runs wrote or read, and when it was last heard of."""

    key: str
    name: str | None
    last: datetime


def attention(connection: Connection) -> Attention:
    """Return how much waits or gave up."""

    def with_status(status: EventStatus) -> int:
        return _count(connection, events, events.c.status == status.value)

    return Attention(
        accepted=with_status(EventStatus.ACCEPTED),
        pending=with_status(EventStatus.PENDING),
        dead=with_status(EventStatus.DEAD),
        dead_letters=_count(connection, dispatches, text(DEAD_LETTER)),
    )


def _count(connection: Connection, table: FromClause, condition: ColumnElement[bool] | TextClause) -> int:
    some = select(table.c.id).where(condition).limit(COUNT_LIMIT).subquery()
    return int(connection.scalar(select(func.count()).select_from(some)) or 0)


def log(connection: Connection, search: Search) -> list[tuple[StoredEvent, list[Dispatch]]]:
    """Return one page of a search, each event with its dispatches."""
    found = searching.search_events(connection, search)
    made: dict[str, list[Dispatch]] = {event.id: [] for event in found}
    for dispatch in reading.event_dispatches(connection, list(made)) if made else ():
        made[dispatch.event_id].append(dispatch)
    return [(event, made[event.id]) for event in found]


def story(connection: Connection, event_id: str) -> Story | None:
    """Return all that the page of an event tells, or None where there is none of that id."""
    tracked = reading.track(connection, event_id)
    if tracked is None:
        return None
    cause = tracked.event.cause
    cause_id = None if cause is None else cause.event
    sent = tracked.effects[:EFFECTS_SHOWN]
    others = events_by_id(connection, [*sent, *([cause_id] if cause_id is not None else [])])
    runs = [dispatch.flow_run_id for dispatch in tracked.dispatches if dispatch.flow_run_id is not None]
    return Story(
        tracked,
        reading.with_data(connection, tracked.event),
        reading.stored_body(connection, event_id),
        keeping.trigger_set(connection, None),
        None if cause_id is None else others.get(cause_id),
        tuple(others[each] for each in sent if each in others),
        tuple(_works(connection, runs)),
    )


def _works(connection: Connection, run_ids: Sequence[str]) -> list[Work]:
    rows = lineage.task_runs_of(connection, run_ids, limit=TASKS_SHOWN) if run_ids else []
    return [
        Work(row.flow_run_id, row.name, from_micros(row.started_us), optional_moment(row.finished_us))
        for row in rows
        if row.started_us is not None
    ]


def newest_assets(connection: Connection, *, limit: int) -> list[KnownAsset]:
    """Return the assets that were heard of last."""
    rows = connection.execute(select(assets).order_by(assets.c.last_us.desc()).limit(limit))
    return [KnownAsset(row.key, row.name, from_micros(row.last_us)) for row in rows]


def dead_letters(
    connection: Connection,
    *,
    limit: int,
    before: str | None = None,
    trigger: str | None = None,
    ids: Sequence[str] | None = None,
) -> list[Letter]:
    """Return dead letters that were not replayed, with their events, newest first.

    Parameters
    ----------
    before: id of the last dispatch of the page before.
    trigger: those of this trigger alone.
    ids: those of these dispatches alone.
    """
    statement = select(dispatches).where(text(DEAD_LETTER)).order_by(dispatches.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(dispatches.c.id < before)
    if trigger is not None:
        statement = statement.where(dispatches.c.trigger_id == trigger)
    if ids is not None:
        statement = statement.where(dispatches.c.id.in_(ids))
    found = [reading.dispatch_from_row(row) for row in connection.execute(statement)]
    theirs = events_by_id(connection, [dispatch.event_id for dispatch in found])
    return [Letter(each, theirs[each.event_id]) for each in found if each.event_id in theirs]


def events_by_id(connection: Connection, ids: Sequence[str]) -> Mapping[str, StoredEvent]:
    """Return the events among these ids."""
    rows = connection.execute(select(events).where(events.c.id.in_(set(ids)))) if ids else ()
    return {row.id: reading.event_from_row(row) for row in rows}


def newest_of_each_source(connection: Connection, *, limit: int) -> Mapping[str, StoredEvent]:
    """Return the newest event of each source, by the source's name; so many sources at most."""
    newest: list[str] = []
    source = connection.scalar(select(func.min(events.c.source)))
    # From one name to the next: an index look-up each, however many events they have.
    while source is not None and len(newest) < limit:
        newest += connection.scalars(select(func.max(events.c.id)).where(events.c.source == source))
        source = connection.scalar(select(func.min(events.c.source)).where(events.c.source > source))
    found = events_by_id(connection, newest)
    return {event.source: event for event in sorted(found.values(), key=lambda event: event.source)}


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
