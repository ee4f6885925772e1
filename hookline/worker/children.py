"""The worker's side of one child: a process that runs a flow run, or waits for one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from hookline.worker.frames import Frame, FrameBuffer, pack

logger = logging.getLogger("prefect.hookline.worker")

_CHUNK_BYTES = 65536


class Child:
    """A process at the other end of a socket, which is waiting for a flow run until it is sent one.

    `pid` is set once it is there. `exited` is set to its exit code, negative for a signal, and
    `fell_silent` when it has nothing more to say. `hear` is called with each frame from it.

    Parameters
    ----------
    number: its number, for the zygote.
    sock: the worker's end of the socket, not blocking.
    """

    def __init__(self, number: int, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.pid: asyncio.Future[int] = loop.create_future()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.fell_silent: asyncio.Future[None] = loop.create_future()
        #: Set when a flow run has ended and the process waits for the next one.
        self.ended: asyncio.Future[None] = loop.create_future()
        self.runs = 0
        self.hear: Callable[[Frame], None] = lambda frame: None
        self._sock = sock
        self._buffer = FrameBuffer()
        loop.add_reader(sock.fileno(), self._read)

    async def send(self, frame: Frame) -> None:
        """Send a frame; nothing happens when the child is gone, since `exited` tells."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, pack(frame))
        except OSError:
            logger.debug("Child %s did not take a frame", self.number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it still lives."""
        if self.pid.done() and not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid.result(), number)

    def begin(self, most_runs: int) -> bool:
        """Note that it is given a flow run; return whether that is its last."""
        self.runs += 1
        self.ended = asyncio.get_running_loop().create_future()
        return self.runs >= most_runs

    async def finish(self) -> int:
        """Return the exit code of its flow run, once the process has left or waits for the next one."""
        ends: set[asyncio.Future[Any]] = {self.exited, self.ended}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return self.exited.result() if self.exited.done() else 0

    def gone(self, status: int) -> None:
        """Note how it ended."""
        if not self.exited.done():
            self.exited.set_result(status)

    def close(self) -> None:
        """Let go of the socket, at which a child that still lives leaves."""
        self._silence()
        self._sock.close()

    def _read(self) -> None:
        try:
            chunk = self._sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._silence()
            return
        for frame in self._buffer.feed(chunk):
            if frame["type"] == "ended":
                self.ended.set_result(None)
                continue
            try:
                self.hear(frame)
            except Exception:
                logger.exception("A frame from child %s could not be used", self.number)

    def _silence(self) -> None:
        if not self.fell_silent.done():
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self.fell_silent.set_result(None)
