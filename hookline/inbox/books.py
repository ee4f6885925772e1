"""The books: what must hold of the inbox's rows, asked at one moment, with the rows that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select, text

from hookline.inbox import counting
from hookline.inbox.records import DispatchStatus, EventStatus, optional_moment
from hookline.inbox.rules import NAMED, Fault
from hookline.inbox.schema import bodies, dispatches, events


@dataclass(frozen=True, slots=True)
class Books:
    """The inbox's counts at one moment.

    Parameters
    ----------
    received: events that were ever accepted.
    by_status: events that are kept, by status.
    pruned: events that retention has forgotten, by the status that they had.
    dispatches: dispatches that are kept, by status.
    duplicates: deliveries of an event that was there already.
    rejections: requests that were turned away.
    faults: rules that do not hold.
    """

    received: int
    by_status: dict[str, int]
    pruned: dict[str, int]
    dispatches: dict[str, int]
    duplicates: int
    rejections: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A started dispatch, as an audit asks Prefect about it."""

    dispatch_id: str
    event_id: str
    flow_run_id: str
    seen: bool
    run_created: datetime | None = None
    erased: bool = False


def books(connection: Connection) -> Books:
    """Return the counts and what does not fit, all at one moment."""
    totals = counting.totals(connection)
    kept = connection.execute(
        select(events.c.status, func.count(), func.sum(events.c.duplicates)).group_by(events.c.status)
    ).all()
    by_status = {status: int(count) for status, count, _ in kept}
    duplicates = sum(int(again) for _, _, again in kept)
    made = connection.execute(
        select(dispatches.c.status, func.count()).group_by(dispatches.c.status)
    ).tuples()
    pruned = {
        name.removeprefix("pruned."): total
        for name, total in totals.items()
        if name.startswith("pruned.") and name != "pruned.duplicates"
    }
    faults = [Fault(rule, rows, len(rows)) for rule, find in RULES if (rows := find(connection))]
    received = totals.get("received", 0)
    accounted = sum(by_status.values()) + sum(pruned.values())
    if received != accounted:
        faults.append(Fault(f"received {received} events, and {accounted} are accounted for"))
    counted, found = totals.get("duplicates", 0), duplicates + totals.get("pruned.duplicates", 0)
    if counted != found:
        faults.append(Fault(f"counted {counted} duplicates, and events have {found}"))
    return Books(
        received=received,
        by_status=by_status,
        pruned=pruned,
        dispatches=dict(made.all()),
        duplicates=counted,
        rejections=totals.get("rejections", 0),
        faults=tuple(faults),
    )


def started_runs(connection: Connection, *, after: str, limit: int) -> list[StartedRun]:
    """Return started dispatches as pages by id."""
    rows = connection.execute(
        select(
            dispatches.c.id,
            dispatches.c.event_id,
            dispatches.c.flow_run_id,
            dispatches.c.seen,
            dispatches.c.run_created_us,
            events.c.erased_us,
        )
        .join(events, events.c.id == dispatches.c.event_id, isouter=True)
        .where(
            dispatches.c.status == DispatchStatus.STARTED.value,
            dispatches.c.flow_run_id.is_not(None),
            dispatches.c.id > after,
        )
        .order_by(dispatches.c.id)
        .limit(limit)
    )
    return [
        StartedRun(
            row.id,
            row.event_id,
            row.flow_run_id,
            row.seen,
            optional_moment(row.run_created_us),
            row.erased_us is not None,
        )
        for row in rows
    ]


def _rows(statement: Select[Any]) -> Callable[[Connection], tuple[str, ...]]:
    return lambda connection: tuple(connection.scalars(statement.limit(NAMED)))


def _has(*statuses: DispatchStatus) -> ColumnElement[int]:
    # A dead letter that was replayed does not count any more.
    counts = and_(dispatches.c.status.in_(statuses), dispatches.c.replaced_by.is_(None))
    return func.max(case((counts, 1), else_=0))


def _status_does_not_fit() -> Select[Any]:
    of_event = (
        select(
            dispatches.c.event_id,
            _has(DispatchStatus.PENDING, DispatchStatus.HELD).label("active"),
            _has(DispatchStatus.DEAD).label("dead"),
            _has(DispatchStatus.STARTED, DispatchStatus.MERGED).label("went"),
        )
        .group_by(dispatches.c.event_id)
        .subquery()
    )
    derived = case(
        (events.c.routed_us.is_(None), EventStatus.ACCEPTED.value),
        (of_event.c.active == 1, EventStatus.PENDING.value),
        (of_event.c.dead == 1, EventStatus.DEAD.value),
        (of_event.c.went == 1, EventStatus.DISPATCHED.value),
        else_=EventStatus.IGNORED.value,
    )
    unrouted_with_dispatches = and_(events.c.routed_us.is_(None), of_event.c.event_id.is_not(None))
    return (
        select(events.c.id)
        .join(of_event, of_event.c.event_id == events.c.id, isouter=True)
        .where(or_(events.c.status != derived, unrouted_with_dispatches))
    )


def _leaders_are_missing() -> Select[Any]:
    leaders = dispatches.alias()
    return (
        select(dispatches.c.id)
        .join(leaders, leaders.c.id == dispatches.c.merged_into, isouter=True)
        .where(dispatches.c.status == DispatchStatus.MERGED.value, leaders.c.id.is_(None))
    )


RULES: tuple[tuple[str, Callable[[Connection], tuple[str, ...]]], ...] = (
    ("an event's status is the first that holds of its dispatches", _rows(_status_does_not_fit())),
    (
        "a dispatch belongs to an event",
        _rows(
            select(dispatches.c.id)
            .join(events, events.c.id == dispatches.c.event_id, isouter=True)
            .where(events.c.id.is_(None))
        ),
    ),
    (
        "a started dispatch has a flow run",
        _rows(
            select(dispatches.c.id).where(
                dispatches.c.status == DispatchStatus.STARTED.value, dispatches.c.flow_run_id.is_(None)
            )
        ),
    ),
    (
        "a flow run belongs to one dispatch",
        _rows(
            select(dispatches.c.flow_run_id)
            .where(text("flow_run_id IS NOT NULL"))
            .group_by(dispatches.c.flow_run_id)
            .having(func.count() > 1)
        ),
    ),
    ("a merged dispatch names the one that it was merged into", _rows(_leaders_are_missing())),
    (
        "what is filtered or dead says why",
        _rows(
            select(dispatches.c.id).where(
                dispatches.c.status.in_((DispatchStatus.FILTERED, DispatchStatus.DEAD)),
                dispatches.c.reason.is_(None),
            )
        ),
    ),
    (
        "an event that is not over has its body",
        _rows(
            select(events.c.id)
            .join(bodies, bodies.c.event_id == events.c.id, isouter=True)
            .where(
                events.c.status.in_((EventStatus.ACCEPTED, EventStatus.PENDING, EventStatus.DEAD)),
                bodies.c.event_id.is_(None),
                events.c.erased_us.is_(None),
            )
        ),
    ),
)
