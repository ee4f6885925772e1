"""Recording arrivals: deduplicated per door, counted, and written together.

This is the hot path of the whole gateway: what every batch needs goes straight to the driver, see driver.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, select, update

from hookline.inbox import chain, counting
from hookline.inbox.driver import Driver
from hookline.inbox.records import Arrival, EventStatus, Recorded, storable, to_micros
from hookline.inbox.routing import trigger_set_in_force
from hookline.inbox.schema import BODY_DEDUP, bodies, events

DIGEST_BYTES = 16

_EVENT_COLUMNS = (
    "id", "door", "source", "source_id", "dedup_key", "type", "subject", "time_us", "accepted_us", "status",
    "routed_us", "trigger_set", "digest", "body_dedup", "size", "by_reference", "cause_event",
    "cause_flow_run", "cause_task_run", "depth", "traceparent", "tracestate", "verdict", "remote", "salt",
)  # fmt: skip
_BODY_COLUMNS = ("event_id", "body", "body_format", "content_type", "headers")
_DOOR, _DEDUP_KEY, _ACCEPTED, _STATUS, _ROUTED, _TRIGGER_SET, _DIGEST, _BODY_DEDUP, _CAUSE, _DEPTH = (
    _EVENT_COLUMNS.index(name)
    for name in (
        "door", "dedup_key", "accepted_us", "status", "routed_us", "trigger_set", "digest", "body_dedup",
        "cause_event", "depth",
    )
)  # fmt: skip
_ID = 0
_SALT = _EVENT_COLUMNS.index("salt")
_fixed = itemgetter(*(_EVENT_COLUMNS.index(name) for name in chain.EVENT_FIELDS))

Row = list[Any]


class Vanished(Exception):
    """The first of two equal events was pruned in this moment; the transaction has to be repeated."""


def body_digest(body: bytes) -> bytes:
    """Return what tells two bodies apart: a keyless BLAKE2b of 16 bytes."""
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def record(connection: Connection, arrivals: Sequence[Arrival]) -> list[Recorded]:
    """Write arrivals and say of each whether it was new.

    Parameters
    ----------
    connection: inside the writer's transaction.
    arrivals: in order of arrival; several may have the same `source_id`.
    """
    driver = Driver(connection)
    written = [_body_row(arrival) for arrival in arrivals]
    salts = chain.salts(len(arrivals))
    rows = [_event_row(*each) for each in zip(arrivals, written, salts, strict=True)]
    _set_depths(connection, rows)
    _ignore_unexpected(driver, arrivals, rows)
    fresh = _insert_new(connection, driver, arrivals, rows)
    new, bodies_of_new = rows, written
    if fresh is not None:
        new = [row for row in rows if row[_ID] in fresh]
        bodies_of_new = [body for body in written if body[_ID] in fresh]
    driver.insert(bodies.name, _BODY_COLUMNS, bodies_of_new)
    if new:
        driver.run(counting.add_statement(connection), ("received", len(new)))
        chain.note(connection, [_entry(row) for row in new], received=len(new))
    if fresh is None:
        return [_recorded(row) for row in rows]
    return _outcomes(connection, driver, arrivals, rows, fresh)


def _event_row(arrival: Arrival, body: Row, salt: bytes) -> Row:
    draft = arrival.draft
    digest = body_digest(draft.body)
    accepted_us = to_micros(arrival.accepted)
    cause = draft.cause
    return [
        arrival.id,
        storable(draft.door),
        storable(draft.source),
        _optional(draft.source_id),
        None if draft.source_id is None else f"id:{storable(draft.source_id)}",
        storable(draft.type),
        _optional(draft.subject),
        accepted_us if draft.time is None else to_micros(draft.time),
        accepted_us,
        EventStatus.ACCEPTED.value,
        None,
        None,
        digest,
        draft.dedup_window is not None,
        len(draft.body),
        draft.by_reference,
        cause.event if cause else None,
        cause.flow_run if cause else None,
        cause.task_run if cause else None,
        0,
        draft.traceparent,
        draft.tracestate,
        storable(draft.verdict),
        storable(draft.remote),
        salt + chain.envelope_leaf(salt, *body[2:]),
    ]


def _entry(row: Row) -> bytes:
    """Return a new event's entry in the chain."""
    key, salt = chain.key(row[_ID]), row[_SALT]
    if row[_ROUTED] is None:
        return chain.ACCEPTED + key + chain.leaf(salt, _fixed(row))
    return chain.IGNORED + key + chain.leaf(salt, (*_fixed(row), row[_ROUTED], row[_TRIGGER_SET]))


