"""Rate limits: how many requests a key or a source may make, and the headers that say so."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from hookline.errors import Refusal, SettingsError
from hookline.sources import Rate
from hookline.sources.entry import read_rate

HeaderPairs = tuple[tuple[str, str], ...]


class Meter:
    """Counts the requests of one key or source.

    A bucket of `rate.limit` that fills evenly within `rate.per`: the whole of it may be used at once, and
    after that as much as flows back. Kept as the one time at which the bucket will be full again.

    Parameters
    ----------
    name: of the policy, `key` or `source`.
    rate: how many requests in which time.
    clock: gives seconds that never go back.
    """

    __slots__ = (
        "_clock", "_full_at", "_limit", "_name", "_per_seconds", "_policy", "_step_seconds", "rate",
    )  # fmt: skip

    def __init__(self, name: str, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self.rate = rate
        self._limit = rate.limit
        self._per_seconds = rate.per.total_seconds()
        self._step_seconds = self._per_seconds / rate.limit
        self._clock = clock
        self._full_at = float("-inf")
        # RateLimit fields, draft-ietf-httpapi-ratelimit-headers: q is the quota, w its window in seconds.
        self._policy = ("ratelimit-policy", f'"{name}";q={rate.limit};w={math.ceil(self._per_seconds)}')

    def take(self, cost: int = 1) -> HeaderPairs:
        """Count a request; return the headers that tell how much is left.

        Parameters
        ----------
        cost: how many it counts for; the bucket may be overdrawn by one that is large.

        Raises
        ------
        Refusal: 429, with the time after which there is room again.
        """
        missing = max(self._full_at - self._clock(), 0.0)
        wait_seconds = missing + self._step_seconds - self._per_seconds
        if wait_seconds > _ROUNDING_SECONDS:
            raise Refusal(
                429,
                "rate-limit",
                f"More requests than this {self._name} may make; retry after the time in Retry-After.",
                headers={
                    "retry-after": str(max(1, math.ceil(wait_seconds))),
                    **dict(self._headers(missing)),
                },
            )
        return self.charge(cost)

    def charge(self, cost: int) -> HeaderPairs:
        """Count what cannot be refused any more; return the headers that tell how much is left."""
        now = self._clock()
        self._full_at = max(self._full_at, now) + cost * self._step_seconds
        return self._headers(self._full_at - now)

    def _headers(self, missing: float) -> HeaderPairs:
        left = int((self._per_seconds - missing) / self._step_seconds + 1e-6)
        standing = f'"{self._name}";r={max(left, 0)};t={math.ceil(missing)}'
        return (self._policy, ("ratelimit", standing))


#: The steps of a bucket do not add up to it exactly in floating point.
_ROUNDING_SECONDS = 1e-6


class Meters:
    """The meters of all that share a kind, made on first use.

    Parameters
    ----------
    name: of the policy.
    rate: for all of them; None counts nothing.
    """

    def __init__(self, name: str, rate: Rate | None) -> None:
        self._name = name
        self._rate = rate
        self._meters: dict[str, Meter] = {}

    @property
    def rate(self) -> Rate | None:
        """Return the rate that counts for each."""
        return self._rate

    def take(self, who: str) -> HeaderPairs:
        """Count a request of one of them, as `Meter.take` does."""
        if self._rate is None:
            return ()
        meter = self._meters.get(who)
        if meter is None:
            meter = self._meters[who] = Meter(self._name, self._rate)
        return meter.take()

    def charge(self, who: str, cost: int) -> HeaderPairs:
        """Count what a request turned out to cost more, as `Meter.charge` does."""
        meter = self._meters.get(who)
        return () if meter is None else meter.charge(cost)


def rate_of_keys(text: str) -> Rate | None:
    """Return the rate that a setting asks for; none where it is empty.

    Raises
    ------
    SettingsError: it is no rate.
    """
    if not text:
        return None
    try:
        return read_rate(text)
    except ValueError as wrong:
        raise SettingsError(f"HOOKLINE_KEY_RATE {wrong}") from None
