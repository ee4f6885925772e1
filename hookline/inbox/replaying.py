"""Replays of many events: each step makes dispatches and moves the replay on in one transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import Connection, Row, insert, or_, select, text, update

from hookline.event import Event
from hookline.inbox import reading, routing
from hookline.inbox.records import (
    Dispatch,
    EventStatus,
    Routing,
    Search,
    from_micros,
    id_at,
    optional_moment,
    to_micros,
)
from hookline.inbox.schema import replays
from hookline.inbox.searching import search_events


class ReplayKind(StrEnum):
    """What a replay goes through."""

    EVENTS = "events"
    DEAD = "dead"


class ReplayStatus(StrEnum):
    """How far a replay is."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay of many events.

    Parameters
    ----------
    search: which events; for dead letters, `since` and `until` are bounds of the time at which the dispatch
        was made.
    trigger_id: the one trigger to which it is narrowed.
    per_second: at most this many events a second; None is as fast as it goes.
    cursor: id of the last event or dead letter that was done.
    events: how many were done. Each of them made dispatches, or matched no trigger of today, or had lost
        its body to retention.
    dispatches: how many dispatches were made.
    """

    id: str
    kind: ReplayKind
    search: Search
    trigger_id: str | None
    per_second: float | None
    status: ReplayStatus
    created: datetime
    finished: datetime | None = None
    cursor: str = ""
    events: int = 0
    dispatches: int = 0
    without_match: int = 0
    without_body: int = 0


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """One step of a replay.

    Parameters
    ----------
    cursor: id of the last event or dead letter that this step does.
    routings: what is to be made; those without dispatches matched no trigger.
    without_body: how many had lost their body.
    """

    cursor: str
    routings: tuple[Routing, ...]
    without_body: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """What comes next in a replay.

    Parameters
    ----------
    cursor: where the page after it begins; None where nothing is left.
    events: with their data, each with the one trigger to which its replay is narrowed, if it is.
    without_body: how many more there are whose data retention has forgotten.
    """

    cursor: str | None = None
    events: tuple[tuple[Event, str | None], ...] = ()
    without_body: int = 0


def page(
    connection: Connection,
    *,
    kind: ReplayKind,
    search: Search,
    trigger_id: str | None,
    cursor: str,
    limit: int,
) -> Page:
    """Return the next events of a replay, oldest first."""
    if kind is ReplayKind.EVENTS:
        found = search_events(connection, replace(search, cursor=cursor or None, limit=limit))
        wanted = [(event.id, trigger_id) for event in found]
        following = found[-1].id if found else None
    else:
        letters = reading.dead_dispatches(
            connection, limit=limit, cursor=cursor, trigger_id=trigger_id, oldest_first=True,
            since=search.since, until=search.until,
        )  # fmt: skip
        fitting = {
            event.id
            for event in reading.stored_events(connection, [each.event_id for each in letters])
            if search.fits(event)
        }
        wanted = [(each.event_id, each.trigger_id) for each in letters if each.event_id in fitting]
        following = letters[-1].id if letters else None
    events = [(reading.replayable(connection, event_id), only) for event_id, only in wanted]
    there = tuple((event, only) for event, only in events if event is not None)
    return Page(following, there, len(events) - len(there))


def begin(
    connection: Connection,
    *,
    kind: ReplayKind,
    search: Search,
    trigger_id: str | None,
    per_second: float | None,
    at: datetime,
) -> Replay:
    """Write that a replay is wanted; it ends with what is there now, or it would follow its own effects."""
    search = replace(search, until=at if search.until is None else min(search.until, at))
    replay_id = id_at(to_micros(at))
    connection.execute(
        insert(replays),
        {
            "id": replay_id,
            "kind": kind.value,
            "search": _write(search),
            "trigger_id": trigger_id,
            "per_second": per_second,
            "status": ReplayStatus.RUNNING.value,
            "created_us": to_micros(at),
        },
    )
    return _read(connection.execute(select(replays).where(replays.c.id == replay_id)).one())


def running(connection: Connection) -> list[Replay]:
    """Return the replays that are not at their end, oldest first."""
    return [
        _read(row)
        for row in connection.execute(
            select(replays).where(text("status = 'running'")).order_by(replays.c.id)
        )
    ]


def replay(connection: Connection, replay_id: str) -> Replay | None:
    """Return a replay, or None."""
    row = connection.execute(select(replays).where(replays.c.id == replay_id)).first()
    return None if row is None else _read(row)


def recent(connection: Connection, *, limit: int) -> list[Replay]:
    """Return the newest replays, newest first."""
    return [
        _read(row) for row in connection.execute(select(replays).order_by(replays.c.id.desc()).limit(limit))
    ]


def step(
    connection: Connection, current: Replay, done: ReplayStep, *, at: datetime, owner: str, lease: timedelta
) -> list[Dispatch] | None:
    """Make one step's dispatches and move the replay on, together.

    Returns
    -------
    The dispatches that were made; none where another gateway made the step, or the replay was cancelled.
    None, and nothing is written, where a newer trigger set is in force than the one matched against.
    """
    connection.execute(select(replays.c.id).where(replays.c.id == current.id).with_for_update())
    present = replay(connection, current.id)
    if present is None or present.status is not ReplayStatus.RUNNING or present.cursor != current.cursor:
        return []
    routed = routing.route(connection, done.routings, at=at, owner=owner, lease=lease)
    if routed is None:
        return None
    made = routed.dispatches
    connection.execute(
        update(replays)
        .where(replays.c.id == current.id)
        .values(
            cursor=done.cursor,
            events=replays.c.events + len(done.routings) + done.without_body,
            dispatches=replays.c.dispatches + len(made),
            without_match=replays.c.without_match + sum(not each.dispatches for each in done.routings),
            without_body=replays.c.without_body + done.without_body,
        )
    )
    return made


def take(
    connection: Connection, replay_id: str, *, owner: str, at: datetime, lease: timedelta
) -> Replay | None:
    """Take or extend the lease of a running replay; return it, or None where it ended or another has it."""
    taken = connection.execute(
        update(replays)
        .where(
            replays.c.id == replay_id,
            text("status = 'running'"),
            or_(
                replays.c.lease_owner.is_(None),
                replays.c.lease_owner == owner,
                replays.c.lease_until_us <= to_micros(at),
            ),
        )
        .values(lease_owner=owner, lease_until_us=to_micros(at + lease))
    )
    return replay(connection, replay_id) if taken.rowcount else None


def end(connection: Connection, replay_id: str, *, status: ReplayStatus, at: datetime) -> bool:
    """Write that a running replay is at its end, or is to stop; False where it was not running."""
    result = connection.execute(
        update(replays)
        .where(replays.c.id == replay_id, text("status = 'running'"))
        .values(status=status.value, finished_us=to_micros(at), lease_owner=None, lease_until_us=None)
    )
    return result.rowcount == 1


def _write(search: Search) -> str:
    return orjson.dumps({name: value for name, value in asdict(search).items() if value is not None}).decode()


def _search(written: str) -> Search:
    values: dict[str, Any] = orjson.loads(written)
    for name in ("since", "until"):
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    if "status" in values:
        values["status"] = EventStatus(values["status"])
    return Search(**values)


def _read(row: Row[Any]) -> Replay:
    return Replay(
        id=row.id,
        kind=ReplayKind(row.kind),
        search=_search(row.search),
        trigger_id=row.trigger_id,
        per_second=row.per_second,
        status=ReplayStatus(row.status),
        created=from_micros(row.created_us),
        finished=optional_moment(row.finished_us),
        cursor=row.cursor,
        events=row.events,
        dispatches=row.dispatches,
        without_match=row.without_match,
        without_body=row.without_body,
    )
