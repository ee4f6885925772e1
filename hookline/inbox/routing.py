"""Routing: an event's dispatches are made in the transaction that says which trigger set it was matched with.

Flow control lives here, in the tables, so that it survives restarts: `delay` and `debounce` hold a dispatch
until a time, `concurrency` holds it until an earlier one of its key is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select, text, update

from hookline.event import new_id
from hookline.inbox.reading import dispatch_from_row
from hookline.inbox.records import (
    Dispatch,
    DispatchStatus,
    EventStatus,
    NewDispatch,
    Routing,
    from_micros,
    to_micros,
)
from hookline.inbox.schema import dispatches, events, mirror_outbox, trigger_sets

WAITS_FOR_KEY = "concurrency: an earlier dispatch of its key is unfinished"

#: What occupies a place of a concurrency key: dispatches that may start, and runs that are not finished.
_OCCUPIES_KEY = and_(
    dispatches.c.status.in_((DispatchStatus.PENDING.value, DispatchStatus.STARTED.value)),
    dispatches.c.finished_us.is_(None),
)


def route(
    connection: Connection, routings: Sequence[Routing], *, at: datetime, owner: str, lease: timedelta
) -> list[Dispatch] | None:
    """Write what routing decided; return the dispatches that may start now, leased to `owner`.

    None, and nothing is written, where a newer trigger set is in force than the one matched against.

    Parameters
    ----------
    connection: inside the writer's transaction.
    routings: one an event, in order of arrival. An event that was routed meanwhile is left as it is.
    at: the routed time.
    owner: the gateway that will start the dispatches.
    lease: for how long nobody else may.
    """
    newest = connection.scalar(select(func.max(trigger_sets.c.version))) or 0
    if any(routing.trigger_set != newest for routing in routings):
        return None
    now_us = to_micros(at)
    _ignore(connection, [r for r in routings if not r.dispatches and not r.replay], now_us)
    ready: list[Dispatch] = []
    for routing in routings:
        if routing.dispatches and (routing.replay or _mark_routed(connection, routing, now_us)):
            ready += _make_dispatches(connection, routing, at, owner, lease)
            refresh_status(connection, [routing.event_id])
    return ready


def _ignore(connection: Connection, ignored: Sequence[Routing], now_us: int) -> None:
    """Mark events that no trigger expects, all at once: they are nearly all of a busy door's."""
    by_version: dict[int, list[str]] = {}
    for routing in ignored:
        by_version.setdefault(routing.trigger_set, []).append(routing.event_id)
    for version, ids in by_version.items():
        connection.execute(
            update(events)
            .where(events.c.id.in_(ids), events.c.status == EventStatus.ACCEPTED.value)
            .values(status=EventStatus.IGNORED.value, routed_us=now_us, trigger_set=version)
        )


def _mark_routed(connection: Connection, routing: Routing, now_us: int) -> bool:
    result = connection.execute(
        update(events)
        .where(events.c.id == routing.event_id, events.c.status == EventStatus.ACCEPTED.value)
        .values(status=EventStatus.PENDING.value, routed_us=now_us, trigger_set=routing.trigger_set)
    )
    return result.rowcount == 1


def _make_dispatches(
    connection: Connection, routing: Routing, at: datetime, owner: str, lease: timedelta
) -> list[Dispatch]:
    number = _next_replay(connection, routing.event_id) if routing.replay else 0
    rows = [_dispatch_row(connection, routing, new, number, at) for new in routing.dispatches]
    for row in rows:
        if row["status"] == DispatchStatus.PENDING.value:
            row["lease_owner"] = owner
            row["lease_until_us"] = to_micros(at + lease)
        # One by one: the concurrency key's count must see the ones before it.
        connection.execute(insert(dispatches), row)
    if any(row["status"] not in _NEVER_RUNS for row in rows):
        mirror(connection, routing.event_id, to_micros(at))
    ids = [row["id"] for row in rows if row["status"] == DispatchStatus.PENDING.value]
    return _read(connection, ids)


_NEVER_RUNS = (DispatchStatus.FILTERED.value, DispatchStatus.DEAD.value)


