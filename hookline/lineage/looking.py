"""Asking Prefect about runs by id: what no event says, and what the events that were lost said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hookline.event import now, rfc3339
from hookline.inbox import Inbox
from hookline.lineage import store
from hookline.lineage.observing import flow_run_row, task_run_row
from hookline.lineage.records import TERMINAL, FlowRun, Observation, TaskRun
from hookline.prefect_api import PrefectApi

#: Pages of task runs that are read for one look.
TASK_PAGES = 50
#: Pages of runs that are looked through for what was missed.
RUN_PAGES = 25
#: The ends of tasks are waited for so long after the end of their flow run.
TASKS_LATE = timedelta(minutes=3)
#: A run that Prefect did not know a moment ago may have been created since; believe it only after this.
GONE_AFTER = timedelta(seconds=30)


async def look_up(inbox: Inbox, prefect: PrefectApi, ids: Sequence[str]) -> list[Observation]:
    """Return what Prefect says of flow runs, and of the tasks of those that have ended.

    Raises
    ------
    PrefectUnavailable, PrefectRefused: Prefect cannot be asked.
    """
    known = await inbox.read(lambda c: store.known_flow_runs(c, ids))
    # A run's row holds its parameters, which can be large; it is read only where events cannot tell.
    asked = [run_id for run_id in ids if run_id not in known or needs_row(known[run_id])]
    rows = await _rows(prefect, "/flow_runs/filter", "flow_runs", asked)
    runs = await _with_names(prefect, rows, known)
    runs, parents = await _with_parents(inbox, prefect, runs, known)
    told = [known[run_id] for run_id in ids if run_id not in set(asked)]
    ended = [run for run in (*runs, *told) if run.is_final]
    tasks, waited_for = await _tasks(inbox, prefect, ended)
    return [
        *parents,
        *tasks,
        *(replace(run, settled=run.is_final and run.id not in waited_for) for run in (*runs, *told)),
        *_gone(asked, rows, known.values()),
    ]


def needs_row(run: FlowRun) -> bool:
    """Return whether Prefect's row of a run says more than the events have: its end, or why it was made."""
    if not run.is_final:
        return True
    return run.auto_scheduled is None and not is_dispatched(run)


def is_dispatched(run: FlowRun) -> bool:
    """Return whether a run seems to be a dispatch's. It only saves work: what started it says the inbox."""
    return any(tag.startswith("event:") for tag in run.tags)


async def missed_runs(inbox: Inbox, prefect: PrefectApi, *, since: datetime, until: datetime) -> list[str]:
    """Return flow runs that were to start in a time, and of which nothing is known.

    Their events may be lost: Prefect keeps them in memory first, and deletes them after some days.

    Raises
    ------
    PrefectUnavailable, PrefectRefused: Prefect cannot be asked.
    """
    body = {
        "flow_runs": {"expected_start_time": {"after_": rfc3339(since), "before_": rfc3339(until)}},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    rows = await prefect.rows("/flow_runs/filter", body, pages=RUN_PAGES)
    ids = [row["id"] for row in rows]
    known = await inbox.read(lambda c: store.known_flow_runs(c, ids))
    return [run_id for run_id in ids if run_id not in known]


async def _with_names(
    prefect: PrefectApi, rows: Sequence[dict[str, Any]], known: dict[str, FlowRun]
) -> list[FlowRun]:
    """Read rows; the names of flow and deployment are asked for where no event has told them."""
    nameless = [row for row in rows if row["id"] not in known or known[row["id"]].flow_name is None]
    flows = {row["flow_id"] for row in nameless if row.get("flow_id")}
    deployments = {row["deployment_id"] for row in nameless if row.get("deployment_id")}
    names = {
        row["id"]: row["name"]
        for row in [
            *(await _rows(prefect, "/flows/filter", "flows", flows)),
            *(await _rows(prefect, "/deployments/filter", "deployments", deployments)),
        ]
    }
    return [
        flow_run_row(row, names.get(row.get("flow_id")), names.get(row.get("deployment_id"))) for row in rows
    ]


async def _with_parents(
    inbox: Inbox, prefect: PrefectApi, runs: list[FlowRun], known: dict[str, FlowRun]
) -> tuple[list[FlowRun], list[TaskRun]]:
    """Find the flow runs of parents: the task run that stands for a subflow in its parent has no events."""
    wanted = {
        run.parent_task_run_id
        for run in runs
        if run.parent_task_run_id is not None
        and (run.id not in known or known[run.id].parent_flow_run_id is None)
    }
    parents = [
        task
        for row in await _rows(prefect, "/task_runs/filter", "task_runs", wanted)
        if (task := task_run_row(row)) is not None
    ]
    flow_run_of = {task.id: task.flow_run_id for task in parents}
    found = [replace(run, parent_flow_run_id=flow_run_of.get(run.parent_task_run_id or "")) for run in runs]
    return found, parents


async def _tasks(
    inbox: Inbox, prefect: PrefectApi, ended: Sequence[FlowRun]
) -> tuple[list[TaskRun], set[str]]:
    """Read the task runs of flow runs that have ended, unless the events have told of them all.

    Returns
    -------
    The task runs, and the flow runs to be asked for again: Prefect itself hears of the ends of their tasks
    late when it is busy.
    """
    if not ended:
        return [], set()
    ids = [run.id for run in ended]
    states = {"state": {"type": {"any_": sorted(TERMINAL - {"GONE"})}}}
    there = await prefect.count("/task_runs/count", {"flow_runs": {"id": {"any_": ids}}, "task_runs": states})
    known = await inbox.read(lambda c: store.task_states(c, ids))
    under_way = {run_id for run_id, (_, waiting) in known.items() if waiting}
    if there <= sum(final for final, _ in known.values()) and not under_way:
        return [], set()
    rows = await prefect.rows("/task_runs/filter", {"flow_runs": {"id": {"any_": ids}}}, pages=TASK_PAGES)
    tasks = [task for row in rows if (task := task_run_row(row)) is not None]
    final = {task.id for task in tasks if task.state in TERMINAL}
    late = {task.flow_run_id for task in tasks if task.id not in final}
    moment = now()
    return tasks, {
        run.id
        for run in ended
        # The tasks of a run that was killed stay as they were.
        if run.id in late
        and run.state in ("COMPLETED", "FAILED")
        and (run.finished is None or moment - run.finished < TASKS_LATE)
    }


async def _rows(prefect: PrefectApi, path: str, kind: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    wanted = sorted(set(ids))
    if not wanted:
        return []
    return await prefect.rows(path, {kind: {"id": {"any_": wanted}}}, pages=TASK_PAGES)


def _gone(ids: Sequence[str], rows: Sequence[dict[str, Any]], known: Iterable[FlowRun]) -> list[FlowRun]:
    """Return the end of runs that Prefect no longer has."""
    there = {row["id"] for row in rows}
    moment = now()
    return [
        replace(
            run,
            state=run.state if run.is_final else "GONE",
            state_name=run.state_name if run.is_final else "Gone",
            state_at=run.state_at if run.is_final else moment,
            settled=True,
        )
        for run in known
        if run.id in set(ids) - there and (run.state_at is None or moment - run.state_at > GONE_AFTER)
    ]
