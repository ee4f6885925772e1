"""The ends that a flow run comes to by force: crash, cancellation, suspension, the worker's own leave."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
from prefect import __version__
from prefect._internal.infrastructure_exit_codes import get_infrastructure_exit_info
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events import Event, RelatedResource, Resource
from prefect.events.related import tags_as_related_resources
from prefect.exceptions import Abort, ObjectNotFound
from prefect.states import AwaitingRetry, Cancelling
from prefect.utilities.engine import propose_state

from hookline.worker.job import configure, job_frame

if TYPE_CHECKING:
    from hookline.worker.frames import Frame
    from hookline.worker.runs import Run
    from hookline.worker.warm import WarmWorker

#: How long a process has to leave after SIGTERM, as long as with Prefect's own runner.
_GRACE_SECONDS = 30.0
_ANSWER_SECONDS = 1.0
_HOOKS_SECONDS = 300.0
_CONFIRM_SECONDS = (0.0, 0.02, 0.1, 0.5, 2.0)

Intent = Literal["cancel", "reschedule", "crash"]


async def settle(worker: WarmWorker, run: Run, status: int) -> int:
    """Say in Prefect what the engine could not, by how its process ended; return the status to report."""
    if run.stopping == "cancel":
        await _finish_cancelled(worker, run)
        return 0
    if run.stopping == "reschedule":
        await hand_back(worker, run.flow_run)
        return 0
    if run.concluded or status == 0:
        return 0
    info = get_infrastructure_exit_info(status)
    message = f"Process exited with status code: {status}. {info.explanation}"
    crashed = await worker.crash(run.flow_run, message)
    if info.resolution:
        worker.get_flow_run_logger(run.flow_run).info(info.resolution)
    if crashed is not None and crashed.is_crashed():
        await run_hooks(worker, run.flow_run, "crashed", crashed)
    return status


async def cancel(worker: WarmWorker, run: Run) -> None:
    """Stop a run that Prefect wants cancelled; what follows its process's end is `settle`."""
    await stop(run, "cancel")


async def stop(run: Run, intent: Intent) -> None:
    """Stop a run's process: tell it why, SIGTERM it, and SIGKILL it when it stays."""
    if run.stopping is not None or run.concluded:
        return
    run.stopping = intent
    if run.child is None:
        return  # it is being started; `carry` looks before it lets it go
    if intent != "crash":  # for which the engine needs no word: it is what SIGTERM means by itself
        run.intent_noted = asyncio.get_running_loop().create_future()
        await run.child.send({"type": "intend", "intent": intent})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.intent_noted, _ANSWER_SECONDS)
    if run.concluded:  # it came to its own end first
        run.stopping = None
        return
    run.child.signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(asyncio.shield(run.child.exited), _GRACE_SECONDS)
    except TimeoutError:
        run.child.signal(signal.SIGKILL)
        await run.child.exited


async def suspend(worker: WarmWorker, run: Run) -> None:
    """Let a run's engine know that somebody suspended it, once Prefect confirms it."""
    for seconds in _CONFIRM_SECONDS:  # the event comes before the state is committed
        await asyncio.sleep(seconds)
        state = (await worker.client.read_flow_run(run.flow_run.id)).state
        if run.child is not None and state is not None and state.is_paused() and state.name == "Suspended":
            await run.child.send({"type": "suspended", "state": state.model_dump(mode="json")})
            return


async def drain(worker: WarmWorker) -> None:
    """Let the runs in hand finish for a while; then stop what still runs, as its deployment asks."""
    await worker.await_runs(worker.drain_seconds)
    stopping = [stop(run, "reschedule" if _is_retried(run) else "crash") for run in worker.runs]
    await asyncio.gather(*stopping)
    await worker.await_runs(None)


def _is_retried(run: Run) -> bool:
    return run.child is None or run.configuration is None or run.configuration.when_lost == "retry"


async def hand_back(worker: WarmWorker, flow_run: FlowRun) -> None:
    """Give a run back to the pool, to be run again from its start."""
    with contextlib.suppress(Abort, ObjectNotFound, httpx.HTTPError):
        await propose_state(worker.client, AwaitingRetry(), flow_run_id=flow_run.id)


async def _finish_cancelled(worker: WarmWorker, run: Run) -> None:
    """Call the hooks and make it Cancelled, as Prefect's runner does once the process is gone."""
    try:
        flow_run = await worker.client.read_flow_run(run.flow_run.id)
    except ObjectNotFound:
        return
    await run_hooks(worker, flow_run, "cancellation", Cancelling(message="Flow run was cancelled."))
    state = flow_run.state
    if state is not None and (state.is_completed() or state.is_failed()):
        return  # it came to its own end first
    if state is None or not state.is_cancelled():
        await worker._mark_flow_run_as_cancelled(
            flow_run,
            state_updates={"message": "Flow run was cancelled successfully.", "type": StateType.CANCELLED},
        )
    worker.courier.send(_cancelled_event(run, flow_run))


async def run_hooks(
    worker: WarmWorker, flow_run: FlowRun, kind: Literal["cancellation", "crashed"], state: State[Any]
) -> None:
    """Call a flow's hooks in a process like that of the run, which is gone."""
    logger = worker.get_flow_run_logger(flow_run)
    try:
        configuration = await configure(worker, flow_run)
        with tempfile.TemporaryDirectory(suffix="prefect") as scratch:
            job = await job_frame(worker, flow_run, configuration, configuration.working_dir or Path(scratch))
            child = await worker.nursery.take()
            child.hear = lambda frame: pass_on(worker, frame)
            child.begin(1)
            hooks = {"type": "hooks", "kind": kind, "state": state.model_dump(mode="json"), "last": True}
            await child.send({**job, **hooks})
            try:
                status = await asyncio.wait_for(asyncio.shield(child.exited), _HOOKS_SECONDS)
            except TimeoutError:
                child.signal(signal.SIGKILL)
                status = await child.exited
            child.close()
        if status != 0:
            raise RuntimeError(f"Hook process exited with status code {status}.")
    except Exception:
        logger.warning(
            "Runner failed to retrieve flow to execute on_%s hooks for flow run %r.",
            kind,
            flow_run.id,
            exc_info=True,
        )


def pass_on(worker: WarmWorker, frame: Frame) -> None:
    """Take to Prefect what a child says that is meant for it."""
    if frame["type"] == "log":
        worker.courier.log(frame["entry"])
    elif frame["type"] == "event":
        worker.courier.emit(frame["event"])


def _cancelled_event(run: Run, flow_run: FlowRun) -> Event:
    related: list[RelatedResource] = []
    tags = set(flow_run.tags)
    things = run.configuration.related_objects if run.configuration is not None else {}
    if (deployment := things.get("deployment")) is not None:
        related.append(deployment.as_related_resource())
        tags |= set(deployment.tags)
    for kind, thing in (("flow", things.get("flow")), ("flow-run", flow_run)):
        if thing is not None:
            related.append(
                RelatedResource(
                    {
                        "prefect.resource.id": f"prefect.{kind}.{thing.id}",
                        "prefect.resource.role": kind,
                        "prefect.resource.name": thing.name,
                    }
                )
            )
    return Event(
        event="prefect.runner.cancelled-flow-run",
        resource=Resource(
            {
                "prefect.resource.id": "prefect.runner.standalone",
                "prefect.resource.name": "standalone",
                "prefect.version": __version__,
            }
        ),
        related=related + tags_as_related_resources(tags),
    )
