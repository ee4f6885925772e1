"""The guardian: ends what a supervisor started when the supervisor itself is killed.

A script of its own that imports nothing of Hookline, so that it is up within milliseconds. Its standard
input is a pipe on which process groups are reported, `+<group>` and `-<group>`. The pipe ends when the
supervisor does, however that comes about; what is then left is ended.

Every process is started through `enter`, which reports it before it becomes what it is to be: it holds the
pipe open until then, so there is no moment at which the guardian could miss it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

GRACE_SECONDS = 5.0


#: The first descriptor of those that a process is handed, as systemd does it: sd_listen_fds(3).
LISTEN_FDS_START = 3


def enter(pipe: int, sockets: list[int], command: list[str]) -> None:
    """Report this process's group, then become the command.

    Parameters
    ----------
    pipe: file descriptor of the guardian's pipe.
    sockets: file descriptors of listening sockets for the command.
    command: program and arguments.
    """
    os.write(pipe, b"+%d\n" % os.getpgrp())
    os.close(pipe)
    if sockets:
        _hand_over(sockets)
    os.execvp(command[0], command)  # noqa: S606 (it is our own command, and no shell is wanted)


def _hand_over(sockets: list[int]) -> None:
    """Lay sockets where the command looks for them, and say so in its environment."""
    # First out of the way: one of them may lie where another is to go.
    aside = [fcntl.fcntl(each, fcntl.F_DUPFD, LISTEN_FDS_START + len(sockets)) for each in sockets]
    for each in sockets:
        os.close(each)
    for place, each in enumerate(aside, LISTEN_FDS_START):
        os.dup2(each, place, inheritable=True)
        os.close(each)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(sockets))


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
        enter(int(sys.argv[1]), [int(each) for each in sys.argv[2].split(",") if each], sys.argv[3:])
    guard()
