"""Routing: an event's dispatches commit together with the trigger set that it was matched against."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from hookline.inbox import chain, holding
from hookline.inbox.driver import Driver
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
from hookline.inbox.schema import dispatches, events, mirror_outbox
from hookline.inbox.standing import derived_status, refresh_status

#: Statuses that a dispatch is born with when it never starts a run.
NEVER_RUNS = (DispatchStatus.FILTERED.value, DispatchStatus.DEAD.value)
#: Events and dispatches that are written in about a millisecond.
FEW = 32


def route(
    connection: Connection,
    routings: Sequence[Routing],
    *,
    at: datetime,
    owner: str,
    lease: timedelta,
    unleased: Collection[str] = (),
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
    unleased: lanes whose dispatches are to be leased by nobody: they have to wait anyway.
    """
    newest = trigger_set_in_force(Driver(connection))
    if any(routing.trigger_set != newest for routing in routings):
        return None
    if any(_is_controlled(new) for routing in routings for new in routing.dispatches):
        holding.lock(connection)
    writing = _Writing(connection, at, owner, lease, unleased)
    together: list[tuple[int, Routing]] = []
    apart: list[tuple[int, Routing]] = []
    for index, routing in enumerate(routings):
        (apart if _looks_at_others(routing) else together).append((index, routing))
    routed, made = _route_together(writing, together)
    if apart:
        also_routed, also_made = _route_apart(writing, apart)
        routed |= also_routed
        made += also_made
    return Routed(routed, sorted(made, key=lambda dispatch: (dispatch.place, dispatch.id)))


def is_brief(routings: Sequence[Routing]) -> bool:
    """Return whether `route` is done with these in some hundred microseconds."""
    rows = sum(1 + len(routing.dispatches) for routing in routings)
    return rows <= FEW and not any(_looks_at_others(routing) for routing in routings)


def trigger_set_in_force(driver: Driver) -> int:
    """Return the version of the newest trigger set; 0 before the first deploy."""
    return driver.run("SELECT max(version) FROM trigger_sets").fetchone()[0] or 0


@dataclass(frozen=True, slots=True)
class _Writing:
    """What all routings of a transaction have in common; see `route`."""

    connection: Connection
    at: datetime
    owner: str
    lease: timedelta
    unleased: Collection[str]

    def row(self, index: int, routing: Routing, new: NewDispatch, number: int) -> dict[str, Any]:
        """Return a new dispatch as a row."""
        # Ids a microsecond apart, so that replays of one transaction keep their order.
        dispatch_id = id_at(to_micros(self.at) + index)
        row = _dispatch_row(self.connection, routing, new, number, dispatch_id, self.at)
        if row["status"] == DispatchStatus.PENDING.value and new.lane not in self.unleased:
            row |= {"lease_owner": self.owner, "lease_until_us": to_micros(self.at + self.lease)}
        return row


def _looks_at_others(routing: Routing) -> bool:
    """Return whether what is made of an event depends on the dispatches that are there already."""
    return routing.replay or any(_is_controlled(new) for new in routing.dispatches)


def _is_controlled(new: NewDispatch) -> bool:
    return new.concurrency_key is not None or new.debounce_key is not None


# Together: what nearly all events are ----------------------------------------------------------------


def _route_together(
    writing: _Writing, routings: Sequence[tuple[int, Routing]]
) -> tuple[set[str], list[Dispatch]]:
    """Route events for the first time, in a few statements for all of them."""
    rows: dict[str, list[dict[str, Any]]] = {}
    by_status: dict[EventStatus, list[str]] = {}
    for index, routing in routings:
        if routing.event_id in rows:
            continue
        made = [writing.row(index, routing, new, 0) for new in routing.dispatches]
        rows[routing.event_id] = made
        by_status.setdefault(derived_status({row["status"] for row in made}), []).append(routing.event_id)
    marked: set[str] = set()
    for status, ids in sorted(by_status.items()):
        marked |= _mark_routed(writing, ids, status, routings[0][1].trigger_set)
    new = [row for event_id, made in rows.items() if event_id in marked for row in made]
    driver = Driver(writing.connection)
    if new:
        chain.note_made(writing.connection, new)
        driver.insert(dispatches.name, tuple(new[0]), [tuple(row.values()) for row in new])
    goes = dict.fromkeys(row["event_id"] for row in new if row["status"] not in NEVER_RUNS)
    driver.insert(mirror_outbox.name, ("event_id",), [(event_id,) for event_id in goes])
    return marked, [_new_dispatch(row) for row in new]


