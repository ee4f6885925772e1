"""Recording arrivals: deduplicated per door, counted, and written together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from hookline.event import Draft
from hookline.inbox import counting
from hookline.inbox.records import Arrival, EventStatus, Recorded, to_micros
from hookline.inbox.schema import bodies, events

DIGEST_BYTES = 16


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
    rows = [_event_row(arrival) for arrival in arrivals]
    _set_depths(connection, arrivals, rows)
    _end_windows(connection, arrivals, rows)
    fresh = _insert_new(connection, rows)
    _insert_bodies(connection, [a for a, row in zip(arrivals, rows, strict=True) if row["id"] in fresh])
    counting.add(connection, "received", len(fresh))
    return _outcomes(connection, arrivals, rows, fresh)


def _event_row(arrival: Arrival) -> dict[str, Any]:
    draft = arrival.draft
    digest = body_digest(draft.body)
    accepted_us = to_micros(arrival.accepted)
    cause = draft.cause
    return {
        "id": arrival.id,
        "door": draft.door,
        "source": draft.source,
        "source_id": draft.source_id,
        "dedup_key": _dedup_key(draft, digest),
        "type": draft.type,
        "subject": draft.subject,
        "time_us": accepted_us if draft.time is None else to_micros(draft.time),
        "accepted_us": accepted_us,
        "status": EventStatus.ACCEPTED.value,
        "digest": digest,
        "size": len(draft.body),
        "by_reference": draft.by_reference,
        "cause_event": cause.event if cause else None,
        "cause_flow_run": cause.flow_run if cause else None,
        "cause_task_run": cause.task_run if cause else None,
        "depth": 0,
        "traceparent": draft.traceparent,
        "verdict": draft.verdict,
        "remote": draft.remote,
    }


def _dedup_key(draft: Draft, digest: bytes) -> str | None:
    if draft.source_id is not None:
        return f"id:{draft.source_id}"
    return f"body:{digest.hex()}" if draft.dedup_window is not None else None


def _set_depths(connection: Connection, arrivals: Sequence[Arrival], rows: list[dict[str, Any]]) -> None:
    """Give events that runs sent their place in the chain: one deeper than their cause."""
    causes = {a.draft.cause.event for a in arrivals if a.draft.cause and a.draft.cause.event}
    if not causes:
        return
    found = connection.execute(select(events.c.id, events.c.depth).where(events.c.id.in_(causes)))
    depths = dict(found.tuples().all())
    for row in rows:
        if row["cause_event"] is not None:
            row["depth"] = depths.get(row["cause_event"], 0) + 1


def _end_windows(connection: Connection, arrivals: Sequence[Arrival], rows: list[dict[str, Any]]) -> None:
    """Let go of body digests whose window is over, so that the same body is an event again."""
    for arrival, row in zip(arrivals, rows, strict=True):
        window = arrival.draft.dedup_window
        if window is not None and row["source_id"] is None:
            connection.execute(
                update(events)
                .where(
                    events.c.door == row["door"],
                    events.c.dedup_key == row["dedup_key"],
                    events.c.accepted_us <= to_micros(arrival.accepted - window),
                )
                .values(dedup_key=None)
            )


def _insert_new(connection: Connection, rows: list[dict[str, Any]]) -> set[str]:
    """Insert the rows whose dedup key is new at their door; return their ids."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(events).on_conflict_do_nothing()
    result = connection.execute(statement, rows)
    ids = {row["id"] for row in rows}
    if result.rowcount == len(rows):
        return ids
    return set(connection.scalars(select(events.c.id).where(events.c.id.in_(ids))))


def _insert_bodies(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    if arrivals:
        connection.execute(
            insert(bodies),
            [
                {
                    "event_id": arrival.id,
                    "body": arrival.draft.body,
                    "body_format": arrival.draft.body_format.value,
                    "content_type": arrival.draft.content_type,
                    "headers": orjson.dumps(arrival.draft.headers).decode(),
                }
                for arrival in arrivals
            ],
        )


def _outcomes(
    connection: Connection, arrivals: Sequence[Arrival], rows: list[dict[str, Any]], fresh: set[str]
) -> list[Recorded]:
    if len(fresh) == len(rows):
        return [Recorded(row["id"], depth=row["depth"]) for row in rows]
    firsts = _first_ones(connection, (row for row in rows if row["id"] not in fresh))
    outcomes = []
    seen_again: list[dict[str, Any]] = []
    for arrival, row in zip(arrivals, rows, strict=True):
        if row["id"] in fresh:
            outcomes.append(Recorded(row["id"], depth=row["depth"]))
            continue
        first_id, first_digest = firsts[row["door"], row["dedup_key"]]
        conflict = first_digest != row["digest"]
        outcomes.append(Recorded(first_id, duplicate=True, conflict=conflict))
        # A strict door turns a conflict away: that is a rejection, not a duplicate.
        if not (conflict and arrival.draft.strict):
            seen_again.append({"the_id": first_id, "one_more": int(conflict)})
    _count_again(connection, seen_again)
    return outcomes


def _first_ones(
    connection: Connection, rows: Iterable[dict[str, Any]]
) -> dict[tuple[str, str], tuple[str, bytes]]:
    keys = {(row["door"], row["dedup_key"]) for row in rows}
    found = connection.execute(
        select(events.c.door, events.c.dedup_key, events.c.id, events.c.digest).where(
            tuple_(events.c.door, events.c.dedup_key).in_(keys)
        )
    )
    return {(door, key): (first_id, bytes(digest)) for door, key, first_id, digest in found.tuples()}


def _count_again(connection: Connection, seen_again: list[dict[str, Any]]) -> None:
    if seen_again:
        connection.execute(
            update(events)
            .where(events.c.id == bindparam("the_id"))
            .values(duplicates=events.c.duplicates + 1, conflicts=events.c.conflicts + bindparam("one_more")),
            seen_again,
        )
        counting.add(connection, "duplicates", len(seen_again))
