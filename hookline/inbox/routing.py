"""Routing: an event's dispatches commit together with the trigger set that it was matched against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from hookline.inbox import holding
from hookline.inbox.reading import dispatch_from_row
from hookline.inbox.records import (
    Dispatch,
    DispatchStatus,
    EventStatus,
    NewDispatch,
    Routed,
    Routing,
    id_at,
    storable,
    to_micros,
)
from hookline.inbox.schema import dispatches, events, mirror_outbox, trigger_sets
from hookline.inbox.standing import refresh_status

#: Statuses that a dispatch is born with when it never starts a run.
NEVER_RUNS = (DispatchStatus.FILTERED.value, DispatchStatus.DEAD.value)


def route(
    connection: Connection, routings: Sequence[Routing], *, at: datetime, owner: str, lease: timedelta
) -> Routed | None:
    """Write what routing decided; return what was made of it, the pending dispatches leased to `owner`.

    None, and nothing is written, where a newer trigger set is in force than the one matched against.

    Parameters
    ----------
    connection: inside the writer's transaction.
    routings: one an event, in order of arrival. An event that was routed meanwhile is left as it is, and so
        is one that is to be replayed and is not there or was never routed.
    at: the routed time.
    owner: the gateway that will start the dispatches.
    lease: for how long nobody else may.
    """
    newest = trigger_set_in_force(connection)
    if any(routing.trigger_set != newest for routing in routings):
        return None
    if any(_is_controlled(new) for routing in routings for new in routing.dispatches):
        holding.lock(connection)
    now_us = to_micros(at)
    first = [routing for routing in routings if not routing.replay]
    ignored = _mark_routed(connection, [r for r in first if not r.dispatches], EventStatus.IGNORED, now_us)
    pending = _mark_routed(connection, [r for r in first if r.dispatches], EventStatus.PENDING, now_us)
    batch = _Batch()
    for index, routing in enumerate(routings):
        if not routing.dispatches:
            continue
        if routing.replay:
            number = _next_replay(connection, routing)
        else:
            number = 0 if routing.event_id in pending else None
            pending.discard(routing.event_id)
        if number is not None:
            # Ids a microsecond apart, so that replays of one transaction keep their order.
            _make_dispatches(connection, batch, routing, number, now_us + index, at, owner, lease)
            batch.events.append(routing.event_id)
    if batch.rows:
        connection.execute(insert(dispatches), batch.rows)
    if batch.to_mirror:
        connection.execute(insert(mirror_outbox), [{"event_id": each} for each in batch.to_mirror])
    if batch.events:
        refresh_status(connection, batch.events)
    return Routed(ignored.union(batch.events), _read(connection, batch.made))


@dataclass(slots=True)
class _Batch:
    """What a batch of routings makes; written together where nothing has to see it earlier.

    Parameters
    ----------
    made: ids of all dispatches.
    rows: dispatches that are still to be inserted.
    to_mirror: events that go into the outbox.
    events: those that were routed or replayed.
    """

    made: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    to_mirror: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


def trigger_set_in_force(connection: Connection) -> int:
    """Return the version of the newest trigger set; 0 before the first deploy."""
    return connection.scalar(select(func.max(trigger_sets.c.version))) or 0


def _is_controlled(new: NewDispatch) -> bool:
    return new.concurrency_key is not None or new.debounce_key is not None


def _mark_routed(
    connection: Connection, routings: Sequence[Routing], status: EventStatus, now_us: int
) -> set[str]:
    """Mark events as routed, all at once; return the ids of those that were not before."""
    if not routings:
        return set()
    marked = connection.scalars(
        update(events)
        .where(
            events.c.id.in_([routing.event_id for routing in routings]),
            events.c.status == EventStatus.ACCEPTED.value,
        )
        .values(status=status.value, routed_us=now_us, trigger_set=routings[0].trigger_set)
        .returning(events.c.id)
    )
    return set(marked)


def _next_replay(connection: Connection, routing: Routing) -> int | None:
    """Return the number of an event's next replay, or None where it cannot be replayed."""
    there = connection.scalar(
        select(events.c.id)
        .where(events.c.id == routing.event_id, events.c.status != EventStatus.ACCEPTED.value)
        # Two replays at the same time must not take the same number.
        .with_for_update()
    )
    if there is None:
        return None
    newest = connection.scalar(
        select(func.max(dispatches.c.replay)).where(dispatches.c.event_id == routing.event_id)
    )
    return (newest or 0) + 1