def _next_replay(connection: Connection, event_id: str) -> int:
    newest = connection.scalar(select(func.max(dispatches.c.replay)).where(dispatches.c.event_id == event_id))
    return 1 if newest is None else int(newest) + 1


def _dispatch_row(
    connection: Connection, routing: Routing, new: NewDispatch, number: int, at: datetime
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": new_id(),
        "event_id": routing.event_id,
        "trigger_id": new.trigger_id,
        "replay": number,
        "trigger_set": routing.trigger_set,
        "lane": new.lane,
        "status": DispatchStatus.PENDING.value,
        "reason": None,
        "concurrency_key": new.concurrency_key,
        "concurrency_limit": new.concurrency_limit,
        "debounce_key": new.debounce_key,
        "debounce_first_us": None,
        "due_us": None,
        "lease_owner": None,
        "lease_until_us": None,
        "created_us": to_micros(at),
    }
    if new.filtered is not None:
        row |= {"status": DispatchStatus.FILTERED.value, "reason": new.filtered}
    elif new.dead is not None:
        row |= {"status": DispatchStatus.DEAD.value, "reason": new.dead}
    elif new.debounce_key is not None and new.quiet is not None:
        row |= _debounce(connection, row["id"], new, at)
    elif new.due is not None and new.due > at:
        due = new.due
        row |= {
            "status": DispatchStatus.HELD.value,
            "due_us": to_micros(due),
            "reason": f"delay: until {due:%Y-%m-%dT%H:%M:%SZ}",
        }
    elif not _key_is_free(connection, new.trigger_id, new.concurrency_key, new.concurrency_limit):
        row |= {"status": DispatchStatus.HELD.value, "reason": WAITS_FOR_KEY}
    return row


def _debounce(connection: Connection, leader: str, new: NewDispatch, at: datetime) -> dict[str, Any]:
    """Hold the newest dispatch of a debounce key and merge the held ones into it."""
    assert new.quiet is not None  # noqa: S101 - the caller checked; this tells the type checker
    _lock_key(connection, f"debounce {new.trigger_id} {new.debounce_key}")
    same_key = and_(
        dispatches.c.trigger_id == new.trigger_id,
        dispatches.c.debounce_key == new.debounce_key,
        dispatches.c.status == DispatchStatus.HELD.value,
        # One that has waited its time and only waits for its concurrency key is not held back again.
        dispatches.c.due_us.is_not(None),
    )
    held = connection.execute(
        select(dispatches.c.id, dispatches.c.event_id, dispatches.c.debounce_first_us).where(same_key)
    ).all()
    first_us = min([row.debounce_first_us for row in held] or [to_micros(at)])
    due = at + new.quiet
    if new.max_wait is not None:
        due = min(due, max(at, from_micros(first_us) + new.max_wait))
    if held:
        ids = [row.id for row in held]
        # Those that were merged into the old leader follow it to the new one.
        connection.execute(
            update(dispatches)
            .where(dispatches.c.id.in_(ids) | dispatches.c.merged_into.in_(ids))
            .values(status=DispatchStatus.MERGED.value, merged_into=leader, due_us=None, reason=None)
        )
        refresh_status(connection, [row.event_id for row in held])
    return {
        "status": DispatchStatus.HELD.value,
        "due_us": to_micros(due),
        "debounce_first_us": first_us,
        "reason": "debounce: waits for quiet",
    }


def _key_is_free(connection: Connection, trigger_id: str, key: str | None, limit: int | None) -> bool:
    if key is None or limit is None:
        return True
    _lock_key(connection, f"concurrency {trigger_id} {key}")
    same_key = and_(dispatches.c.trigger_id == trigger_id, dispatches.c.concurrency_key == key)
    # One that already waits for the key goes first: order is arrival.
    waits = and_(dispatches.c.status == DispatchStatus.HELD.value, dispatches.c.due_us.is_(None))
    ahead = connection.scalar(
        select(func.count()).select_from(dispatches).where(same_key, waits | _OCCUPIES_KEY)
    )
    return int(ahead or 0) < limit


