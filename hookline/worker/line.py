"""The child's line to its worker: sends from any thread, and obeys while the flow runs."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import NoReturn

from hookline.worker.frames import Frame, FrameSocket

#: Room for the frames of a burst, so that a flow does not wait for a worker that is busy.
_SEND_BUFFER_BYTES = 1 << 20


class Line:
    """Frames to and from the worker, for the length of one flow run.

    `on` says what to do when a frame of a type arrives; it is done in the line's own thread.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._frames = FrameSocket(sock)
        self._sending = threading.Lock()
        self._handlers: dict[str, Callable[[Frame], None]] = {}
        self._arrived: dict[str, threading.Event] = {}
        self._last: dict[str, Frame] = {}

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
        """Do `handle` for each frame of type `kind`; set before `listen`."""
        self._handlers[kind] = handle

    def expect(self, kind: str) -> None:
        """Keep the frame of type `kind` for `wait`; set before `listen`."""
        self._arrived[kind] = threading.Event()

    def wait(self, kind: str) -> Frame:
        """Return the expected frame of type `kind` once it is there."""
        self._arrived[kind].wait()
        return self._last[kind]

    def listen(self) -> None:
        """Start to obey, in a thread that ends with the process."""
        threading.Thread(target=self._listen, name="hookline-line", daemon=True).start()

    def close(self) -> None:
        """Let go of the socket without a word, as a fork of this process must."""
        self._frames.close()

    def _listen(self) -> NoReturn:
        while (frame := self._frames.receive()) is not None:
            kind = frame["type"]
            if kind in self._arrived:
                self._last[kind] = frame
                self._arrived[kind].set()
            elif kind in self._handlers:
                self._handlers[kind](frame)
        # Without a worker nobody would report this run's end, or stop it: it must not go on.
        os.kill(os.getpid(), signal.SIGKILL)
        raise SystemExit
