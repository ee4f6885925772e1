"""Holding: flow control lives in the tables, so that it survives restarts.

`delay` and `debounce` hold a dispatch until a time, `concurrency` holds it until an earlier one of its key is
finished. A held dispatch with a `due_us` waits for that time, one without waits for its key.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select, text, update

from hookline.inbox import chain
from hookline.inbox.records import DispatchStatus, NewDispatch, from_micros, to_micros
from hookline.inbox.schema import DEBOUNCING, HELD, KEYED, dispatches
from hookline.inbox.standing import refresh_status

WAITS_FOR_KEY = "concurrency: an earlier dispatch of its key is unfinished"
WAITS_FOR_QUIET = "debounce: waits for quiet"
#: Held dispatches that are let go on in one transaction.
PROMOTED_AT_ONCE = 200

_LOCK = 4281


def lock(connection: Connection) -> None:
    """Let one gateway at a time decide about held dispatches. SQLite has one writer anyway.

    To be called before anything is written: whoever has the lock may wait for rows, and whoever has rows
    must not wait for the lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def hold(connection: Connection, row: dict[str, Any], new: NewDispatch, at: datetime) -> dict[str, Any]:
    """Return what flow control changes in a new dispatch's row: nothing where it may start now."""
    if new.debounce_key is not None and new.quiet is not None:
        return _debounce(connection, row, new, at)
    if new.due is not None and new.due > at:
        return {
            "status": DispatchStatus.HELD.value,
            "due_us": to_micros(new.due),
            "reason": f"delay: until {new.due:%Y-%m-%dT%H:%M:%SZ}",
        }
    if not _key_is_free(connection, row["trigger_id"], row["concurrency_key"], row["concurrency_limit"]):
        return {"status": DispatchStatus.HELD.value, "reason": WAITS_FOR_KEY}
    return {}


def _debounce(connection: Connection, row: dict[str, Any], new: NewDispatch, at: datetime) -> dict[str, Any]:
    """Hold the newest dispatch of a debounce key, and merge the held ones into it."""
    assert new.quiet is not None  # noqa: S101 - the caller checked; this tells the type checker
    held = connection.execute(
        select(dispatches.c.id, dispatches.c.event_id, dispatches.c.place, dispatches.c.debounce_first_us)
        .where(
            text(DEBOUNCING),
            dispatches.c.trigger_id == row["trigger_id"],
            dispatches.c.debounce_key == row["debounce_key"],
            # One whose wait is over is not held back again: it is about to go on, or waits for its key.
            dispatches.c.due_us > to_micros(at),
        )
        .order_by(dispatches.c.place)
    ).all()
    first_us = min([each.debounce_first_us for each in held] + [to_micros(at)])
    due = at + new.quiet
    if new.max_wait is not None:
        due = min(due, max(at, from_micros(first_us) + new.max_wait))
    if new.due is not None:
        due = max(due, new.due)
    waits = {
        "status": DispatchStatus.HELD.value,
        "due_us": to_micros(due),
        "debounce_first_us": first_us,
        "reason": WAITS_FOR_QUIET,
    }
    if held and held[-1].place > row["place"]:
        # It arrived earlier and was routed later, after a crash perhaps: the newer one leads all the same.
        connection.execute(update(dispatches).where(dispatches.c.id == held[-1].id).values(**waits))
        return {"status": DispatchStatus.MERGED.value, "merged_into": held[-1].id}
    if held:
        ids = [each.id for each in held]
        # Those that were merged into the old leader follow it to the new one.
        connection.execute(
            update(dispatches)
            .where(dispatches.c.id.in_(ids) | dispatches.c.merged_into.in_(ids))
            .values(status=DispatchStatus.MERGED.value, merged_into=row["id"], due_us=None, reason=None)
        )
        chain.note_settled(connection, "merged_into", row["id"])
        refresh_status(connection, [each.event_id for each in held])
    return waits


def _key_is_free(connection: Connection, trigger_id: str, key: str | None, limit: int | None) -> bool:
    if key is None or limit is None:
        return True
    # One that already waits for the key goes first.
    waits = and_(dispatches.c.status == DispatchStatus.HELD.value, dispatches.c.due_us.is_(None))
    ahead = connection.scalar(
        select(func.count())
        .select_from(dispatches)
        .where(_same_key(trigger_id, key), waits | (dispatches.c.status != DispatchStatus.HELD.value))
    )
    return int(ahead or 0) < limit


def _same_key(trigger_id: str, key: str) -> Any:
    return and_(text(KEYED), dispatches.c.trigger_id == trigger_id, dispatches.c.concurrency_key == key)


def promote_due(connection: Connection, *, at: datetime) -> tuple[set[str], bool]:
    """Let held dispatches whose time has come go on: to pending, or to waiting for their key.

    Returns
    -------
    The lanes in which something became pending, and whether there may be more to let go on.
    """
    lock(connection)
    rows = connection.execute(
        select(dispatches)
        .where(text(HELD), dispatches.c.due_us <= to_micros(at))
        .order_by(dispatches.c.due_us, dispatches.c.place)
        .limit(PROMOTED_AT_ONCE)
    ).all()
    lanes = set()
    for row in rows:
        free = _key_is_free(connection, row.trigger_id, row.concurrency_key, row.concurrency_limit)
        status = DispatchStatus.PENDING if free else DispatchStatus.HELD
        connection.execute(
            update(dispatches)
            .where(dispatches.c.id == row.id)
            .values(status=status.value, due_us=None, reason=None if free else WAITS_FOR_KEY)
        )
        if free:
            lanes.add(row.lane)
    return lanes, len(rows) == PROMOTED_AT_ONCE


def next_due(connection: Connection) -> datetime | None:
    """Return when the next held dispatch's time comes, if one waits for a time."""
    due_us = connection.scalar(
        select(dispatches.c.due_us)
        .where(text(HELD), dispatches.c.due_us.is_not(None))
        .order_by(dispatches.c.due_us)
        .limit(1)
    )
    return None if due_us is None else from_micros(int(due_us))


def release_keys(connection: Connection, finished: Iterable[Row[Any]]) -> set[str]:
    """After dispatches finished, let the next ones of their concurrency keys become pending.

    Parameters
    ----------
    finished: rows with `trigger_id` and `concurrency_key`.

    Returns
    -------
    The lanes in which something became pending.
    """
    lanes = set()
    keys = {(row.trigger_id, row.concurrency_key) for row in finished if row.concurrency_key is not None}
    for trigger_id, key in sorted(keys):
        same_key = _same_key(trigger_id, key)
        busy = connection.scalar(
            select(func.count())
            .select_from(dispatches)
            .where(same_key, dispatches.c.status != DispatchStatus.HELD.value)
        )
        waiting = (
            select(dispatches.c.id, dispatches.c.lane, dispatches.c.concurrency_limit)
            .where(same_key, dispatches.c.status == DispatchStatus.HELD.value, dispatches.c.due_us.is_(None))
            .order_by(dispatches.c.place)
            .limit(1)
        )
        for already in range(int(busy or 0), 1_000_000):
            row = connection.execute(waiting).first()
            # The limit of the one that waits counts: a later deploy may have changed it.
            if row is None or already >= row.concurrency_limit:
                break
            connection.execute(
                update(dispatches)
                .where(dispatches.c.id == row.id)
                .values(status=DispatchStatus.PENDING.value, reason=None)
            )
            lanes.add(row.lane)
    return lanes