def _lock_key(connection: Connection, name: str) -> None:
    """Let one gateway at a time decide about a key. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def promote_due(connection: Connection, *, at: datetime, limit: int = 500) -> int:
    """Let held dispatches whose time has come go on: to pending, or to waiting for their key.

    Returns
    -------
    How many were looked at; at `limit` there may be more.
    """
    rows = connection.execute(
        select(dispatches)
        .where(dispatches.c.status == DispatchStatus.HELD.value, dispatches.c.due_us <= to_micros(at))
        .order_by(dispatches.c.event_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        free = _key_is_free(connection, row.trigger_id, row.concurrency_key, row.concurrency_limit)
        connection.execute(
            update(dispatches)
            .where(dispatches.c.id == row.id)
            .values(
                status=(DispatchStatus.PENDING if free else DispatchStatus.HELD).value,
                due_us=None,
                reason=None if free else WAITS_FOR_KEY,
            )
        )
    return len(rows)


def next_due(connection: Connection) -> datetime | None:
    """Return when the next held dispatch's time comes, if one waits for a time."""
    due_us = connection.scalar(
        select(func.min(dispatches.c.due_us)).where(dispatches.c.status == DispatchStatus.HELD.value)
    )
    return None if due_us is None else from_micros(int(due_us))


def release_keys(connection: Connection, finished: Sequence[Row[Any]]) -> int:
    """After dispatches finished, let the next ones of their concurrency keys become pending.

    Parameters
    ----------
    finished: rows with `trigger_id`, `concurrency_key` and `concurrency_limit`.
    """
    released = 0
    for trigger_id, key, limit in {
        (row.trigger_id, row.concurrency_key, row.concurrency_limit) for row in finished
    }:
        if key is None:
            continue
        _lock_key(connection, f"concurrency {trigger_id} {key}")
        same_key = and_(dispatches.c.trigger_id == trigger_id, dispatches.c.concurrency_key == key)
        busy = connection.scalar(select(func.count()).select_from(dispatches).where(same_key, _OCCUPIES_KEY))
        places = max(0, int(limit) - int(busy or 0))
        waiting = connection.scalars(
            select(dispatches.c.id)
            .where(same_key, dispatches.c.status == DispatchStatus.HELD.value, dispatches.c.due_us.is_(None))
            .order_by(dispatches.c.event_id)
            .limit(places)
        ).all()
        if waiting:
            connection.execute(
                update(dispatches)
                .where(dispatches.c.id.in_(waiting))
                .values(status=DispatchStatus.PENDING.value, reason=None)
            )
            released += len(waiting)
    return released


def mirror(connection: Connection, event_id: str, now_us: int) -> None:
    """Put an event into the outbox for Prefect's feed, once."""
    there = connection.scalar(select(mirror_outbox.c.event_id).where(mirror_outbox.c.event_id == event_id))
    if there is None:
        connection.execute(insert(mirror_outbox), {"event_id": event_id, "created_us": now_us})


def refresh_status(connection: Connection, event_ids: Sequence[str]) -> None:
    """Derive events' status from their dispatches: the first of pending, dead, dispatched, ignored."""
    found = connection.execute(
        select(dispatches.c.event_id, dispatches.c.status).where(dispatches.c.event_id.in_(event_ids))
    )
    seen: dict[str, set[str]] = {event_id: set() for event_id in event_ids}
    for event_id, status in found.tuples():
        seen[event_id].add(status)
    for event_id, statuses in seen.items():
        connection.execute(
            update(events)
            .where(events.c.id == event_id, events.c.status != EventStatus.ACCEPTED.value)
            .values(status=derived_status(statuses).value)
        )


def derived_status(statuses: set[str]) -> EventStatus:
    """Return a routed event's status from those of its dispatches."""
    if statuses & {DispatchStatus.PENDING.value, DispatchStatus.HELD.value}:
        return EventStatus.PENDING
    if DispatchStatus.DEAD.value in statuses:
        return EventStatus.DEAD
    if statuses & {DispatchStatus.STARTED.value, DispatchStatus.MERGED.value}:
        return EventStatus.DISPATCHED
    return EventStatus.IGNORED


def _read(connection: Connection, ids: Sequence[str]) -> list[Dispatch]:
    if not ids:
        return []
    rows = connection.execute(
        select(dispatches).where(dispatches.c.id.in_(ids)).order_by(dispatches.c.event_id, dispatches.c.id)
    )
    return [dispatch_from_row(row) for row in rows]