def _optional(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _body_row(arrival: Arrival) -> Row:
    draft = arrival.draft
    headers = orjson.dumps(draft.headers).decode()
    return [arrival.id, draft.body, draft.body_format.value, draft.content_type, headers]


def _set_depths(connection: Connection, rows: list[Row]) -> None:
    """Give events that runs sent their place in the chain: one deeper than their cause."""
    causes = {row[_CAUSE] for row in rows if row[_CAUSE]}
    if not causes:
        return
    found = connection.execute(select(events.c.id, events.c.depth).where(events.c.id.in_(causes)))
    depths = dict(found.tuples().all())
    for row in rows:
        if row[_CAUSE] is not None:
            row[_DEPTH] = depths.get(row[_CAUSE], 0) + 1


def _ignore_unexpected(driver: Driver, arrivals: Sequence[Arrival], rows: list[Row]) -> None:
    """Route with the same write what no trigger expects, where the version that says so is in force."""
    if all(arrival.unexpected_in is None for arrival in arrivals):
        return
    newest = trigger_set_in_force(driver)
    for arrival, row in zip(arrivals, rows, strict=True):
        if arrival.unexpected_in == newest:
            row[_STATUS] = EventStatus.IGNORED.value
            row[_ROUTED] = row[_ACCEPTED]
            row[_TRIGGER_SET] = newest


def _insert_new(
    connection: Connection, driver: Driver, arrivals: Sequence[Arrival], rows: list[Row]
) -> set[str] | None:
    """Insert the rows whose id and body are new at their door; return their ids, or None for all of them."""
    if _insert(driver, rows) == len(rows):
        return None
    fresh = _there(connection, rows)
    again = [(arrival, row) for arrival, row in zip(arrivals, rows, strict=True) if row[_ID] not in fresh]
    if _end_windows(driver, again):
        others = [row for _, row in again]
        _insert(driver, others)
        fresh |= _there(connection, others)
    return fresh


def _insert(driver: Driver, rows: list[Row]) -> int:
    # In one order everywhere: two gateways with the same keys would else wait for each other. Of rows with
    # the same key the one that came first goes first.
    in_order = sorted(rows, key=lambda row: (row[_DEDUP_KEY] or "", row[_DOOR], row[_ID]))
    return driver.insert(events.name, _EVENT_COLUMNS, in_order, " ON CONFLICT DO NOTHING")


def _there(connection: Connection, rows: list[Row]) -> set[str]:
    ids = [row[_ID] for row in rows]
    return set(connection.scalars(select(events.c.id).where(events.c.id.in_(ids))))


def _end_windows(driver: Driver, again: list[tuple[Arrival, Row]]) -> bool:
    """Let go of equal bodies whose window is over; return whether there were any.

    Only what came up against another event is looked at: what is new costs nothing more.
    """
    windows = {
        (row[_DOOR], row[_DIGEST]): to_micros(arrival.accepted - arrival.draft.dedup_window)
        for arrival, row in again
        if arrival.draft.dedup_window is not None
    }
    ended = [
        driver.run(_END_WINDOW, (*body, oldest_us)).rowcount for body, oldest_us in sorted(windows.items())
    ]
    return any(ended)


_END_WINDOW = (
    f"UPDATE events SET body_dedup = false WHERE door = ? AND digest = ? AND {BODY_DEDUP}"  # noqa: S608 # ours
    " AND accepted_us <= ?"
)


def _recorded(row: Row) -> Recorded:
    return Recorded(row[_ID], depth=row[_DEPTH], routed=row[_ROUTED] is not None)


def _outcomes(
    connection: Connection, driver: Driver, arrivals: Sequence[Arrival], rows: list[Row], fresh: set[str]
) -> list[Recorded]:
    outcomes = []
    seen_again: list[dict[str, Any]] = []
    for arrival, row in zip(arrivals, rows, strict=True):
        if row[_ID] in fresh:
            outcomes.append(_recorded(row))
            continue
        first = _first_one(driver, row)
        if first is None:
            raise Vanished
        first_id, first_digest = first
        # One whose data was erased has no digest any more.
        conflict = first_digest not in (row[_DIGEST], b"")
        outcomes.append(Recorded(first_id, duplicate=True, conflict=conflict))
        # A strict door turns a conflict away: that is a rejection, not a duplicate.
        if not (conflict and arrival.draft.strict):
            seen_again.append({"the_id": first_id, "one_more": int(conflict)})
            chain.note_again(connection, first_id, conflict=conflict)
    _count_again(connection, seen_again)
    return outcomes


def _first_one(driver: Driver, row: Row) -> tuple[str, bytes] | None:
    """Return id and digest of the event that a row is a duplicate of.

    One look-up each: where many are asked for in one statement, SQLite reads all events.
    """
    found = None
    if row[_DEDUP_KEY] is not None:
        # The id says more than the body: with another body it is a conflict.
        found = driver.run(_BY_ID, (row[_DOOR], row[_DEDUP_KEY])).fetchone()
    if found is None and row[_BODY_DEDUP]:
        found = driver.run(_BY_BODY, (row[_DOOR], row[_DIGEST])).fetchone()
    return None if found is None else (found[0], bytes(found[1]))


_BY_ID = "SELECT id, digest FROM events WHERE door = ? AND dedup_key = ?"
_BY_BODY = f"SELECT id, digest FROM events WHERE door = ? AND digest = ? AND {BODY_DEDUP}"  # noqa: S608 # ours


def _count_again(connection: Connection, seen_again: list[dict[str, Any]]) -> None:
    if seen_again:
        connection.execute(
            update(events)
            .where(events.c.id == bindparam("the_id"))
            .values(duplicates=events.c.duplicates + 1, conflicts=events.c.conflicts + bindparam("one_more")),
            sorted(seen_again, key=lambda again: str(again["the_id"])),
        )
        counting.add(connection, "duplicates", len(seen_again))
