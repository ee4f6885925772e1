"""Children where processes cannot be forked safely: interpreters started, and warmed up, ahead of need.

A fork of a process that has used the system's frameworks may hang on macOS, so there is no zygote there.
Each child is an interpreter of its own, `python -m hookline.worker.spawning FD`: as warm when a run comes,
but a second or two of work each.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import sys
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from hookline.worker.children import Child
from hookline.worker.frames import Frame
from hookline.worker.nursery import Project

logger = logging.getLogger("prefect.hookline.worker")


class SpawnedNursery:
    """Keeps `idle` interpreters ready to run; see `nursery.Nursery`, whose place it takes.

    Parameters
    ----------
    project: what each imports.
    idle: how many wait ahead of need.
    environment: their environment.
    """

    def __init__(self, project: Project, idle: int, environment: Mapping[str, str]) -> None:
        self.project = project
        self._idle_wanted = idle
        self._environment = environment
        self._numbers = itertools.count(1)
        self._idle: deque[asyncio.Task[Child]] = deque()
        self._burying: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        self.replenish()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._let_go()
        await asyncio.gather(*self._burying, return_exceptions=True)

    async def take(self) -> Child:
        """Return a child that is, or soon will be, waiting for a flow run."""
        spawned = self._idle.popleft() if self._idle else self._spawn_soon()
        return await spawned

    def give_back(self, child: Child) -> None:
        """Take back a child that waits for another flow run."""
        self._idle.appendleft(asyncio.get_running_loop().create_task(_given(child)))

    def replenish(self) -> None:
        """Start until as many wait as are wanted."""
        while not self._closed and len(self._idle) < self._idle_wanted:
            self._idle.append(self._spawn_soon())

    def renew_soon(self, project: Project | None = None) -> None:
        """Replace those that wait by some with the project's files as they are now."""
        self.project = project or self.project
        self._let_go()
        self.replenish()

    def _let_go(self) -> None:
        while self._idle:
            self._idle.popleft().add_done_callback(_close)

    def _spawn_soon(self) -> asyncio.Task[Child]:
        return asyncio.get_running_loop().create_task(self._spawn())

    async def _spawn(self) -> Child:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hookline.worker.spawning", str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True, env=self._environment,
            )  # fmt: skip
        child = Child(next(self._numbers), ours)
        child.pid.set_result(process.pid)
        burying = asyncio.get_running_loop().create_task(_bury(child, process))
        self._burying.add(burying)
        burying.add_done_callback(self._burying.discard)
        preload: Frame = {"modules": self.project.modules, "directory": self.project.directory}
        await child.send({"type": "preload", **preload})
        return child


async def _given(child: Child) -> Child:
    return child


def _close(spawned: asyncio.Task[Child]) -> None:
    with contextlib.suppress(Exception):
        spawned.result().close()


async def _bury(child: Child, process: asyncio.subprocess.Process) -> None:
    child.gone(await process.wait())


def main() -> None:
    """Warm up, then live as a child on the socket whose file descriptor is the first argument."""
    from hookline.worker.child import live
    from hookline.worker.clients import share_tls
    from hookline.worker.engine import Engine
    from hookline.worker.line import Line
    from hookline.worker.loading import preload
    from hookline.worker.warmup import warm_up

    line = Line(socket.socket(fileno=int(sys.argv[1])))
    wanted = line.receive()
    if wanted is None:
        return
    warm_up()
    share_tls()
    preloaded = preload(wanted["modules"], wanted["directory"])
    for module, why in preloaded.failures.items():
        logger.warning("Module %s could not be imported ahead of need:\n%s", module, why)
    live(line, Engine(preloaded))


if __name__ == "__main__":
    main()
