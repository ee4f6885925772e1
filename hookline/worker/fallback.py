"""Flow runs without a warm process: `python -m prefect.engine` for each, where nothing else is safe.

That is so with a version of Prefect that the worker was not tested with, and where processes cannot be
forked. It is as slow as Prefect's own process worker, and as right.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import orjson

from hookline.worker.frames import Frame


class EngineChild:
    """Looks to the worker like a child of the zygote; starts an interpreter when it is told to go."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid: asyncio.Future[int] = loop.create_future()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.fell_silent: asyncio.Future[None] = loop.create_future()
        self.hear: Callable[[Frame], None] = lambda frame: None
        self._job: Frame | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def send(self, frame: Frame) -> None:
        """Take the job, and start once the worker says go or wants hooks called."""
        if frame["type"] == "run":
            self._job = frame
        elif frame["type"] == "go" and self._job is not None:
            await self._start(self._job, "prefect.engine", None)
            self.hear({"type": "await-description"})
        elif frame["type"] == "hooks":
            await self._start(frame, "hookline.worker.fallback", orjson.dumps(frame))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it lives."""
        if self.pid.done() and not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid.result(), number)
        elif not self.pid.done():  # it is stopped before it was there
            self.pid.set_result(0)
            self._leave(-number)

    def begin(self, most_runs: int) -> bool:
        """Return that its flow run is its last."""
        return True

    async def finish(self) -> int:
        """Return the exit code of its process, once that has left."""
        return await asyncio.shield(self.exited)

    def close(self) -> None:
        """Let go of it."""

    async def _start(self, job: Frame, module: str, given: bytes | None) -> None:
        quiet = None if job["stream_output"] else asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, cwd=job["cwd"], env=job["env"],
            stdin=asyncio.subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True,
        )  # fmt: skip
        if process.stdin is not None:
            process.stdin.write(given or b"")
            process.stdin.close()
        self.pid.set_result(process.pid)
        self._waiting = asyncio.get_running_loop().create_task(self._wait(process))

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        self._leave(await process.wait())

    def _leave(self, status: int) -> None:
        self.exited.set_result(status)
        self.fell_silent.set_result(None)


class Interpreters:
    """Looks to the worker like a nursery; has nothing ready."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def take(self) -> EngineChild:
        """Return a child that is not there yet."""
        return EngineChild()

    def give_back(self, child: object) -> None:
        """Do nothing: none is used twice."""

    def replenish(self) -> None:
        """Do nothing: none is made ahead of need."""

    def renew_soon(self, project: Any = None) -> None:
        """Do nothing: every run reads its files anew."""


async def _call_hooks(job: Frame) -> None:
    """Call a run's hooks with nothing but what Prefect has published."""
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import load_flow_from_flow_run
    from prefect.logging.loggers import flow_run_logger

    flow_run, state = FlowRun.model_validate(job["flow_run"]), State.model_validate(job["state"])
    flow: Any = await load_flow_from_flow_run(flow_run)
    hooks = flow.on_cancellation_hooks if job["kind"] == "cancellation" else flow.on_crashed_hooks
    logger = flow_run_logger(flow_run)
    for hook in hooks or ():
        try:
            called = hook(flow, flow_run, state)
            if asyncio.iscoroutine(called):
                await called
        except Exception:
            logger.error("An error was encountered while running hook %r", hook, exc_info=True)


if __name__ == "__main__":
    asyncio.run(_call_hooks(orjson.loads(sys.stdin.buffer.read())))
