"""A process for flow runs: waits for one, runs it in its main thread, then leaves or waits for the next."""

from __future__ import annotations

import atexit
import contextvars
import os
import resource
import signal
import sys
import threading
import traceback
from typing import NoReturn

from hookline.worker.baseline import Baseline
from hookline.worker.engine import Engine
from hookline.worker.frames import Frame
from hookline.worker.lifeline import die_with_parent
from hookline.worker.line import Line


def live(line: Line, engine: Engine) -> NoReturn:
    """Run the flow runs that the worker sends until one is the last, and leave with its exit code."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    job = line.receive()
    if job is None:
        os._exit(0)
    code = 1
    try:
        line.listen()
        baseline = Baseline.take()
        while True:
            code = contextvars.copy_context().run(_run, line, engine, job)
            if job["last"] or code != 0 or job["env_is_its_own"] or not baseline.restore():
                break
            line.send({"type": "ended"})
            job = line.wait("run")
        code = _finish(code)
    finally:
        os._exit(code)


def _run(line: Line, engine: Engine, job: Frame) -> int:
    """Run one and return what an interpreter of its own would have left with."""
    try:
        _enter(job)
        if job["env_is_its_own"]:
            _reload_settings()
            engine.settings_changed()
        if job["type"] == "hooks":
            engine.call_hooks(line, job)
        else:
            engine.run(line, job)
    except SystemExit as leaving:
        return _code_of(leaving)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _finish(code: int) -> int:
    """End as an interpreter does: wait for threads, call exit functions."""
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


def _enter(job: Frame) -> None:
    """Enter the run's environment and folder, and its limits."""
    env: dict[str, str] = job["env"]
    job["env_is_its_own"] = any(
        os.environ.get(name) != env.get(name)
        for name in {*os.environ, *env}
        if name.startswith("PREFECT_") and not name.startswith("PREFECT__")
    )
    os.environ.clear()
    os.environ.update(env)
    os.chdir(job["cwd"])
    if job["memory_limit_mb"] is not None:
        _limit_memory(job["memory_limit_mb"])
    if not job["stream_output"]:
        _silence()


def _reload_settings() -> None:
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=False)


def _limit_memory(megabytes: int) -> None:
    """Let allocations beyond the limit fail with a MemoryError; on Linux, where the limit counts them."""
    limit = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
