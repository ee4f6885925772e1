"""The worker type `warm`: a Prefect worker whose flow runs start in processes that are already there."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio.abc
from prefect._internal.infrastructure_exit_codes import get_infrastructure_exit_info
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled
from prefect.workers.base import BaseWorker, BaseWorkerResult

from hookline.worker import wakeup
from hookline.worker.configuration import WarmConfiguration, WarmVariables
from hookline.worker.nursery import Child, Nursery, Project

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.events import Event

#: The event that wakes the worker is sent before its run is committed: look again after so long.
_LOOK_AGAIN_SECONDS = (0.0, 0.05, 0.2, 1.0)
_GRACE_SECONDS = 30.0


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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._running: dict[UUID, Child] = {}
        self._cancelled: set[UUID] = set()
        self._nursery: Nursery | None = None
        self._listening: asyncio.Task[None] | None = None
        self._polling = asyncio.Lock()

    async def setup(self) -> None:
        """Start the zygote before the first flow run is asked for."""
        await super().setup()
        self._nursery = Nursery(Project(), idle=2)
        await self._exit_stack.enter_async_context(self._nursery)

    async def teardown(self, *exc_info: Any) -> None:
        """Let running flow runs finish, then leave."""
        if self._listening is not None:
            self._listening.cancel()
        await super().teardown(*exc_info)

    async def _initialize_after_sync(self) -> None:
        await super()._initialize_after_sync()
        if self._listening is None and self._work_pool is not None:
            self._listening = asyncio.get_running_loop().create_task(
                wakeup.listen(self._work_pool.id, [wakeup.SCHEDULED, wakeup.CANCELLING], self._hear)
            )

    def _hear(self, event: Event) -> None:
        if self._runs_task_group is None:  # being torn down
            return
        if event.event == wakeup.SCHEDULED:
            self._runs_task_group.start_soon(self._look_for, wakeup.run_of(event))
        elif (run_id := wakeup.run_of(event)) in self._running:
            self._runs_task_group.start_soon(self._cancel, run_id)

    async def _look_for(self, run_id: UUID) -> None:
        for seconds in _LOOK_AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            if run_id in {run.id for run in await self.get_and_submit_flow_runs()}:
                return

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what the pool has for us; one look at a time, so that limits are counted right."""
        async with self._polling:
            return await super().get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> WarmWorkerResult:
        """Run a flow run in a warm process and say how the process ended."""
        if self._nursery is None:
            raise RuntimeError("The worker is not set up; use it as an async context manager.")
        with contextlib.ExitStack() as stack:
            cwd = configuration.working_dir or stack.enter_context(
                tempfile.TemporaryDirectory(suffix="prefect")
            )
            child = await self._nursery.take()
            pid = child.pid.result()
            self._running[flow_run.id] = child
            try:
                await child.send(
                    {"type": "run", "flow_run_id": flow_run.id, "cwd": str(cwd), "env": configuration.env}
                )
                if task_status is not None:
                    task_status.started(pid)
                self._nursery.replenish()
                status = await child.exited
            finally:
                del self._running[flow_run.id]
                await child.close()
        if flow_run.id in self._cancelled:
            self._cancelled.discard(flow_run.id)
            status = 0
        elif status != 0:
            info = get_infrastructure_exit_info(status)
            message = f"Process exited with status code: {status}. {info.explanation}"
            await self._propose_crashed_state(flow_run, message)
        return WarmWorkerResult(status_code=status, identifier=str(pid))

    async def _cancel(self, run_id: UUID) -> None:
        child = self._running.get(run_id)
        if child is None or run_id in self._cancelled:
            return
        self._cancelled.add(run_id)
        await child.send({"type": "intend", "intent": "cancel"})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.frames.get(), 1)
        with contextlib.suppress(ProcessLookupError):
            child.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(child.exited), _GRACE_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.signal(signal.SIGKILL)
            await child.exited
        flow_run = await self.client.read_flow_run(run_id)
        state = (flow_run.state or Cancelled()).model_copy(
            update={
                "name": "Cancelled",
                "type": StateType.CANCELLED,
                "message": "Flow run was cancelled successfully.",
            }
        )
        with contextlib.suppress(ObjectNotFound):
            await self.client.set_flow_run_state(run_id, state, force=True)


async def run_worker(
    pool: str,
    *,
    limit: int | None = None,
    name: str | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run a warm worker on a work pool until `stop` is set (for ever without it), then drain it.

    Parameters
    ----------
    pool: name of the work pool; made with type `warm` if there is none.
    limit: how many flow runs at once, at most.
    name: the worker's name in Prefect.
    stop: set it to let the runs finish and return.
    """
    worker = WarmWorker(work_pool_name=pool, limit=limit, name=name)
    serving = asyncio.get_running_loop().create_task(worker.start(printer=lambda *_: None))
    if stop is None:
        await serving
        return
    stopping = asyncio.get_running_loop().create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
