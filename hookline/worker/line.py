"""The child's line to its worker: sends from any thread, and obeys while a flow runs."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from queue import SimpleQueue
from typing import NoReturn

from hookline.worker.frames import Frame, FrameSocket

#: Room for the frames of a burst, so that a flow does not wait for a worker that is busy.
_SEND_BUFFER_BYTES = 1 << 20


class Line:
    """Frames to and from the worker.

    Parameters
    ----------
    sock: the child's end of the socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._frames = FrameSocket(sock)
        self._sending = threading.Lock()
        self._handlers: dict[str, Callable[[Frame], None]] = {}
        self._arrived: defaultdict[str, SimpleQueue[Frame]] = defaultdict(SimpleQueue)

    def receive(self) -> Frame | None:
        """Return the next frame, or None once the worker is gone; before `listen` only."""
        return self._frames.receive()

    def send(self, frame: Frame) -> None:
        """Send a frame; a worker that is gone is noticed by the listening thread."""
        with self._sending:
            try:
                self._frames.send(frame)
            except OSError:
                return

    def on(self, kind: str, handle: Callable[[Frame], None]) -> None:
        """From now on do `handle` for each frame of type `kind`, in the line's own thread."""
        self._handlers[kind] = handle

    def wait(self, kind: str) -> Frame:
        """Return the next frame of type `kind`, for which there is no `on`, once it is there."""
        return self._arrived[kind].get()

    def listen(self) -> None:
        """Start to obey, in a thread that ends with the process."""
        threading.Thread(target=self._listen, name="hookline-line", daemon=True).start()

    def close(self) -> None:
        """Let go of the socket without a word, as a fork of this process must."""
        self._frames.close()

    def _listen(self) -> NoReturn:
        while (frame := self._frames.receive()) is not None:
            kind = frame["type"]
            if kind in self._handlers:
                self._handlers[kind](frame)
            else:
                self._arrived[kind].put(frame)
        # Without a worker nobody would report this run's end, or stop it: it must not go on.
        os.kill(os.getpid(), signal.SIGKILL)
        raise SystemExit
