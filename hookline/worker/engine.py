"""Runs one flow run through Prefect's own engine, with what a warm process can do without taken out.

This is the only module that reaches into Prefect's engine, and it does so for the one version that it
was tested with; for any other the worker starts `python -m prefect.engine` instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import threading
from collections.abc import Awaitable, Iterator
from contextvars import copy_context
from typing import Any
from uuid import UUID

import prefect
import prefect.main
import prefect.task_engine
from prefect._flow_run_suspension import mark_flow_run_suspension_requested
from prefect._internal import control_listener
from prefect._internal.attempt_control import EngineOutcomeReceipt
from prefect._internal.engine import get_hook_name
from prefect._internal.metrics import RunMetrics
from prefect._internal.version_checking import _cache_api_version_check
from prefect.client.schemas.objects import FlowRun, State
from prefect.engine import handle_engine_signals
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger
from prefect.settings import get_current_settings
from prefect.utilities.engine import commit_control_intent_and_ack

from hookline.worker import loading
from hookline.worker.clients import Clients, Knowledge
from hookline.worker.frames import Frame
from hookline.worker.line import Line
from hookline.worker.loading import Preloaded
from hookline.worker.outlet import Outlet

#: Typed as Any, since what is replaced in them is private to them.
_flow_engine: Any = importlib.import_module("prefect.flow_engine")
_results: Any = importlib.import_module("prefect.results")

_report_engine_outcome = _flow_engine.report_engine_outcome


class Engine:
    """Prefect's engine, made ready for one flow run before that is known.

    Made in the zygote, so that each child has it for nothing; opens no connection and starts no thread.

    Parameters
    ----------
    preloaded: what of the project is imported already.
    """

    def __init__(self, preloaded: Preloaded) -> None:
        self._preloaded = preloaded
        self._clients = Clients()
        settings = get_current_settings()
        for address in {settings.api.url or "", str(self._clients.sync.api_url)}:
            _cache_api_version_check((address, prefect.__version__))  # the worker has checked

    def run(self, line: Line, job: Frame) -> None:
        """Run the flow run that the `run` frame describes, as `python -m prefect.engine` does."""
        flow_run = FlowRun.model_validate(job["flow_run"])
        self._take_over(line, job)
        with handle_engine_signals(flow_run.id):
            logger = flow_run_logger(flow_run)
            try:
                flow = self._load(line, flow_run, job)
            except Exception:
                logger.error("Unexpected exception encountered when trying to load flow", exc_info=True)
                raise
            flow_run.state = State.model_validate(line.wait("go")["state"])
            with self._clients.known(Knowledge(line, flow_run, job["labels"])), RunMetrics(flow_run, flow):
                result = _flow_engine.run_flow(flow, flow_run=flow_run, error_logger=logger)
                self._drive(flow, result)

    def settings_changed(self) -> None:
        """Take note that Prefect's settings are not those of the zygote any more."""
        self._clients = Clients()

    def call_hooks(self, line: Line, job: Frame) -> None:
        """Call the hooks that the `hooks` frame asks for, of a flow run whose own process is gone."""
        flow_run = FlowRun.model_validate(job["flow_run"])
        state = State.model_validate(job["state"])
        self._take_over(line, job)
        flow = self._load(line, flow_run, job)
        hooks = flow.on_cancellation_hooks if job["kind"] == "cancellation" else flow.on_crashed_hooks
        logger = flow_run_logger(flow_run, flow)
        for hook in hooks or ():
            name = get_hook_name(hook)
            logger.info("Running hook %r in response to entering state %r", name, state.name)
            try:
                result = hook(flow, flow_run, state)
                if inspect.isawaitable(result):
                    asyncio.run(_await(result))
            except Exception:
                logger.error("An error was encountered while running hook %r", name, exc_info=True)
            else:
                logger.info("Hook %r finished running successfully", name)

    def _load(self, line: Line, flow_run: FlowRun, job: Frame) -> Flow[..., Any]:
        return loading.load(
            flow_run, job["deployment"], self._preloaded, stale=lambda: line.send({"type": "stale"})
        )

    def _take_over(self, line: Line, job: Frame) -> None:
        """Put the worker's line in the place of what Prefect's engine does with threads and requests."""
        control_listener._engine_outcome_handled = False
        control_listener.clear_intent()
        if job["without_csrf"]:
            self._clients.without_csrf()
        Outlet(line, job["related"]).open()
        line.on("intend", lambda frame: _intend(line, frame["intent"]))
        line.on("suspended", lambda frame: _suspend(UUID(job["flow_run"]["id"]), frame["state"]))
        _flow_engine.observe_flow_run_suspension = _observe_nothing
        _flow_engine._send_heartbeats = _send_heartbeats
        _flow_engine.report_engine_outcome = lambda receipt: _report(line, receipt)
        storage = None if job["storage"] is None else UUID(job["storage"])
        _results._read_server_default_result_storage_block_id = lambda: storage

        async def read_default_storage() -> UUID | None:
            return storage

        _results._aread_server_default_result_storage_block_id = read_default_storage

    def _drive(self, flow: Flow[..., Any], result: Any) -> None:
        """Run to its end what `run_flow` leaves to its caller."""
        if inspect.isasyncgen(result):
            asyncio.run(self._consume(result))
        elif flow.isgenerator and inspect.isgenerator(result):
            for _ in result:
                pass
        elif asyncio.iscoroutine(result):
            asyncio.run(self._await(result))

    async def _await(self, coroutine: Any) -> None:
        async with self._clients.within():
            await coroutine

    async def _consume(self, generator: Any) -> None:
        async with self._clients.within():
            async for _ in generator:
                pass


async def _await(result: Awaitable[Any]) -> None:
    await result


def _report(line: Line, receipt: EngineOutcomeReceipt) -> bool:
    line.send({"type": "concluded"})
    return bool(_report_engine_outcome(receipt))


def _suspend(flow_run_id: UUID, state: Frame) -> None:
    mark_flow_run_suspension_requested(flow_run_id, State.model_validate(state))


def _intend(line: Line, intent: Any) -> None:
    """Note that the SIGTERM which is to come means `intent`, if the engine can act on it already."""
    committed = commit_control_intent_and_ack(
        commit_intent=lambda: control_listener._set_intent(intent),
        clear_intent=control_listener.clear_intent,
        send_ack=lambda: line.send({"type": "intent", "committed": True}),
    )
    if not committed:
        line.send({"type": "intent", "committed": False})


@contextlib.contextmanager
def _observe_nothing(*_: Any, **__: Any) -> Iterator[None]:
    """Stand in for Prefect's thread that watches for suspensions: the worker watches for all runs."""
    yield


@contextlib.contextmanager
def _send_heartbeats(engine: Any, join_on_exit: bool = True) -> Iterator[None]:
    """Send what Prefect's heartbeat thread sends, from one that stops when it is told to.

    Prefect's sleeps for a second at a time and is joined at the end of a synchronous flow.
    """
    seconds = engine.heartbeat_seconds
    if seconds is None:
        yield
        return
    resource, related = engine._build_heartbeat_event_template()
    ended = threading.Event()

    def beat() -> None:
        while True:
            if engine.flow_run.state.is_final():
                return
            engine._emit_flow_run_heartbeat(resource, related)
            if ended.wait(seconds):
                return

    context = copy_context()
    heart = threading.Thread(target=context.run, args=(beat,), daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        if join_on_exit:
            heart.join(timeout=2)
