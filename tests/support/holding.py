"""How long the event loop is held by one callback or one step of a task, in processor time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class Hold:
    """The longest time for which the loop was held.

    Parameters
    ----------
    seconds: of processor time of the loop's thread, so that a busy machine does not count.
    what: held it.
    """

    seconds: float = 0.0
    what: str = "nothing"


@contextlib.contextmanager
def longest_hold() -> Iterator[Hold]:
    """Measure until the end of the context; for asyncio's own loop, which is what tests run on."""
    hold = Hold()
    run = asyncio.events.Handle._run

    def measured(handle: Any) -> None:
        started = time.thread_time()
        try:
            run(handle)
        finally:
            took = time.thread_time() - started
            if took > hold.seconds:
                hold.seconds, hold.what = took, repr(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.events.Handle, "_run", measured)
        yield hold


@contextlib.contextmanager
def held() -> Iterator[Hold]:
    """Measure this thread until the end of the context, without the collector, as in a gateway.

    There what was loaded is frozen; here the garbage of all the tests before would be looked through.
    """
    hold = Hold(what="this thread")
    gc.disable()
    started = time.thread_time()
    try:
        yield hold
    finally:
        hold.seconds = time.thread_time() - started
        gc.enable()