def _make_dispatches(
    connection: Connection,
    batch: _Batch,
    routing: Routing,
    number: int,
    id_us: int,
    at: datetime,
    owner: str,
    lease: timedelta,
) -> None:
    goes_before = number and _ever_went(connection, routing.event_id)
    goes = False
    for new in routing.dispatches:
        row = _dispatch_row(connection, routing, new, number, id_at(id_us), at)
        if row["status"] == DispatchStatus.PENDING.value:
            row |= {"lease_owner": owner, "lease_until_us": to_micros(at + lease)}
        if number or _is_controlled(new):
            # At once: the concurrency key's count must see the ones before it, and so must the next replay.
            connection.execute(insert(dispatches), row)
        else:
            batch.rows.append(row)
        if number:
            _replace_dead(connection, row)
        goes = goes or row["status"] not in NEVER_RUNS
        batch.made.append(row["id"])
    if goes and not goes_before:
        batch.to_mirror.append(routing.event_id)


def _ever_went(connection: Connection, event_id: str) -> bool:
    """Return whether a dispatch of the event was made before that goes, or went, to a run."""
    found = connection.scalar(
        select(dispatches.c.id)
        .where(
            dispatches.c.event_id == event_id,
            # One that is dead without an attempt was so from the start.
            dispatches.c.status.not_in(NEVER_RUNS) | (dispatches.c.attempts > 0),
        )
        .limit(1)
    )
    return found is not None


def _dispatch_row(
    connection: Connection,
    routing: Routing,
    new: NewDispatch,
    number: int,
    dispatch_id: str,
    at: datetime,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": dispatch_id,
        "event_id": routing.event_id,
        "trigger_id": new.trigger_id,
        "replay": number,
        "trigger_set": routing.trigger_set,
        "lane": new.lane,
        # A replay joins at the end: what arrives now is not to wait behind an old day's events.
        "place": dispatch_id if number else routing.event_id,
        "status": DispatchStatus.PENDING.value,
        "reason": None,
        "merged_into": None,
        "concurrency_key": None if new.concurrency_key is None else storable(new.concurrency_key),
        "concurrency_limit": new.concurrency_limit,
        "debounce_key": None if new.debounce_key is None else storable(new.debounce_key),
        "debounce_first_us": None,
        "due_us": None,
        "lease_owner": None,
        "lease_until_us": None,
        "created_us": to_micros(at),
        "finished_us": None,
    }
    if new.filtered is not None:
        return row | {"status": DispatchStatus.FILTERED.value, "reason": storable(new.filtered)}
    if new.dead is not None:
        return row | {
            "status": DispatchStatus.DEAD.value, "reason": storable(new.dead), "finished_us": to_micros(at)
        }  # fmt: skip
    return row | holding.hold(connection, row, new, at)


def _replace_dead(connection: Connection, row: dict[str, Any]) -> None:
    """Let a replay stand for the dead letters of its event and trigger, and for what was merged into them."""
    dead = connection.scalars(
        select(dispatches.c.id).where(
            dispatches.c.event_id == row["event_id"],
            dispatches.c.trigger_id == row["trigger_id"],
            dispatches.c.status == DispatchStatus.DEAD.value,
            dispatches.c.replaced_by.is_(None),
            dispatches.c.id != row["id"],
        )
    ).all()
    if dead:
        connection.execute(update(dispatches).where(dispatches.c.id.in_(dead)).values(replaced_by=row["id"]))
        connection.execute(
            update(dispatches).where(dispatches.c.merged_into.in_(dead)).values(merged_into=row["id"])
        )


def _read(connection: Connection, ids: Sequence[str]) -> list[Dispatch]:
    if not ids:
        return []
    rows = connection.execute(
        select(dispatches).where(dispatches.c.id.in_(ids)).order_by(dispatches.c.place, dispatches.c.id)
    )
    return [dispatch_from_row(row) for row in rows]