def _mark_routed(
    writing: _Writing, event_ids: Sequence[str], status: EventStatus, trigger_set: int
) -> set[str]:
    """Mark events as routed, all at once; return the ids of those that were not before."""
    routed_us = to_micros(writing.at)
    marked = Driver(writing.connection).run_for(
        "UPDATE events SET status = ?, routed_us = ?, trigger_set = ?"
        " WHERE status = ? AND id IN ({keys}) RETURNING id",
        (status.value, routed_us, trigger_set, EventStatus.ACCEPTED.value),
        event_ids,
    )
    chain.note_routed(writing.connection, list(marked), routed_us, trigger_set)
    return marked


#: What the database gives a new dispatch where its row does not say.
_NEW: dict[str, Any] = {**dict.fromkeys(dispatches.c.keys()), "attempts": 0, "seen": False}


def _new_dispatch(row: dict[str, Any]) -> Dispatch:
    """Return the dispatch that a row makes, without reading it back."""
    return dispatch_from_row(SimpleNamespace(**(_NEW | row)))


# Apart: replays, and what flow control holds ---------------------------------------------------------


def _route_apart(
    writing: _Writing, routings: Sequence[tuple[int, Routing]]
) -> tuple[set[str], list[Dispatch]]:
    """Route events one by one: each has to see the dispatches of the one before."""
    connection = writing.connection
    first = [routing.event_id for _, routing in routings if not routing.replay]
    trigger_set = routings[0][1].trigger_set
    left = _mark_routed(writing, first, EventStatus.PENDING, trigger_set)
    routed: list[str] = []
    made: list[str] = []
    for index, routing in routings:
        if not routing.dispatches:
            continue
        if routing.replay:
            number = _next_replay(connection, routing)
        else:
            number = 0 if routing.event_id in left else None
            left.discard(routing.event_id)
        if number is not None:
            made += _make_dispatches(writing, index, routing, number)
            routed.append(routing.event_id)
    if routed:
        refresh_status(connection, routed)
    return set(routed), _read(connection, made)


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


def _make_dispatches(writing: _Writing, index: int, routing: Routing, number: int) -> list[str]:
    connection = writing.connection
    goes_before = number and _ever_went(connection, routing.event_id)
    goes = False
    made: list[str] = []
    for new in routing.dispatches:
        row = writing.row(index, routing, new, number)
        # At once: the concurrency key's count must see the ones before it, and so must the next replay.
        connection.execute(insert(dispatches), row)
        chain.note_made(connection, [row])
        if number:
            _replace_dead(connection, row)
        goes = goes or row["status"] not in NEVER_RUNS
        made.append(row["id"])
    if goes and not goes_before:
        connection.execute(insert(mirror_outbox), {"event_id": routing.event_id})
    return made


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
        "salt": os.urandom(chain.SALT_BYTES),
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
        chain.note_settled(connection, "replaced_by", row["id"])
        chain.note_settled(connection, "merged_into", row["id"])


def _read(connection: Connection, ids: Sequence[str]) -> list[Dispatch]:
    if not ids:
        return []
    rows = connection.execute(
        select(dispatches).where(dispatches.c.id.in_(ids)).order_by(dispatches.c.place, dispatches.c.id)
    )
    return [dispatch_from_row(row) for row in rows]
