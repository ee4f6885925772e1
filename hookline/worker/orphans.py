"""Finds the flow runs of workers that are gone, and says what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.types._datetime import now

from hookline.worker.ends import hand_back, run_hooks
from hookline.worker.job import configure

if TYPE_CHECKING:
    from hookline.worker.warm import WarmWorker

logger = logging.getLogger("prefect.hookline.worker")

_MANY = 200
#: In which a worker that has a run has said so in Prefect.
_LONG_ENOUGH_SECONDS = 15.0
_LOST = "The worker that ran it is gone."


async def look_after(worker: WarmWorker) -> None:
    """Recover orphans now and with every heartbeat, for ever."""
    unsure: dict[UUID, float] = {}
    while True:
        try:
            for run_id, certain in worker.journal.orphans():
                unsure[run_id] = 0.0 if certain else time.monotonic() + _LONG_ENOUGH_SECONDS
            for run_id in [run_id for run_id, until in unsure.items() if time.monotonic() >= until]:
                await _recover_from_journal(worker, run_id, certain=unsure.pop(run_id) == 0.0)
            for flow_run in await _runs_of_offline_workers(worker):
                await recover(worker, flow_run)
        except (httpx.HTTPError, OSError):
            logger.warning("Flow runs of workers that are gone could not be looked for.", exc_info=True)
        await asyncio.sleep(min(worker.heartbeat_interval_seconds, _LONG_ENOUGH_SECONDS))


async def recover(worker: WarmWorker, flow_run: FlowRun) -> None:
    """Hand back a run that had not begun; mark one that had as Crashed, or have it retried, as it asks."""
    state = flow_run.state
    if state is None or worker.has(flow_run.id):
        return
    latest = (await worker.client.read_flow_run(flow_run.id)).state
    if latest is None or latest.id != state.id:
        return  # another worker was faster
    if state.is_pending():
        logger.warning("Flow run %s was claimed by a worker that is gone; it is handed back.", flow_run.id)
        await hand_back(worker, flow_run)
    elif state.is_running():
        configuration = await configure(worker, flow_run)
        if configuration.when_lost == "retry":
            await hand_back(worker, flow_run)
            return
        crashed = await worker.crash(flow_run, _LOST)
        if crashed is not None and crashed.is_crashed():
            await run_hooks(worker, flow_run, "crashed", crashed)
    elif state.is_cancelling():
        await worker._mark_flow_run_as_cancelled(
            flow_run, state_updates={"message": _LOST, "type": StateType.CANCELLED}
        )


async def _recover_from_journal(worker: WarmWorker, run_id: UUID, *, certain: bool) -> None:
    """Recover a run that a dead worker had in hand, or had reached for.

    A worker that was given a run makes it Submitting at once: one that is still plainly Pending after a
    while belongs to nobody.
    """
    try:
        flow_run = await worker.client.read_flow_run(run_id)
        if certain or flow_run.state_name == "Pending":
            await recover(worker, flow_run)
    except ObjectNotFound:
        pass
    finally:
        worker.journal.end(run_id)


async def _runs_of_offline_workers(worker: WarmWorker) -> list[FlowRun]:
    """Return runs whose worker, on some other machine, has stopped its heartbeats."""
    running = await worker.client.read_flow_runs(
        sort=FlowRunSort.START_TIME_ASC,
        limit=_MANY,
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[worker.work_pool.name])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(
                type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
            )
        ),
    )
    # A run that has just been taken over still has the label of its worker before.
    latest = now("UTC") - timedelta(seconds=_LONG_ENOUGH_SECONDS)
    strangers = [
        run
        for run in running
        if not worker.has(run.id)
        and "prefect.worker.name" in run.labels
        and run.state is not None
        and run.state.timestamp < latest
    ]
    if not strangers:
        return []
    workers = await worker.client.read_workers_for_work_pool(worker.work_pool.name)
    online = {other.name for other in workers if other.status.value == "ONLINE"} | {worker.name}
    return [run for run in strangers if run.labels["prefect.worker.name"] not in online]
