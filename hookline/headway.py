"""Whether a process that is starting gets on: by what it writes, and by the processor time that it takes."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from pathlib import Path

import psutil

#: A process that takes less of a processor than this does nothing: a loop that waits takes some, too.
BUSY_SHARE = 0.01
#: What is told of a line of its log.
LINE_CHARACTERS = 160


class Headway:
    """Looks at a starting process from outside, now and then.

    Parameters
    ----------
    pid: the process; its descendants count as it.
    log: the file that its output is added to.
    """

    def __init__(self, pid: int, log: Path) -> None:
        self._pid = pid
        self._log = log
        self._log_start = self._log_bytes = _size(log)
        self._cpu_seconds = 0.0
        self._started = self._moved = self._looked = time.monotonic()

    @property
    def elapsed(self) -> timedelta:
        """Return for how long the process has been watched."""
        return timedelta(seconds=time.monotonic() - self._started)

    @property
    def stood_still(self) -> timedelta:
        """Return how long before the last look it last did something."""
        return timedelta(seconds=self._looked - self._moved)

    def look(self) -> str:
        """Look again; return what the process is doing, in a few words."""
        before, self._looked = self._looked, time.monotonic()
        used, written = _cpu_seconds(self._pid), _size(self._log)
        if written != self._log_bytes or abs(used - self._cpu_seconds) > BUSY_SHARE * (self._looked - before):
            self._moved = self._looked
        self._cpu_seconds, self._log_bytes = used, written
        return f"{used:.0f} s of processor time; {self._last_line() or 'nothing in its log yet'}"

    def _last_line(self) -> str:
        if self._log_bytes <= self._log_start:
            return ""
        with self._log.open("rb") as log:
            log.seek(max(self._log_start, self._log_bytes - 4096))
            lines = log.read().decode(errors="replace").split("\n")
        written = [line.strip() for line in lines if line.strip()]
        return written[-1][:LINE_CHARACTERS] if written else ""


def _cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its descendants have used so far."""
    used = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                used += times.user + times.system
    return used


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
