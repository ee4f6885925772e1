"""Judging runs that Prefect has by what the inbox knows: the audit's other direction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, select

from hookline.inbox import chain, counting
from hookline.inbox.records import ACTIVE, from_micros, time_of_id, to_micros
from hookline.inbox.schema import chain_links, dispatches, events

#: An event is linked when it is accepted, and a dispatch when it is made: within this, by any clock.
_LINKED_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """A run of which no dispatch is known yet.

    Parameters
    ----------
    dispatch_id: the one that its idempotency key names, if that is of our form.
    event_ids: the events that its tags name.
    is_tagged: it has the tag of this inbox.
    """

    id: str
    dispatch_id: str | None
    event_ids: tuple[str, ...]
    is_tagged: bool


class Standing(StrEnum):
    """How a run stands to the inbox."""

    OURS = "ours"
    #: Of another inbox, or of none.
    ELSEWHERE = "elsewhere"
    #: Of events that retention has taken.
    FORGOTTEN = "forgotten"
    #: Of events or dispatches that this inbox never had, though they are its own: it is older than Prefect.
    NEWER = "newer"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the inbox says of a run.

    Parameters
    ----------
    at: when its event was accepted, or its dispatch made, of one that is newer than the inbox.
    """

    run: ForeignRun
    standing: Standing
    reason: str = ""
    at: datetime | None = None


def forgotten_through(connection: Connection) -> datetime:
    """Return up to which accepted time retention has taken events."""
    return from_micros(counting.totals(connection).get(counting.FORGOTTEN_THROUGH, 0))


def judge(connection: Connection, runs: Sequence[ForeignRun]) -> list[Judgement]:
    """Say of runs how they stand to the inbox."""
    known = {
        row.id: row
        for row in connection.execute(
            select(dispatches.c.id, dispatches.c.status, dispatches.c.flow_run_id).where(
                dispatches.c.id.in_([run.dispatch_id for run in runs if run.dispatch_id])
            )
        )
    }
    named = {event_id for run in runs for event_id in run.event_ids}
    there = set(connection.scalars(select(events.c.id).where(events.c.id.in_(named))))
    through = forgotten_through(connection)
    found: list[Judgement] = []
    unknown: list[tuple[ForeignRun, str]] = []
    for run in runs:
        dispatch = known.get(run.dispatch_id or "")
        if dispatch is not None:
            found.append(_of_dispatch(run, dispatch.status, dispatch.flow_run_id))
        elif not run.is_tagged and not there & set(run.event_ids):
            found.append(Judgement(run, Standing.ELSEWHERE))
        elif run.dispatch_id is None or not run.event_ids:
            found.append(Judgement(run, Standing.WRONG, "no dispatch started it: its key is not ours"))
        elif not there & set(run.event_ids) and all(_time(each) <= through for each in run.event_ids):
            found.append(Judgement(run, Standing.FORGOTTEN))
        else:
            missing = run.dispatch_id if there & set(run.event_ids) else run.event_ids[0]
            unknown.append((run, missing))
    linked = _linked(connection, [row_id for _, row_id in unknown])
    for run, row_id in unknown:
        what = "dispatch" if row_id == run.dispatch_id else "event"
        if row_id in linked:
            reason = f"its {what} {row_id} is in the chain, and was taken out of the inbox"
            found.append(Judgement(run, Standing.WRONG, reason))
        elif _is_time_ordered(row_id):
            found.append(Judgement(run, Standing.NEWER, at=_time(row_id)))
        else:
            found.append(Judgement(run, Standing.WRONG, f"this inbox never made its {what} {row_id}"))
    return found


def _of_dispatch(run: ForeignRun, status: str, flow_run_id: str | None) -> Judgement:
    if flow_run_id == run.id or status in ACTIVE:
        return Judgement(run, Standing.OURS)
    other = "" if flow_run_id is None else f" with the run {flow_run_id}"
    return Judgement(run, Standing.WRONG, f"its dispatch {run.dispatch_id} is {status}{other}")


def _linked(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Return those rows that the chain has entries of."""
    wanted = {chain.key(row_id): row_id for row_id in ids if _is_time_ordered(row_id)}
    if not wanted:
        return set()
    times = [_time(row_id) for row_id in wanted.values()]
    since_us, until_us = to_micros(min(times) - _LINKED_WITHIN), to_micros(max(times) + _LINKED_WITHIN)
    found: set[str] = set()
    statement = select(chain_links.c.entries).where(
        chain_links.c.entries.is_not(None), chain_links.c.at_us.between(since_us, until_us)
    )
    for entries in connection.scalars(statement.execution_options(yield_per=500)):
        for at in range(0, len(entries), chain.ENTRY_BYTES):
            row_id = wanted.get(bytes(entries[at + 1 : at + 17]))
            if row_id is not None:
                found.add(row_id)
    return found


def _is_time_ordered(row_id: str) -> bool:
    return len(row_id) == 36 and row_id[14] == "7"


def _time(row_id: str) -> datetime:
    try:
        return time_of_id(row_id)
    except (ValueError, OverflowError):
        return datetime.max.replace(tzinfo=from_micros(0).tzinfo)
