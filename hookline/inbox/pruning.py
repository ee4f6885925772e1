"""Forgetting what is old or too much, in steps so small that the door does not notice.

Never what is pending or dead, and nothing before its runs are finished. What goes is counted by status in the
same transaction, so that the books still add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, or_, select, text

from hookline.inbox import chain, counting
from hookline.inbox.records import DispatchStatus, EventStatus, first_id_at, time_of_id, to_micros
from hookline.inbox.schema import bodies, dispatches, events, mirror_outbox, rejections, replays

#: Statuses that an event may be forgotten in.
_OVER = (EventStatus.DISPATCHED.value, EventStatus.IGNORED.value)


def prune_events(
    connection: Connection, *, after: str, before: datetime | None, limit: int
) -> tuple[int, str | None]:
    """Forget the oldest events that are over, with all that hangs on them.

    Parameters
    ----------
    after: id of the last event that was looked at.
    before: only those accepted before; None is all.
    limit: how many events to look at.

    Returns
    -------
    How many events were forgotten, and where to go on; None when all have been looked at.
    """
    rows, following = _next(connection, after, before, limit)
    over = without_unfinished(connection, [row.id for row in rows if row.status in _OVER])
    gone = [row for row in rows if row.id in over]
    if gone:
        ids = [row.id for row in gone]
        made = connection.scalars(select(dispatches.c.id).where(dispatches.c.event_id.in_(ids)))
        chain.note_gone(connection, chain.DISPATCH_PRUNED, made.all())
        chain.note_gone(connection, chain.PRUNED, ids)
        counting.forget_through(connection, to_micros(time_of_id(ids[-1])) + 1000)
        for table, column in (
            (bodies, bodies.c.event_id),
            (dispatches, dispatches.c.event_id),
            (mirror_outbox, mirror_outbox.c.event_id),
            (events, events.c.id),
        ):
            connection.execute(delete(table).where(column.in_(ids)))
        for status in _OVER:
            counting.add(connection, f"pruned.{status}", sum(row.status == status for row in gone))
        counting.add(connection, "pruned.duplicates", sum(row.duplicates for row in gone))
    return len(gone), following


def prune_bodies(
    connection: Connection, *, after: str, before: datetime, limit: int
) -> tuple[int, str | None]:
    """Forget the bodies of the oldest events that are over; otherwise as `prune_events`."""
    rows, following = _next(connection, after, before, limit)
    over = without_unfinished(connection, [row.id for row in rows if row.status in _OVER])
    kept = connection.scalars(select(bodies.c.event_id).where(bodies.c.event_id.in_(over))).all()
    chain.note_gone(connection, chain.BODY_PRUNED, kept)
    connection.execute(delete(bodies).where(bodies.c.event_id.in_(kept)))
    return len(kept), following


def prune_rejections(connection: Connection, *, before: datetime, limit: int) -> int:
    """Forget the oldest rejections; return how many."""
    old = (
        select(rejections.c.id)
        .where(rejections.c.id < first_id_at(before))
        .order_by(rejections.c.id)
        .limit(limit)
    )
    return connection.execute(delete(rejections).where(rejections.c.id.in_(old))).rowcount


def prune_replays(connection: Connection, *, before: datetime) -> int:
    """Forget reports of replays that ended long ago; return how many."""
    old = and_(replays.c.status != "running", replays.c.id < first_id_at(before))
    return connection.execute(delete(replays).where(old)).rowcount


def size_bytes(connection: Connection) -> int:
    """Return how much room the inbox's data takes."""
    if connection.dialect.name == "postgresql":
        names = [table.name for table in (events, bodies, dispatches, rejections)]
        total = connection.scalar(
            text(
                "SELECT sum(pg_total_relation_size(CAST(name AS regclass)))"
                " FROM unnest(CAST(:names AS text[])) AS name"
            ),
            {"names": names},
        )
        return int(total or 0)
    pages, free, page_bytes = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0)
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_bytes


def give_back_space(connection: Connection, *, pages: int) -> int:
    """Shrink the file by some of its free pages; return how many are left. PostgreSQL does this by itself."""
    if connection.dialect.name == "postgresql":
        return 0
    # Each row of its answer is a page that moves, so all have to be fetched; with nothing to move its answer
    # is none, which only the driver's cursor takes.
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA incremental_vacuum({int(pages)})")
    cursor.fetchall()
    cursor.close()
    return int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)


def _next(
    connection: Connection, after: str, before: datetime | None, limit: int
) -> tuple[Sequence[Any], str | None]:
    statement = (
        select(events.c.id, events.c.status, events.c.duplicates)
        .where(events.c.id > after)
        .order_by(events.c.id)
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(events.c.id < first_id_at(before))
    rows = connection.execute(statement.with_for_update(skip_locked=True)).all()
    return rows, rows[-1].id if len(rows) == limit else None


def without_unfinished(connection: Connection, event_ids: Sequence[str]) -> list[str]:
    """Return those events to which no unfinished run belongs, those that they merged into included."""
    leaders = dispatches.alias()
    unfinished = connection.scalars(
        select(dispatches.c.event_id)
        .where(
            dispatches.c.event_id.in_(event_ids),
            or_(
                and_(dispatches.c.status == DispatchStatus.STARTED.value, dispatches.c.finished_us.is_(None)),
                exists().where(
                    leaders.c.id == dispatches.c.merged_into,
                    leaders.c.finished_us.is_(None),
                    leaders.c.status.in_(
                        (DispatchStatus.PENDING, DispatchStatus.HELD, DispatchStatus.STARTED)
                    ),
                ),
            ),
        )
        .distinct()
    )
    held_back = set(unfinished)
    return [event_id for event_id in event_ids if event_id not in held_back]
