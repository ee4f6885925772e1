"""Full-jitter exponential backoff: spread retries evenly over a growing window.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from hookline.errors import InboxError, InboxRefused

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between tries.

    Parameters
    ----------
    base: the window after the first failure; it doubles with each further one.
    ceiling: the window never grows beyond.
    """

    base: timedelta = timedelta(milliseconds=200)
    ceiling: timedelta = timedelta(seconds=5)

    def delay(self, failures: int, *, at_least: float | None = None) -> timedelta:
        """Return a wait after so many failures in a row.

        Parameters
        ----------
        failures: 1 or more.
        at_least: seconds that the other side asked to wait.
        """
        # 2**30 windows of any base are past every ceiling; larger powers would overflow.
        window: timedelta = min(self.base * 2 ** min(failures - 1, 30), self.ceiling)
        # Not for secrecy: spreading retries needs no cryptographic randomness.
        chosen = window * random.random()  # noqa: S311
        return max(chosen, timedelta(seconds=at_least)) if at_least is not None else chosen


async def until_it_works(work: Callable[[], Awaitable[T]], what: str) -> T:
    """Repeat work that the inbox cannot do just now: its disk is full, or somebody has locked it."""
    while True:
        try:
            return await work()
        except InboxRefused:
            raise
        except InboxError as failed:
            log.error("%s: %s", what, failed)
            await asyncio.sleep(1)
