"""Erasing a person's data: what somebody wrote goes, the accounting stays, and the chain says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, or_, select, update

from hookline.inbox import chain
from hookline.inbox.pruning import without_unfinished
from hookline.inbox.records import DispatchStatus, EventStatus, to_micros
from hookline.inbox.schema import bodies, dispatches, events, mirror_outbox

#: What nothing will be done for by itself. A dead letter that is erased cannot be replayed any more.
_OVER = (EventStatus.DISPATCHED.value, EventStatus.IGNORED.value, EventStatus.DEAD.value)
_ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased, or would be.

    Parameters
    ----------
    erased: ids of the events.
    unfinished: ids of those that are left as they are: something is still to be done for them.
    flow_run_ids: runs that had these events as parameters: Prefect keeps those.
    """

    erased: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    flow_run_ids: tuple[str, ...] = ()

    def __add__(self, more: Erasure) -> Erasure:
        return Erasure(
            self.erased + more.erased,
            self.unfinished + more.unfinished,
            tuple(dict.fromkeys(self.flow_run_ids + more.flow_run_ids)),
        )


def erase(
    connection: Connection, event_ids: Sequence[str], *, at: datetime, with_ids: bool, dry_run: bool
) -> Erasure:
    """Erase what senders wrote in some events: body, headers, subject, address, and what was derived of them.

    Type, source, times and status stay, and so do dispatches and runs.

    Parameters
    ----------
    with_ids: the senders' own ids too; a redelivery is a new event then.
    dry_run: only say what would be erased.
    """
    rows = connection.execute(
        select(events)
        .where(events.c.id.in_(event_ids), events.c.erased_us.is_(None))
        .order_by(events.c.id)
        .with_for_update()
    ).all()
    over = set(without_unfinished(connection, [row.id for row in rows if row.status in _OVER]))
    gone = [row for row in rows if row.id in over]
    ids = [row.id for row in gone]
    found = Erasure(tuple(ids), tuple(row.id for row in rows if row.id not in over), _runs(connection, ids))
    if dry_run or not gone:
        return found
    if connection.dialect.name == "sqlite":
        # What is deleted is written over, and not only forgotten.
        connection.exec_driver_sql("PRAGMA secure_delete = ON").close()
    connection.execute(delete(bodies).where(bodies.c.event_id.in_(ids)))
    connection.execute(delete(mirror_outbox).where(mirror_outbox.c.event_id.in_(ids)))
    for row, salt in zip(gone, chain.salts(len(gone)), strict=True):
        _erase_event(connection, row, salt, to_micros(at), with_ids)
    _erase_dispatches(connection, ids)
    return found


def _runs(connection: Connection, event_ids: Sequence[str]) -> tuple[str, ...]:
    of_these = dispatches.c.event_id.in_(event_ids)
    leaders = select(dispatches.c.merged_into).where(of_these, dispatches.c.merged_into.is_not(None))
    return tuple(
        connection.scalars(
            select(dispatches.c.flow_run_id)
            .where(dispatches.c.flow_run_id.is_not(None), or_(of_these, dispatches.c.id.in_(leaders)))
            .order_by(dispatches.c.id)
        )
    )


def _erase_event(connection: Connection, row: Any, salt: bytes, at_us: int, with_ids: bool) -> None:
    values: dict[str, Any] = {
        "subject": None,
        # It says what the body was to whoever can guess it.
        "digest": b"",
        "body_dedup": False,
        "tracestate": None,
        "remote": "",
        "erased_us": at_us,
        "salt": salt,
    }
    if with_ids:
        values |= {"source_id": None, "dedup_key": None}
    connection.execute(update(events).where(events.c.id == row.id).values(**values))
    after = {**row._mapping, **values}
    leaf = chain.leaf(salt, (*(after[name] for name in chain.EVENT_FIELDS), at_us))
    chain.note(connection, [chain.ERASED + chain.key(row.id) + leaf])


def _erase_dispatches(connection: Connection, event_ids: Sequence[str]) -> None:
    """Erase what was derived of the events: reasons, answers and keys may quote them."""
    rows = connection.execute(select(dispatches).where(dispatches.c.event_id.in_(event_ids))).all()
    for row, salt in zip(rows, chain.salts(len(rows)), strict=True):
        says_why = row.status in (DispatchStatus.FILTERED, DispatchStatus.DEAD)
        values = {
            "reason": _ERASED if says_why else None,
            "response": None,
            "concurrency_key": None,
            "debounce_key": None,
            "salt": None if row.salt is None else salt,
        }
        connection.execute(update(dispatches).where(dispatches.c.id == row.id).values(**values))
        if row.salt is not None:
            chain.note_made(connection, [{**row._mapping, **values}])
