"""The worker's side of its zygote and children: children are forked ahead of need and handed out."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from hookline.worker.frames import Frame, FrameBuffer, pack

logger = logging.getLogger("prefect.hookline.worker")

_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Project:
    """What a zygote holds ahead of need.

    Parameters
    ----------
    directory: the folder that the modules are imported from, or None for the worker's own path.
    modules: dotted names, imported in this order.
    """

    directory: str | None = None
    modules: tuple[str, ...] = ()


class Child:
    """One forked process: idle until it is given a frame, gone after one flow run.

    `pid` is known once it is forked; `exited` resolves to its exit code, negative for a signal.
    """

    def __init__(self, number: int, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.pid: asyncio.Future[int] = loop.create_future()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._sock = sock
        self._reading = loop.create_task(self._read())

    async def send(self, frame: Frame) -> None:
        """Send a frame; nothing happens when the child is gone, since `exited` tells."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, pack(frame))
        except OSError:
            logger.debug("Child %s did not take a frame", self.number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it still lives."""
        if self.pid.done() and not self.exited.done():
            os.kill(self.pid.result(), number)

    def gone(self, status: int) -> None:
        """Note how it ended."""
        if not self.exited.done():
            self.exited.set_result(status)

    async def close(self) -> None:
        """Let go of the socket, which makes an idle child leave."""
        self._reading.cancel()
        self._sock.close()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        buffer = FrameBuffer()
        try:
            while chunk := await loop.sock_recv(self._sock, _CHUNK_BYTES):
                for frame in buffer.feed(chunk):
                    self.frames.put_nowait(frame)
        except OSError:
            pass
        self.frames.put_nowait(None)


@dataclass(eq=False)
class _Zygote:
    """A zygote process and the children that it has forked and not yet buried."""

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
    environment: the zygote's environment; None for the worker's own.
    """

    def __init__(self, project: Project, idle: int, environment: Mapping[str, str] | None = None) -> None:
        self._project = project
        self._idle_wanted = idle
        self._environment = environment
        self._numbers = itertools.count(1)
        self._idle: deque[Child] = deque()
        self._zygote: _Zygote | None = None
        self._zygotes: set[_Zygote] = set()
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._renew()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for zygote in list(self._zygotes):
            self._retire(zygote)
        for zygote in list(self._zygotes):
            if zygote.serving is not None:
                await zygote.serving

    async def take(self) -> Child:
        """Return an idle child, forked anew when none is waiting."""
        async with self._lock:
            if self._zygote is None or self._zygote.retired:
                await self._renew()
            child = self._idle.popleft() if self._idle else self._fork()
        await child.pid
        return child

    def replenish(self) -> None:
        """Fork until as many children wait as are wanted."""
        if self._zygote is not None and not self._zygote.retired:
            while len(self._idle) < self._idle_wanted:
                self._idle.append(self._fork())

    async def _renew(self) -> None:
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
        await self._command(
            zygote,
            {"type": "preload", "modules": self._project.modules, "directory": self._project.directory},
        )
        ready = await zygote.ready
        for module, why in ready["failures"].items():
            logger.warning("Module %s could not be imported ahead of need:\n%s", module, why)
        self._zygote = zygote
        self.replenish()

    def _fork(self) -> Child:
        if self._zygote is None:
            raise RuntimeError("There is no zygote to fork from.")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child = Child(next(self._numbers), ours)
        self._zygote.children[child.number] = child
        with theirs:
            socket.send_fds(
                self._zygote.control, [pack({"type": "fork", "child": child.number})], [theirs.fileno()]
            )
        return child

    async def _command(self, zygote: _Zygote, frame: Frame) -> None:
        await asyncio.get_running_loop().sock_sendall(zygote.control, pack(frame))

    def _retire(self, zygote: _Zygote) -> None:
        zygote.retired = True
        for child in list(self._idle):
            if child.number in zygote.children:
                self._idle.remove(child)
                child._sock.close()
        zygote.control.send(pack({"type": "retire"}))

    async def _serve(self, zygote: _Zygote) -> None:
        loop = asyncio.get_running_loop()
        buffer = FrameBuffer()
        try:
            while chunk := await loop.sock_recv(zygote.control, _CHUNK_BYTES):
                for frame in buffer.feed(chunk):
                    self._hear(zygote, frame)
        except OSError:
            pass
        status = await zygote.process.wait()
        if not zygote.ready.done():
            zygote.ready.set_exception(RuntimeError(f"The zygote left with {status} before it was ready."))
        zygote.retired = True
        zygote.control.close()
        self._zygotes.discard(zygote)
        for child in zygote.children.values():  # they die with their zygote
            child.gone(-signal.SIGKILL)
            if child in self._idle:
                self._idle.remove(child)
        if status:
            logger.error("The zygote left with %s; the next run starts another.", status)

    def _hear(self, zygote: _Zygote, frame: Frame) -> None:
        if frame["type"] == "ready":
            zygote.ready.set_result(frame)
        elif frame["type"] == "forked":
            zygote.children[frame["child"]].pid.set_result(frame["pid"])
        elif frame["type"] == "exited":
            child = zygote.children.pop(frame["child"])
            child.gone(frame["status"])
            if child in self._idle:
                self._idle.remove(child)
