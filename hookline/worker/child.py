"""A child of the zygote: waits for one flow run, runs it in its main thread, and leaves."""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import threading
import traceback
from typing import NoReturn

from hookline.worker.engine import Engine
from hookline.worker.frames import Frame
from hookline.worker.lifeline import die_with_parent
from hookline.worker.line import Line


def live(line: Line, engine: Engine) -> NoReturn:
    """Wait for the frame with the flow run, run it and leave with its exit code."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    job = line.receive()
    if job is None:
        os._exit(0)
    code = 1
    try:
        code = _run(line, engine, job)
    finally:
        os._exit(code)


def _run(line: Line, engine: Engine, job: Frame) -> int:
    """Run and finish as an interpreter of its own would: threads joined, exit functions called."""
    code = 0
    try:
        _enter_environment(job)
        if job["type"] == "hooks":
            engine.call_hooks(line, job)
        else:
            engine.run(line, job)
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


def _enter_environment(job: Frame) -> None:
    env = job["env"]
    changed = {
        name
        for name in {*os.environ, *env}
        if name.startswith("PREFECT_")
        and not name.startswith("PREFECT__")
        and os.environ.get(name) != env.get(name)
    }
    os.environ.clear()
    os.environ.update(env)
    if job["memory_limit_mb"] is not None:
        _limit_memory(job["memory_limit_mb"])
    if not job["stream_output"]:
        _silence()
    if job["cwd"] is not None:
        os.chdir(job["cwd"])
    if changed:
        from prefect.context import refresh_global_settings_context
        from prefect.logging.configuration import setup_logging

        refresh_global_settings_context()
        setup_logging(incremental=False)


def _limit_memory(megabytes: int) -> None:
    """Let allocations beyond the limit fail with a MemoryError; on Linux, where the limit counts them."""
    limit = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
