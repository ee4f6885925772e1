"""The worker type `warm`: a Prefect worker whose flow runs start in processes that are already there."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import httpx
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkPool
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import Event
from prefect.exceptions import Abort, ObjectNotFound
from prefect.logging.handlers import set_api_log_sink
from prefect.settings import get_current_settings
from prefect.states import Crashed
from prefect.types._datetime import now
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseWorker, BaseWorkerResult

from hookline.worker import carrying, ends, orphans, wakeup
from hookline.worker.carrying import carry
from hookline.worker.configuration import PoolSettings, WarmConfiguration, WarmVariables
from hookline.worker.courier import Courier
from hookline.worker.intake import Intake
from hookline.worker.journal import Journal
from hookline.worker.known import Known
from hookline.worker.nurseries import AnyNursery, choose_nursery
from hookline.worker.patience import AsyncPatientTransport
from hookline.worker.project import project_of
from hookline.worker.reaching import await_server
from hookline.worker.runs import Run

if TYPE_CHECKING:
    import anyio.abc

#: How many children wait ahead of need, at most.
_IDLE_CHILDREN = 4
#: How long after its stream is open the server may still miss an event for us.
_SUBSCRIBED_SECONDS = 1.0
#: Deployments are often changed several at a time.
_MORE_CHANGES_SECONDS = 1.0


class WarmWorkerResult(BaseWorkerResult):
    """How the process of one flow run ended."""


class WarmWorker(BaseWorker[WarmConfiguration, WarmVariables, WarmWorkerResult]):
    """Runs each flow run in a process that already holds Prefect and the project's flows."""

    type = "warm"
    job_configuration = WarmConfiguration
    job_configuration_variables = WarmVariables

    _description = "Execute flow runs of local code in processes that are already warm. From Hookline."
    _display_name = "Warm"
    _documentation_url = ""
    _logo_url = ""

    nursery: AnyNursery
    courier: Courier
    journal: Journal

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.known = Known(lambda: self.client, self._work_pool_name)
        self._in_hand: dict[UUID, Run] = {}
        self.settings = PoolSettings(processes=1, runs_per_process=1, modules=(), drain_seconds=0)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._carried: set[asyncio.Task[Any]] = set()
        self._run_once = False
        self._is_ready = False
        self._draining = False
        self._looking_at_project: asyncio.Task[Any] | None = None
        horizon = max(self._prefetch_seconds, 2 * get_current_settings().worker.query_seconds)
        self._intake = Intake(self, timedelta(seconds=horizon))

    # The life of the worker

    async def start(
        self, run_once: bool = False, with_healthcheck: bool = False, printer: Callable[..., None] = print
    ) -> None:
        """Run the worker until it is cancelled, or until what waits now has run."""
        self._run_once = run_once
        await super().start(run_once=run_once, with_healthcheck=with_healthcheck, printer=printer)

    async def _initialize_after_sync(self) -> None:
        """Get ready, once the pool is known and before the first flow run is asked for."""
        if self._work_pool is not None and not self._is_ready:
            await self._get_ready(self._work_pool)
            self._is_ready = True
        await super()._initialize_after_sync()

    async def _get_ready(self, pool: WorkPool) -> None:
        stack = self._exit_stack
        self._loop = asyncio.get_running_loop()
        http = self.client._client
        http._transport = AsyncPatientTransport(http._transport)
        self.courier = await stack.enter_async_context(Courier(self.client))
        set_api_log_sink(self._log)
        stack.callback(set_api_log_sink, None)
        folder = get_current_settings().home / "hookline" / "journals" / str(pool.id)
        self.journal = stack.enter_context(Journal(folder))
        environment = {**os.environ, **WarmConfiguration._base_environment()}
        self._project = project = await project_of(self.client, pool)
        idle = min(self.settings.processes, _IDLE_CHILDREN)
        self.nursery = await stack.enter_async_context(choose_nursery(project, idle, environment))
        if self._run_once:
            return
        self.spawn(self._intake.serve())
        self.spawn(wakeup.listen(pool.id, self._hear, self._stream_opened, self._stream_closed))
        self.spawn(orphans.look_after(self))

    async def _setup_cancellation_observer(self) -> None:
        """Do without Prefect's observer: the worker's own stream tells of cancellations."""

    async def teardown(self, *exc_info: Any) -> None:
        """Start nothing more, let runs finish or hand them back, then leave."""
        self._draining = True
        self._intake.close()
        if self._is_ready:
            await ends.drain(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().teardown(*exc_info)
        self._is_ready = False

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do work in the background, until the worker leaves."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def drain_seconds(self) -> float | None:
        """For how long runs may go on when the worker leaves; None for as long as they take."""
        return None if self._run_once else self.settings.drain_seconds

    @property
    def runs(self) -> list[Run]:
        """The flow runs in hand."""
        return list(self._in_hand.values())

    async def await_runs(self, seconds: float | None) -> None:
        """Return when no flow run is in hand, or after some seconds."""
        carried = [task for task in self._carried if not task.done()]
        if carried:
            await asyncio.wait(carried, timeout=seconds)

    # What Prefect tells

    def _hear(self, event: Event) -> None:
        name = event.event
        if name in wakeup.CHANGED:
            self.known.forget(event.resource.id)
            self._intake.freed()
            if name in wakeup.DEPLOYED:
                self._look_at_project()
            return
        run = self._in_hand.get(wakeup.run_of(event))
        if name in wakeup.WAITING:
            if run is None:
                self._intake.notice(wakeup.run_of(event), wakeup.queue_of(event))
        elif run is not None and name == wakeup.SUSPENDED:
            self.spawn(ends.suspend(self, run))
        elif run is not None:
            self.spawn(ends.cancel(self, run))

    def _look_at_project(self) -> None:
        """Find out in a moment, when more changes may have come, what the pool's deployments need now."""
        if self._looking_at_project is None or self._looking_at_project.done():
            self._looking_at_project = self.spawn(self._renew_project())

    async def _renew_project(self) -> None:
        await asyncio.sleep(_MORE_CHANGES_SECONDS)
        try:
            project = await project_of(self.client, self.work_pool)
        except httpx.HTTPError:
            return  # then its new modules are imported by the runs that need them
        if project != self._project:
            self._project = project
            self.nursery.renew_soon(project)

    def _stream_opened(self) -> None:
        # The server takes a moment to subscribe us; what is kept from now on might miss a change.
        asyncio.get_running_loop().call_later(_SUBSCRIBED_SECONDS, self._go_live, True)
        self._intake.want_look()

    def _stream_closed(self) -> None:
        self._go_live(False)

    def _go_live(self, live: bool) -> None:
        self.known.live = live

    def _record_work_pool_snapshot(self, work_pool: WorkPool) -> None:
        super()._record_work_pool_snapshot(work_pool)
        self.settings = PoolSettings.of(self.work_pool)

    # What the intake asks (see `intake.Yard`)

    def free(self) -> int:
        """Return how many flow runs can be started now."""
        most = self.settings.processes if self._limit is None else min(self.settings.processes, self._limit)
        return 0 if self._draining else most - len(self._in_hand)

    def has(self, run_id: UUID) -> bool:
        """Return whether a flow run is in hand."""
        return run_id in self._in_hand

    def take(self, flow_run: FlowRun, seen: float) -> None:
        """Claim a flow run that was seen waiting, and carry it to its end."""
        run = Run(flow_run)
        self._in_hand[flow_run.id] = run
        task = self.spawn(self._carry(run, seen))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def read(self, run_id: UUID) -> FlowRun:
        """Read a flow run; raises `ObjectNotFound`."""
        return await self.client.read_flow_run(run_id)

    async def ask(self, before: datetime, limit: int) -> Sequence[FlowRun]:
        """Return the runs of the pool that are to start before a time, as limits and priorities have it."""
        body = {"scheduled_before": before.isoformat(), "limit": limit}
        if self._work_queues:
            body["work_queue_names"] = sorted(self._work_queues)
        path = f"/work_pools/{quote(self._work_pool_name)}/get_scheduled_flow_runs"
        response = await self.client._client.post(path, json=body)
        return [entry.flow_run for entry in WorkerFlowRunResponse.model_validate_list(response.json())]

    async def is_open(self, queue_id: UUID) -> bool:
        """Return whether runs of a queue are ours and may start without a look at limits."""
        pool, queues = await self.known.pool(), await self.known.queues()
        queue = queues.get(queue_id)
        return (
            queue is not None
            and (not self._work_queues or queue.name in self._work_queues)
            and not (pool.is_paused or queue.is_paused)
            and pool.concurrency_limit is None
            and queue.concurrency_limit is None
        )

    async def is_plain(self) -> bool:
        """Return whether runs start in the order of their time, since the pool has but one queue."""
        return len(await self.known.queues()) == 1

    # What Prefect's worker does with it

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Poll once: the safety net under the event stream, and enough by itself."""
        if not self._is_ready:
            return []
        if not self.known.live:
            await self._check_runs_in_hand()
        started = await self._intake.look()
        self._last_polled_time = now("UTC")
        return started

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> WarmWorkerResult:
        """Run a flow run that is claimed already, for `submit`, and say how its process ended."""
        run = Run(flow_run)
        run.configuration = configuration
        self._in_hand[flow_run.id] = run
        try:
            started = None if task_status is None else task_status.started
            status = await carrying.run_claimed(self, run, started)
            if status is None:
                raise RuntimeError(f"Flow run {flow_run.id} could not be started; its log says why.")
        finally:
            del self._in_hand[flow_run.id]
        return WarmWorkerResult(status_code=status, identifier=str(run.pid))

    def run_labels(self) -> dict[str, bool | int | float | str]:
        """Return what the worker adds to the labels of its runs."""
        return {
            "prefect.worker.name": self.name,
            "prefect.worker.type": self.type,
            "prefect.work-pool.name": self.work_pool.name,
            "prefect.work-pool.id": str(self.work_pool.id),
        }

    async def crash(self, flow_run: FlowRun, message: str) -> State[Any] | None:
        """Say that a run crashed; return its state then, or None if it was final or is gone."""
        logger = self.get_flow_run_logger(flow_run)
        try:
            state = await propose_state(self.client, Crashed(message=message), flow_run_id=flow_run.id)
        except (Abort, ObjectNotFound):
            return None
        except Exception:
            logger.exception(f"Failed to update state of flow run '{flow_run.id}'")
            return None
        if state.is_crashed():
            logger.info(f"Reported flow run '{flow_run.id}' as crashed: {message}")
        return state

    async def _carry(self, run: Run, seen: float) -> None:
        try:
            await carry(self, run, seen)
        except Exception:
            self._logger.exception("Flow run %s could not be carried to its end", run.flow_run.id)
        finally:
            self.journal.end(run.flow_run.id)
            del self._in_hand[run.flow_run.id]
            self.nursery.replenish()
            self._intake.freed()

    async def _check_runs_in_hand(self) -> None:
        """Look for cancellations and suspensions, when no event would tell."""
        if not self._in_hand:
            return
        stopped = await self.client.read_flow_runs(
            sort=FlowRunSort.ID_DESC,
            limit=len(self._in_hand),
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(any_=list(self._in_hand)),
                state=FlowRunFilterState(
                    type=FlowRunFilterStateType(
                        any_=[StateType.CANCELLING, StateType.CANCELLED, StateType.PAUSED]
                    )
                ),
            ),
        )
        for flow_run in stopped:
            run = self._in_hand.get(flow_run.id)
            if run is None:
                continue
            if flow_run.state_type == StateType.PAUSED:
                self.spawn(ends.suspend(self, run))
            else:
                self.spawn(ends.cancel(self, run))

    def _log(self, entry: dict[str, Any]) -> None:
        """Take a log entry of the worker's about a run, from whatever thread."""
        self._loop.call_soon_threadsafe(self.courier.log, entry)


async def _serve(worker: WarmWorker) -> None:
    await await_server()
    # At once: who starts it reads in its log that it is there.
    await worker.start(printer=partial(print, flush=True))


async def run_worker(
    pool: str,
    *,
    limit: int | None = None,
    name: str | None = None,
    create_pool: bool = True,
    stop: asyncio.Event | None = None,
) -> None:
    """Run a warm worker on a work pool until `stop` is set (for ever without it), then drain it.

    Parameters
    ----------
    pool: name of the work pool.
    create_pool: make it, with type `warm`, if there is none; else the worker waits for it.
    limit: how many flow runs at once, at most.
    name: the worker's name in Prefect.
    stop: set it to let the runs finish and return.
    """
    worker = WarmWorker(work_pool_name=pool, limit=limit, name=name, create_pool_if_not_found=create_pool)
    serving = asyncio.get_running_loop().create_task(_serve(worker))
    if stop is None:
        await serving
        return
    stopping = asyncio.get_running_loop().create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
