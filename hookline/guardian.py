"""The guardian: ends what a supervisor started when the supervisor itself is killed.

A script of its own that imports nothing of Hookline, so that it is up within milliseconds. Its standard
input is a pipe from the supervisor, which reports on it `+<process group>` and `-<process group>`. The
pipe ends when the supervisor does, however that comes about; what is then left is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GRACE_SECONDS = 5.0


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
    # A Ctrl-C in the terminal is the supervisor's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard()
