"""Full-jitter exponential backoff: spread retries evenly over a growing window.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta


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
