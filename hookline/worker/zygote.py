"""The zygote: a process without threads that holds Prefect and the project's flows, and forks children.

It is a fresh interpreter, `python -m hookline.worker.zygote FD`, that speaks frames over the inherited
socket FD. Forking is safe here because nothing in this process ever starts a thread.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys

from hookline.worker.child import live
from hookline.worker.clients import share_tls
from hookline.worker.engine import Engine
from hookline.worker.frames import Frame, FrameSocket
from hookline.worker.lifeline import die_with_parent
from hookline.worker.line import Line
from hookline.worker.loading import preload
from hookline.worker.warmup import warm_up


class Zygote:
    """Forks a child for every `fork` frame and reports with an `exited` frame how it ended."""

    def __init__(self, control: FrameSocket) -> None:
        self._control = control
        self._children: dict[int, int] = {}
        self._retired = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write)

    def serve(self) -> None:
        """Fork and reap until the worker is gone, or until retired and childless."""
        while not (self._retired and not self._children):
            ready, _, _ = select.select([self._control.sock.fileno(), self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._control.sock.fileno() in ready:
                frames = self._control.receive_ready()
                if frames is None:
                    return
                for frame in frames:
                    self._obey(frame)

    def _obey(self, frame: Frame) -> None:
        if frame["type"] == "fork":
            self._fork(frame["child"])
        elif frame["type"] == "preload":
            self._make_ready(frame)
        elif frame["type"] == "retire":
            self._retired = True

    def _make_ready(self, frame: Frame) -> None:
        warm_up()
        share_tls()
        preloaded = preload(frame["modules"], frame["directory"])
        self._engine = Engine(preloaded)
        gc.collect()
        # What is here is here to stay: the collector of a child need not touch, and so copy, its pages.
        gc.freeze()
        self._control.send({"type": "ready", "failures": preloaded.failures, "threaded": preloaded.threaded})

    def _fork(self, number: int) -> None:
        socket_fd = self._control.fds.pop(0)
        pid = os.fork()
        if pid == 0:
            self._become_child(socket_fd)
        os.close(socket_fd)
        self._children[pid] = number
        self._control.send({"type": "forked", "child": number, "pid": pid})

    def _become_child(self, socket_fd: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._control.close()
        live(Line(socket.socket(fileno=socket_fd)), self._engine)

    def _reap(self) -> None:
        for pid, number in list(self._children.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._children[pid]
                self._control.send(
                    {"type": "exited", "child": number, "status": os.waitstatus_to_exitcode(status)}
                )


def main() -> None:
    """Run the zygote on the socket whose file descriptor is the first argument."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = FrameSocket(socket.socket(fileno=int(sys.argv[1])))
    Zygote(control).serve()


if __name__ == "__main__":
    main()
