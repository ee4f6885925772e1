"""The inbox's smaller books: trigger sets, the mirror's outbox, and rejections."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hookline.inbox import counting
from hookline.inbox.reading import event_from_row
from hookline.inbox.records import Rejection, StoredEvent, storable, to_micros
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


def take_from_outbox(
    connection: Connection, *, limit: int, at: datetime, until: datetime
) -> list[StoredEvent]:
    """Return the oldest events that are still to be mirrored; no other gateway takes them before `until`."""
    ids = connection.scalars(
        select(mirror_outbox.c.event_id)
        .where(mirror_outbox.c.taken_until_us <= to_micros(at))
        .order_by(mirror_outbox.c.event_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if not ids:
        return []
    connection.execute(
        update(mirror_outbox).where(mirror_outbox.c.event_id.in_(ids)).values(taken_until_us=to_micros(until))
    )
    rows = connection.execute(select(events).where(events.c.id.in_(ids)).order_by(events.c.id))
    return [event_from_row(row) for row in rows]


def leave_outbox(connection: Connection, event_ids: Sequence[str], *, mirrored: bool) -> None:
    """Take events out of the outbox, and count them: mirrored, or left out because Prefect refused them."""
    gone = connection.execute(delete(mirror_outbox).where(mirror_outbox.c.event_id.in_(event_ids)))
    counting.add(connection, "mirrored" if mirrored else "mirror_left_out", gone.rowcount)


def trim_outbox(connection: Connection, *, keep: int, at_once: int = 5_000) -> int:
    """Leave the oldest events beyond the newest `keep` out of the mirror, and count them."""
    newest_out = connection.scalar(
        select(mirror_outbox.c.event_id).order_by(mirror_outbox.c.event_id.desc()).offset(keep).limit(1)
    )
    if newest_out is None:
        return 0
    surplus = (
        select(mirror_outbox.c.event_id)
        .where(mirror_outbox.c.event_id <= newest_out)
        .order_by(mirror_outbox.c.event_id)
        .limit(at_once)
    )
    gone = connection.execute(delete(mirror_outbox).where(mirror_outbox.c.event_id.in_(surplus)))
    counting.add(connection, "mirror_left_out", gone.rowcount)
    return gone.rowcount


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
                # What is turned away is what somebody else wrote; it must not be what stops this.
                "door": storable(rejection.door),
                "remote": storable(rejection.remote),
                "status": rejection.status,
                "reason": storable(rejection.reason),
                "detail": storable(rejection.detail),
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
