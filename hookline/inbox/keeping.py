"""The inbox's smaller books: trigger sets, the mirror's outbox, and rejections."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from hookline.inbox import counting
from hookline.inbox.reading import event_from_row
from hookline.inbox.records import Rejection, StoredEvent, to_micros
from hookline.inbox.schema import events, keyring, mirror_outbox, rejections, trigger_sets

#: Rejections are for looking at, and a hostile sender makes as many as it likes; keep the newest.
REJECTIONS_KEPT = 10_000


def save_trigger_set(connection: Connection, documents: Sequence[dict[str, Any]], *, at: datetime) -> int:
    """Write a new version of the trigger set unless the newest says the same; return its version."""
    version, current = trigger_set(connection)
    if version and current == list(documents):
        return version
    result = connection.execute(
        insert(trigger_sets).values(created_us=to_micros(at), document=orjson.dumps(documents).decode())
    )
    key = result.inserted_primary_key
    assert key is not None  # noqa: S101 - every single-row insert has one; this tells the type checker
    return int(key[0])


def trigger_set(connection: Connection, version: int | None = None) -> tuple[int, list[dict[str, Any]]]:
    """Return a version of the trigger set, the newest by default; version 0 is the empty one."""
    statement = select(trigger_sets).order_by(trigger_sets.c.version.desc()).limit(1)
    if version is not None:
        statement = statement.where(trigger_sets.c.version == version)
    row = connection.execute(statement).first()
    return (0, []) if row is None else (row.version, orjson.loads(row.document))


def outbox(connection: Connection, *, limit: int) -> list[StoredEvent]:
    """Return the oldest events that are still to be mirrored."""
    rows = connection.execute(
        select(events)
        .join(mirror_outbox, mirror_outbox.c.event_id == events.c.id)
        .order_by(mirror_outbox.c.event_id)
        .limit(limit)
    )
    return [event_from_row(row) for row in rows]


def mirrored(connection: Connection, event_ids: Sequence[str]) -> None:
    """Take events out of the outbox, and count them."""
    connection.execute(delete(mirror_outbox).where(mirror_outbox.c.event_id.in_(event_ids)))
    counting.add(connection, "mirrored", len(event_ids))


def trim_outbox(connection: Connection, *, keep: int) -> int:
    """Leave the oldest events beyond `keep` out of the mirror, and count them."""
    waiting = connection.scalar(select(func.count()).select_from(mirror_outbox)) or 0
    surplus = int(waiting) - keep
    if surplus <= 0:
        return 0
    oldest = connection.scalars(
        select(mirror_outbox.c.event_id).order_by(mirror_outbox.c.event_id).limit(surplus)
    ).all()
    connection.execute(delete(mirror_outbox).where(mirror_outbox.c.event_id.in_(oldest)))
    counting.add(connection, "mirror_left_out", len(oldest))
    return len(oldest)


def reject(connection: Connection, turned_away: Sequence[Rejection]) -> None:
    """Write what was turned away, count it, and forget the oldest beyond the limit."""
    if not turned_away:
        return
    connection.execute(
        insert(rejections),
        [
            {
                "id": rejection.id,
                "at_us": to_micros(rejection.at),
                "door": rejection.door,
                "remote": rejection.remote,
                "status": rejection.status,
                "reason": rejection.reason,
                "detail": rejection.detail,
                "size": rejection.size,
            }
            for rejection in turned_away
        ],
    )
    counting.add(connection, "rejections", len(turned_away))
    oldest_kept = connection.scalar(
        select(rejections.c.id).order_by(rejections.c.id.desc()).offset(REJECTIONS_KEPT - 1).limit(1)
    )
    if oldest_kept is not None:
        connection.execute(delete(rejections).where(rejections.c.id < oldest_kept))


def shared_secret(connection: Connection, name: str) -> bytes:
    """Return the 32 random bytes that all gateways of this inbox share under a name; made on first use."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(
        dialect.insert(keyring).on_conflict_do_nothing(), {"name": name, "secret": secrets.token_bytes(32)}
    )
    return bytes(connection.scalars(select(keyring.c.secret).where(keyring.c.name == name)).one())
