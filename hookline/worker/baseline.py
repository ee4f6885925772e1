"""What a process is like before a flow run, so that it can be made like that again after it."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: Threads that Prefect starts in the first run and uses in the next ones.
_PREFECTS_THREADS = ("GlobalEventLoopThread", "RunSyncEventLoopThread", "AnyIO worker thread")
#: How much a process may grow, and how many descriptors it may keep open, beyond what it began with.
_GROWTH_BYTES = 100 * 1024 * 1024
_MORE_DESCRIPTORS = 16


@dataclass(frozen=True)
class Baseline:
    """The state of this process that a flow run may change.

    What cannot be put back is looked for instead: then the process must not be used again.
    """

    environ: dict[str, str]
    path: list[str]
    argv: list[str]
    umask: int
    handlers: dict[int, object]
    log_handlers: list[logging.Handler]
    log_level: int
    threads: frozenset[int]
    descriptors: int
    resident_bytes: int

    @classmethod
    def take(cls) -> Self:
        """Take note of how things are."""
        umask = os.umask(0)
        os.umask(umask)
        return cls(
            environ=dict(os.environ),
            path=list(sys.path),
            argv=list(sys.argv),
            umask=umask,
            handlers={number: signal.getsignal(number) for number in signal.valid_signals()},
            log_handlers=list(logging.root.handlers),
            log_level=logging.root.level,
            threads=frozenset(thread.ident or 0 for thread in threading.enumerate()),
            descriptors=_descriptors(),
            resident_bytes=_resident_bytes(),
        )

    def restore(self) -> bool:
        """Put things back; return whether the process is fit for another flow run."""
        os.environ.clear()
        os.environ.update(self.environ)
        sys.path[:] = self.path
        sys.argv[:] = self.argv
        os.umask(self.umask)
        os.chdir("/")
        for number, handler in self.handlers.items():
            if signal.getsignal(number) is not handler and number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, handler)  # type: ignore[arg-type]
        signal.setitimer(signal.ITIMER_REAL, 0)
        logging.root.handlers[:] = self.log_handlers
        logging.root.setLevel(self.log_level)
        random.seed()
        return (
            all(self._is_expected(thread) for thread in threading.enumerate())
            and _descriptors() <= self.descriptors + _MORE_DESCRIPTORS
            and _resident_bytes() <= self.resident_bytes + _GROWTH_BYTES
        )

    def _is_expected(self, thread: threading.Thread) -> bool:
        return thread.ident in self.threads or thread.name.startswith(_PREFECTS_THREADS)


def _descriptors() -> int:
    folder = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    return len(list(folder.iterdir()))


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not Linux: there a leak is found by the number of runs alone
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
