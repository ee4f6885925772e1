"""Waiting in tests: for a condition, with a timeout, and never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: A condition that gives no signal is looked at this often.
_LOOK_SECONDS = 0.05


def eventually(look: Callable[[], T], what: str, timeout_seconds: float = 30) -> T:
    """Return the first value of `look` that is true; fail when there is none in time.

    Parameters
    ----------
    look: called again and again; an AssertionError counts as not yet.
    what: said when it fails.
    """
    deadline = time.monotonic() + timeout_seconds
    never = threading.Event()
    last: object = None
    while True:
        try:
            value = look()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_seconds} s; the last look gave {last!r}")
        never.wait(_LOOK_SECONDS)
