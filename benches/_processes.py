"""What processes use, from /proc: processor time, memory, file descriptors, with all of their descendants."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Tree:
    """A process and its descendants.

    Parameters
    ----------
    pid: the process.
    alone: whether the descendants are left out.
    """

    pid: int
    alone: bool = False

    def pids(self) -> list[int]:
        """Return the processes that live now, zombies included, the root first."""
        if self.alone:
            return [self.pid]
        children: dict[int, list[int]] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
        found = [self.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """Return the processor time used, with that of descendants that have left and were waited for."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += sum(int(ticks) for ticks in _stat(pid)[11 : 13 if self.alone else 15])
        return total / _TICKS


def command(pid: int) -> str:
    """Return a process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def is_zombie(pid: int) -> bool:
    """Return whether a process has left and nobody has waited for it."""
    with contextlib.suppress(OSError):
        return _stat(pid)[0] == "Z"
    return False


def memory_mib(pid: int) -> float:
    """Return the memory of a process that it shares with no other, and its part of what is shared."""
    with contextlib.suppress(OSError, StopIteration), Path(f"/proc/{pid}/smaps_rollup").open() as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024
    return 0.0


def descriptors(pid: int) -> list[str]:
    """Return what a process has open: targets of its file descriptors."""
    found: list[str] = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(each.readlink()))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
