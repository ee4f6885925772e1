"""A child of the zygote: waits for one flow run, runs it through Prefect's own engine, and exits."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
from typing import Any, NoReturn
from uuid import UUID

from hookline.worker.frames import Frame, FrameSocket
from hookline.worker.lifeline import die_with_parent


def live(worker: FrameSocket) -> NoReturn:
    """Wait for the frame with the flow run, run it and leave with its exit code."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    frame = worker.receive()
    if frame is None:
        os._exit(0)
    code = 1
    try:
        code = _exit_code_of(frame, worker)
    finally:
        os._exit(code)


def _exit_code_of(frame: Frame, worker: FrameSocket) -> int:
    """Run and finish as an interpreter of its own would: threads joined, exit functions called."""
    code = 0
    try:
        _enter_environment(frame)
        threading.Thread(target=_listen, args=(worker,), name="hookline-worker", daemon=True).start()
        run(UUID(frame["flow_run_id"]))
    except SystemExit as leaving:
        code = _code_of(leaving)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _code_of(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)
    return 1


def _enter_environment(frame: Frame) -> None:
    changed = {
        name
        for name in {*os.environ, *frame["env"]}
        if name.startswith("PREFECT_")
        and not name.startswith("PREFECT__")
        and os.environ.get(name) != frame["env"].get(name)
    }
    os.environ.clear()
    os.environ.update(frame["env"])
    if frame["cwd"] is not None:
        os.chdir(frame["cwd"])
    if changed:
        from prefect.context import refresh_global_settings_context
        from prefect.logging.configuration import setup_logging

        refresh_global_settings_context()
        setup_logging(incremental=False)


def _listen(worker: FrameSocket) -> None:
    """Obey the worker while the flow runs; without a worker there is no run."""
    while (frame := worker.receive()) is not None:
        if frame["type"] == "intend":
            _intend(frame["intent"], worker)
    os.kill(os.getpid(), signal.SIGKILL)


def _intend(intent: Any, worker: FrameSocket) -> None:
    from prefect._internal import control_listener
    from prefect.utilities.engine import commit_control_intent_and_ack

    committed = commit_control_intent_and_ack(
        commit_intent=lambda: control_listener._set_intent(intent),
        clear_intent=control_listener.clear_intent,
        send_ack=lambda: worker.send({"type": "intent", "committed": True}),
    )
    if not committed:
        worker.send({"type": "intent", "committed": False})


def run(flow_run_id: UUID) -> None:
    """Run one flow run in this process as `python -m prefect.engine` does."""
    from prefect._internal.metrics import RunMetrics
    from prefect.engine import _drive_run_flow_result, handle_engine_signals
    from prefect.flow_engine import load_flow, load_flow_run, run_flow
    from prefect.logging.loggers import flow_run_logger

    with handle_engine_signals(flow_run_id):
        flow_run = load_flow_run(flow_run_id)
        logger = flow_run_logger(flow_run)
        try:
            flow = load_flow(flow_run)
        except Exception:
            logger.error("Unexpected exception encountered when trying to load flow", exc_info=True)
            raise
        with RunMetrics(flow_run, flow):
            result = run_flow(flow, flow_run=flow_run, error_logger=logger.logger)
            _drive_run_flow_result(flow, result)
