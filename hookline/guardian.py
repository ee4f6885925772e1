"""The guardian: ends what a supervisor started when the supervisor itself is killed.

A script of its own that imports nothing of Hookline, so that it is up within milliseconds. Its standard
input is a pipe on which process groups are reported, `+<group>` and `-<group>`. The pipe ends when the
supervisor does, however that comes about; what is then left is ended.

Every process is started through `enter`, which reports it before it becomes what it is to be: it holds the
pipe open until then, so there is no moment at which the guardian could miss it.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GRACE_SECONDS = 5.0


def enter(pipe: int, command: list[str]) -> None:
    """Report this process's group, then become the command.

    Parameters
    ----------
    pipe: file descriptor of the guardian's pipe.
    command: program and arguments.
    """
    os.write(pipe, b"+%d\n" % os.getpgrp())
    os.close(pipe)
    os.execvp(command[0], command)  # noqa: S606 (it is our own command, and no shell is wanted)


def guard() -> None:
    """Follow the reports until they end, then end every process group that is left."""
    groups: set[int] = set()
    for report in sys.stdin:
        group = int(report[1:])
        if report[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end(groups)


def end(groups: set[int]) -> None:
    """End process groups: SIGTERM, and SIGKILL to those that are still there after the grace."""
    left = {group for group in groups if _signalled(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if _signalled(group, 0)}
    for group in left:
        _signalled(group, signal.SIGKILL)


def _signalled(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    if sys.argv[1:]:
        enter(int(sys.argv[1]), sys.argv[2:])
    guard()
