"""An event's status, derived from its dispatches and kept beside it so that it can be searched for."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select, update

from hookline.inbox.records import DispatchStatus, EventStatus
from hookline.inbox.schema import dispatches, events


def refresh_status(connection: Connection, event_ids: Iterable[str]) -> None:
    """Derive routed events' status anew: the first of pending, dead, dispatched, ignored that holds."""
    ids = sorted(set(event_ids))
    # Locked before the dispatches are read: of two gateways that settle dispatches of one event at the same
    # time, the second must see what the first one wrote.
    known = connection.execute(
        select(events.c.id, events.c.status)
        .where(events.c.id.in_(ids), events.c.status != EventStatus.ACCEPTED.value)
        .order_by(events.c.id)
        .with_for_update()
    ).tuples()
    before = dict(known.all())
    statuses: dict[str, set[str]] = {event_id: set() for event_id in before}
    rows = connection.execute(
        select(dispatches.c.event_id, dispatches.c.status, dispatches.c.replaced_by).where(
            dispatches.c.event_id.in_(list(before))
        )
    ).tuples()
    for event_id, status, replaced_by in rows:
        if replaced_by is None:
            statuses[event_id].add(status)
    for event_id, held in statuses.items():
        status = derived_status(held).value
        if status != before[event_id]:
            connection.execute(update(events).where(events.c.id == event_id).values(status=status))


def derived_status(statuses: set[str]) -> EventStatus:
    """Return a routed event's status from those of its dispatches, dead ones that were replayed left out."""
    if statuses & {DispatchStatus.PENDING.value, DispatchStatus.HELD.value}:
        return EventStatus.PENDING
    if DispatchStatus.DEAD.value in statuses:
        return EventStatus.DEAD
    if statuses & {DispatchStatus.STARTED.value, DispatchStatus.MERGED.value}:
        return EventStatus.DISPATCHED
    return EventStatus.IGNORED
