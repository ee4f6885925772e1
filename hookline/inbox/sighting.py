"""Writing down what was seen of runs; news comes late, twice, in any order, and from several gateways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from hookline.inbox import holding
from hookline.inbox.records import (
    GONE,
    TERMINAL_STATES,
    News,
    RunSeen,
    Step,
    from_micros,
    storable,
    to_micros,
)
from hookline.inbox.schema import dispatches

_CHANGING = (
    "state", "state_as_of_us", "flow_run_name", "run_started_us", "first_task_us", "finished_us", "seen"
)  # fmt: skip
_STEPS = {"run_started": "run_started_us", "first_task": "first_task_us", "finished": "finished_us"}


def see_runs(connection: Connection, seen: Sequence[RunSeen]) -> News:
    """Write what was seen of runs, and let go on what waited for the end of one.

    News that is older than what is known only fills in times that were missing.
    """
    if not seen:
        return News()
    by_run: dict[str, list[RunSeen]] = {}
    for sighting in seen:
        by_run.setdefault(sighting.flow_run_id, []).append(sighting)
    if any(sighting.state in TERMINAL_STATES for sighting in seen) and _is_keyed(connection, by_run):
        holding.lock(connection)
    rows = _rows(connection, by_run)
    changes: list[dict[str, Any]] = []
    finished: list[Row[Any]] = []
    steps: list[Step] = []
    events: list[str] = []
    for row in rows:
        before = {name: getattr(row, name) for name in _CHANGING}
        after = dict(before)
        for sighting in by_run[row.flow_run_id]:
            after |= picture(after, sighting)
        if after["finished_us"] is not None:
            finished.append(row)
        if after != before:
            changes.append({"the_id": row.id, **after})
            events.append(row.event_id)
            steps += _steps(row, before, after)
    if changes:
        connection.execute(
            update(dispatches)
            .where(dispatches.c.id == bindparam("the_id"))
            .values({name: bindparam(name) for name in _CHANGING}),
            changes,
        )
    newly = [row for row in finished if row.finished_us is None]
    lanes = holding.release_keys(connection, newly)
    return News(tuple(events), tuple(row.id for row in finished), frozenset(lanes), tuple(steps))


def picture(known: dict[str, Any], sighting: RunSeen) -> dict[str, Any]:
    """Return what a sighting changes in what is known of a run. Pure.

    Parameters
    ----------
    known: the columns of the run's dispatch, by name.
    """
    changes: dict[str, Any] = {}
    as_of_us = to_micros(sighting.as_of)
    if sighting.state != GONE:
        changes["seen"] = True
    if sighting.name:
        changes["flow_run_name"] = storable(sighting.name)
    for column, moment in (("run_started_us", sighting.started), ("first_task_us", sighting.first_task)):
        if moment is not None:
            micros, before = to_micros(moment), known[column]
            changes[column] = micros if before is None else min(before, micros)
    if sighting.state is None or as_of_us < (known["state_as_of_us"] or 0):
        return changes
    is_final = sighting.state in TERMINAL_STATES
    if as_of_us == known["state_as_of_us"] and known["finished_us"] is not None and not is_final:
        # Two states of one moment: a run does not end twice, so the end came second.
        return changes
    changes |= {"state": sighting.state, "state_as_of_us": as_of_us}
    if not is_final:
        # Prefect may retry a finished run when somebody asks for it: it is not finished after all.
        changes["finished_us"] = None
    elif known["finished_us"] is None or as_of_us > known["state_as_of_us"]:
        changes["finished_us"] = to_micros(sighting.finished or sighting.as_of)
    return changes


def _rows(connection: Connection, flow_run_ids: Iterable[str]) -> list[Row[Any]]:
    # In one order everywhere: two gateways that see the same runs would else wait for each other.
    return list(
        connection.execute(
            select(dispatches)
            .where(dispatches.c.flow_run_id.in_(list(flow_run_ids)))
            .order_by(dispatches.c.id)
            .with_for_update()
        )
    )


def _is_keyed(connection: Connection, flow_run_ids: Iterable[str]) -> bool:
    """Return whether one of these runs may have others waiting for it."""
    found = connection.scalar(
        select(dispatches.c.id)
        .where(dispatches.c.flow_run_id.in_(list(flow_run_ids)), dispatches.c.concurrency_key.is_not(None))
        .limit(1)
    )
    return found is not None


def _steps(row: Row[Any], before: dict[str, Any], after: dict[str, Any]) -> list[Step]:
    return [
        Step(row.event_id, row.lane, name, from_micros(after[column]), after["state"], row.replay > 0)
        for name, column in _STEPS.items()
        if before[column] is None and after[column] is not None
    ]
