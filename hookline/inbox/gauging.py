"""How much waits in the inbox, for the metrics: counts over partial indexes, which hold only what waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, text

from hookline.inbox import counting
from hookline.inbox.pruning import size_bytes
from hookline.inbox.records import EventStatus, time_of_id
from hookline.inbox.schema import (
    DEAD_LETTER,
    HELD,
    PENDING,
    RUNNING,
    dispatches,
    events,
    mirror_outbox,
)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What waits at one moment.

    Parameters
    ----------
    totals: the exact totals by name.
    unrouted: accepted events that were not matched yet.
    pending, held, running, dead: dispatches; `running` are started ones whose runs are not finished.
    mirror: events that wait for the mirror.
    oldest_unrouted, oldest_pending: since when the one that waits longest has waited.
    size_bytes: room that the inbox's data takes.
    """

    totals: dict[str, int]
    unrouted: int
    pending: int
    held: int
    running: int
    dead: int
    mirror: int
    oldest_unrouted: datetime | None
    oldest_pending: datetime | None
    size_bytes: int


def gauges(connection: Connection) -> Gauges:
    """Return what waits."""

    def count(condition: str) -> int:
        return int(
            connection.scalar(select(func.count()).select_from(dispatches).where(text(condition))) or 0
        )

    accepted = events.c.status == EventStatus.ACCEPTED.value
    # The oldest of all lanes: ids hold their time, so the smallest is the oldest.
    oldest_pending = connection.scalar(select(func.min(dispatches.c.place)).where(text(PENDING)))
    oldest_unrouted = connection.scalar(select(func.min(events.c.id)).where(accepted))
    return Gauges(
        totals=counting.totals(connection),
        unrouted=int(connection.scalar(select(func.count()).select_from(events).where(accepted)) or 0),
        pending=count(PENDING),
        held=count(HELD),
        running=count(RUNNING),
        dead=count(DEAD_LETTER),
        mirror=int(connection.scalar(select(func.count()).select_from(mirror_outbox)) or 0),
        oldest_unrouted=time_of_id(oldest_unrouted) if oldest_unrouted else None,
        oldest_pending=time_of_id(oldest_pending) if oldest_pending else None,
        size_bytes=size_bytes(connection),
    )
