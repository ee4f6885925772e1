"""The worker's nursery: a zygote that holds the project, and children forked from it ahead of need."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from hookline.worker.children import Child
from hookline.worker.frames import Frame, FrameBuffer, pack

logger = logging.getLogger("prefect.hookline.worker")

_CHUNK_BYTES = 65536
_READY_SECONDS = 120.0
#: A zygote that is made again and again because files keep changing is made no more often than this.
_RENEW_SECONDS = 0.2


@dataclass(frozen=True)
class Project:
    """What a zygote holds ahead of need.

    Parameters
    ----------
    directory: the folder that the modules are imported from, or None for the interpreter's own path.
    modules: dotted names, imported in this order.
    """

    directory: str | None = None
    modules: tuple[str, ...] = ()


@dataclass(eq=False)
class _Zygote:
    """A zygote process and the children of it that still live."""

    process: asyncio.subprocess.Process
    control: socket.socket
    ready: asyncio.Future[Frame]
    children: dict[int, Child] = field(default_factory=dict)
    retired: bool = False
    serving: asyncio.Task[None] | None = None


class Nursery:
    """Keeps `idle` children ready to run, forked from a zygote that holds the project.

    Parameters
    ----------
    project: what the zygote imports.
    idle: how many children wait ahead of need.
    environment: the zygote's environment.
    """

    def __init__(self, project: Project, idle: int, environment: Mapping[str, str]) -> None:
        self.project = project
        self._idle_wanted = idle
        self._environment = environment
        self._numbers = itertools.count(1)
        self._idle: deque[Child] = deque()
        self._zygote: _Zygote | None = None
        self._zygotes: set[_Zygote] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._renew()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        for zygote in list(self._zygotes):
            self._retire(zygote)
        await asyncio.gather(*(zygote.serving for zygote in self._zygotes if zygote.serving is not None))

    async def take(self) -> Child:
        """Return a child that waits for a flow run, forked now when none was waiting."""
        if self._zygote is None or self._zygote.retired:
            async with self._lock:
                if self._zygote is None or self._zygote.retired:
                    await self._renew()
        child = self._idle.popleft() if self._idle else self._fork()
        await child.pid
        return child

    def give_back(self, child: Child) -> None:
        """Take back a child that waits for another flow run, or let it go when it is out of date."""
        child.hear = lambda frame: None
        zygote = self._zygote
        if zygote is not None and not zygote.retired and zygote.children.get(child.number) is child:
            self._idle.appendleft(child)
        else:
            child.close()

    def replenish(self) -> None:
        """Fork until as many children wait as are wanted."""
        while len(self._idle) < self._idle_wanted and self._zygote is not None and not self._zygote.retired:
            self._idle.append(self._fork())

    def renew_soon(self, project: Project | None = None) -> None:
        """Make a new zygote, of the project's files as they are now; until it is there the old one serves."""
        self.project = project or self.project
        if not self._closed and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.get_running_loop().create_task(self._renew_in_a_while())

    async def _renew_in_a_while(self) -> None:
        await asyncio.sleep(_RENEW_SECONDS)
        try:
            await self._renew()
        except (OSError, RuntimeError, TimeoutError):
            logger.exception("A zygote with the changed project could not be made; the old one serves on.")

    async def _renew(self) -> None:
        try:
            zygote = await self._make_ready(self.project)
        except (OSError, RuntimeError, TimeoutError):
            if not self.project.modules:
                raise
            logger.exception("The project cannot be held ahead of need; its runs import it themselves.")
            zygote = await self._make_ready(Project())
        old, self._zygote = self._zygote, zygote
        if old is not None:
            self._retire(old)
        self.replenish()

    async def _make_ready(self, project: Project) -> _Zygote:
        zygote = await self._make_zygote()
        frame = {"type": "preload", "modules": project.modules, "directory": project.directory}
        try:
            await asyncio.get_running_loop().sock_sendall(zygote.control, pack(frame))
            ready = await asyncio.wait_for(asyncio.shield(zygote.ready), _READY_SECONDS)
        except (OSError, RuntimeError, TimeoutError):
            zygote.retired = True
            with contextlib.suppress(ProcessLookupError):
                zygote.process.kill()
            raise
        for module, why in ready["failures"].items():
            logger.warning("Module %s could not be imported ahead of need:\n%s", module, why)
        if ready["threaded"]:
            return await self._make_ready_without(ready["threaded"], project, zygote)
        return zygote

    async def _make_ready_without(self, threaded: list[str], project: Project, zygote: _Zygote) -> _Zygote:
        """Make another zygote: a process that has threads must not be forked, since they stay behind."""
        self._retire(zygote)
        logger.warning(
            "%s start a thread when they are imported, so the runs that need them import them. "
            "Start threads in the flow function to have its module held ahead of need.",
            ", ".join(threaded),
        )
        modules = tuple(module for module in project.modules if module not in threaded)
        return await self._make_ready(Project(project.directory, modules))

    async def _make_zygote(self) -> _Zygote:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "hookline.worker.zygote", str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True, env=self._environment,
            )  # fmt: skip
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        zygote = _Zygote(process, ours, loop.create_future())
        zygote.serving = loop.create_task(self._serve(zygote))
        self._zygotes.add(zygote)
        return zygote

    def _fork(self) -> Child:
        if self._zygote is None:
            raise RuntimeError("There is no zygote to fork from.")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child = Child(next(self._numbers), ours)
        self._zygote.children[child.number] = child
        with theirs:
            frame = pack({"type": "fork", "child": child.number})
            socket.send_fds(self._zygote.control, [frame], [theirs.fileno()])
        return child

    def _retire(self, zygote: _Zygote) -> None:
        if zygote.retired:
            return
        zygote.retired = True
        for child in list(self._idle):
            if zygote.children.get(child.number) is child:
                self._idle.remove(child)
                child.close()
        with contextlib.suppress(OSError):
            zygote.control.send(pack({"type": "retire"}))

    async def _serve(self, zygote: _Zygote) -> None:
        loop = asyncio.get_running_loop()
        buffer = FrameBuffer()
        with contextlib.suppress(OSError):
            while chunk := await loop.sock_recv(zygote.control, _CHUNK_BYTES):
                for frame in buffer.feed(chunk):
                    self._hear(zygote, frame)
        status = await zygote.process.wait()
        expected = zygote.retired or not zygote.ready.done()
        zygote.retired = True
        zygote.control.close()
        self._zygotes.discard(zygote)
        if not zygote.ready.done():
            zygote.ready.set_exception(RuntimeError(f"The zygote left with {status} before it was ready."))
        for child in zygote.children.values():  # they die with their zygote
            self._bury(child, -signal.SIGKILL)
        if not expected:
            logger.error("The zygote left with %s; another is made.", status)
            self.renew_soon()

    def _hear(self, zygote: _Zygote, frame: Frame) -> None:
        if frame["type"] == "ready":
            zygote.ready.set_result(frame)
        elif frame["type"] == "forked":
            zygote.children[frame["child"]].pid.set_result(frame["pid"])
        elif frame["type"] == "exited":
            self._bury(zygote.children.pop(frame["child"]), frame["status"])

    def _bury(self, child: Child, status: int) -> None:
        if child in self._idle:
            self._idle.remove(child)
            child.close()
        if not child.pid.done():
            child.pid.set_exception(RuntimeError("The process died before it was there."))
        child.gone(status)
