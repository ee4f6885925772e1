"""Carries one flow run from its claim to its end: claim, configure, start, attend, settle."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, State
from prefect.events import Event, RelatedResource, Resource
from prefect.exceptions import Abort, ObjectNotFound
from prefect.states import Pending, Submitting
from prefect.types._datetime import now
from prefect.utilities.engine import propose_state

from hookline.worker.children import Child
from hookline.worker.configuration import WarmConfiguration
from hookline.worker.ends import pass_on, settle
from hookline.worker.frames import Frame
from hookline.worker.job import configure, deployment_of, job_frame

if TYPE_CHECKING:
    from hookline.worker.runs import Run
    from hookline.worker.warm import WarmWorker

_NOT_SUBMITTED = "Failed to submit flow run to infrastructure"
#: In less time than this no other worker can have claimed, run and completed a flow run.
_TRUSTED_SECONDS = 0.1
#: How long a process that has left may keep the worker waiting for what it said before.
_LAST_WORDS_SECONDS = 2.0


async def carry(worker: WarmWorker, run: Run, seen: float) -> int | None:
    """Claim a flow run, run it in a warm process and see to its end.

    Parameters
    ----------
    worker: the worker that has it in hand.
    run: the run; its flow run as it was when it was seen waiting.
    seen: when that was, by the monotonic clock.

    Returns the exit code of its process, 0 if the engine reported its end, None if it was not started.
    """
    if not await _claim(worker, run, seen):
        return None
    logger = worker.get_flow_run_logger(run.flow_run)
    logger.info(f"Worker '{worker.name}' submitting flow run '{run.flow_run.id}'")
    try:
        run.configuration = configuration = await configure(worker, run.flow_run)
    except Exception as why:
        logger.exception(f"Failed to submit flow run '{run.flow_run.name}' to infrastructure.")
        await worker.crash(run.flow_run, f"{_NOT_SUBMITTED}: {type(why).__name__}: {why}")
        return None
    submitted = _announce(worker, configuration)
    status = await run_claimed(worker, run)
    if status is not None:
        _announce_end(worker, configuration, submitted, run, status)
    return status


async def run_claimed(
    worker: WarmWorker, run: Run, started: Callable[[int], None] | None = None
) -> int | None:
    """Run a flow run that is ours and configured; return as `carry` does.

    Parameters
    ----------
    worker: the worker that has it in hand.
    run: the run, with its configuration.
    started: called with the process id once there is one.
    """
    logger = worker.get_flow_run_logger(run.flow_run)
    with contextlib.ExitStack() as stack:
        try:
            await _start(worker, run, stack)
        except Exception as why:
            logger.exception(f"Failed to submit flow run '{run.flow_run.name}' to infrastructure.")
            await worker.crash(run.flow_run, f"{_NOT_SUBMITTED}: {type(why).__name__}: {why}")
            return None
        if started is not None:
            started(run.pid)
        logger.info(f"Flow run '{run.flow_run.name}' submitted to infrastructure")
        status = await _attend(worker, run)
    return await settle(worker, run, status)


async def _claim(worker: WarmWorker, run: Run, seen: float) -> bool:
    """Make the run ours by proposing Pending, which Prefect grants to one worker only."""
    flow_run = run.flow_run
    try:
        await deployment_of(worker, flow_run)
    except ObjectNotFound:
        message = f"Deployment {flow_run.deployment_id} no longer exists, cancelled run."
        await worker._mark_flow_run_as_cancelled(flow_run, state_updates={"message": message})
        return False
    worker.journal.reach_for(flow_run.id)
    if not await worker._propose_pending_state(flow_run):
        return False
    worker.journal.begin(flow_run.id)
    if time.monotonic() - seen < _TRUSTED_SECONDS:
        return True
    return await _is_still_to_run(worker, flow_run)


async def _is_still_to_run(worker: WarmWorker, flow_run: FlowRun) -> bool:
    """Return whether nobody ran it in the meantime; if somebody did, give it its final state back.

    Prefect lets a run leave a final state for Pending, so a claim that comes late would run it again.
    """
    latest = await worker.client.read_flow_run(flow_run.id)
    if latest.run_count == flow_run.run_count:
        return True
    states = await worker.client.read_flow_run_states(flow_run.id)
    final = max(
        (state for state in states if state.is_final()), key=lambda state: state.timestamp, default=None
    )
    if final is not None:
        await worker.client.set_flow_run_state(flow_run.id, final, force=True)
    return False


async def _start(worker: WarmWorker, run: Run, stack: contextlib.ExitStack) -> None:
    """Give the run to an idle child, which makes ready while Prefect is told that it is submitted."""
    if run.configuration is None:
        raise RuntimeError("The run has no configuration.")
    submitting = asyncio.get_running_loop().create_task(_propose_submitting(worker, run.flow_run))
    try:
        working_dir = run.configuration.working_dir or Path(
            stack.enter_context(tempfile.TemporaryDirectory(suffix="prefect"))
        )
        job = await job_frame(worker, run.flow_run, run.configuration, working_dir)
        run.child = await worker.nursery.take()
        run.child.hear = lambda frame: _hear(worker, run, frame)
        job["last"] = run.child.begin(worker.settings.runs_per_process)
        await run.child.send(job)
    finally:
        state = await submitting
    if run.stopping is not None:  # somebody was faster; without the word to go it does not begin
        run.child.signal(signal.SIGKILL)
        return
    await run.child.send({"type": "go", "state": state.model_dump(mode="json")})


async def _propose_submitting(worker: WarmWorker, flow_run: FlowRun) -> State[Any]:
    try:
        return await propose_state(worker.client, Submitting(), flow_run_id=flow_run.id)
    except Abort:
        pass
    except (httpx.HTTPError, ObjectNotFound):
        worker.get_flow_run_logger(flow_run).debug(
            f"Failed to update flow run '{flow_run.id}' to Submitting state", exc_info=True
        )
    return Pending()


async def _attend(worker: WarmWorker, run: Run) -> int:
    """Wait for the process to leave and for its last words."""
    if run.child is None:
        raise RuntimeError("The run has no process.")
    status = await run.child.finish()
    if isinstance(run.child, Child) and not run.child.exited.done():
        worker.nursery.give_back(run.child)
    else:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.child.fell_silent, _LAST_WORDS_SECONDS)
        run.child.close()
    if not run.registered:
        await _register(worker, run)
    return status


def _hear(worker: WarmWorker, run: Run, frame: Frame) -> None:
    kind = frame["type"]
    if kind in ("log", "event"):
        pass_on(worker, frame)
    elif kind == "describe":
        run.description = frame
    elif kind in ("running", "await-description"):
        if not run.registered:
            run.registered = True
            worker.spawn(_register(worker, run))
    elif kind == "concluded":
        run.concluded = True
    elif kind == "intent":
        run.note_intent(frame)
    elif kind == "stale":
        worker.nursery.renew_soon()


async def _register(worker: WarmWorker, run: Run) -> None:
    """Write what the engine and a stock worker write about a run at its start, once it has started."""
    run.registered = True
    description = run.description or {"flow_version": None, "empirical_policy": None}
    policy = description["empirical_policy"]
    try:
        await worker.client.update_flow_run(
            run.flow_run.id,
            flow_version=description["flow_version"],
            empirical_policy=None if policy is None else FlowRunPolicy.model_validate(policy),
            infrastructure_pid=str(run.pid),
        )
    except (httpx.HTTPError, ObjectNotFound):
        worker.get_flow_run_logger(run.flow_run).exception(
            "An error occurred while setting the `infrastructure_pid` on "
            f"flow run {run.flow_run.id!r}. The flow run will not be cancellable."
        )
    finally:
        if run.child is not None:
            await run.child.send({"type": "described"})
    with contextlib.suppress(httpx.HTTPError, ObjectNotFound):
        await worker.client.update_flow_run_labels(run.flow_run.id, worker.run_labels())


def _announce(worker: WarmWorker, configuration: WarmConfiguration) -> Event:
    submitted = Event(
        event="prefect.worker.submitted-flow-run",
        occurred=now("UTC"),
        resource=Resource(worker._event_resource()),  # type: ignore[no-untyped-call]
        related=worker._event_related_resources(configuration=configuration),
    )
    worker.courier.send(submitted)
    return submitted


def _announce_end(
    worker: WarmWorker, configuration: WarmConfiguration, submitted: Event, run: Run, status: int
) -> None:
    related: list[RelatedResource] = worker._event_related_resources(configuration=configuration)
    for resource in related:
        if resource.role == "flow-run":
            resource.root["prefect.infrastructure.identifier"] = str(run.pid)
            resource.root["prefect.infrastructure.status-code"] = str(status)
    occurred = now("UTC")
    worker.courier.send(
        Event(
            event="prefect.worker.executed-flow-run",
            occurred=occurred,
            resource=Resource(worker._event_resource()),  # type: ignore[no-untyped-call]
            related=related,
            follows=submitted.id
            if (occurred - submitted.occurred).total_seconds() < _FOLLOWS_SECONDS
            else None,
        )
    )


#: Prefect's own bound: an event that follows an older one would wait for it.
_FOLLOWS_SECONDS = 300
