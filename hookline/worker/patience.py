"""HTTP transports that wait out a busy or absent Prefect server.

Prefect's own client waits two seconds before it asks again, and gives up after about a minute. A SQLite
server answers 503 when two of its writers meet, which is over in milliseconds; and a server that is
restarted in the middle of a run should find the run waiting, not crashed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

import httpx

logger = logging.getLogger("prefect.hookline.worker")

#: How long to wait before each further attempt while the server is busy (503), in seconds.
BUSY_DELAYS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
#: The longest wait between two attempts while the server cannot be reached, in seconds.
_LONGEST_DELAY = 2.0
#: How long a server that was there may be gone, in seconds; after that Prefect's own retries are left.
ABSENCE_SECONDS = 900.0

#: A request that met one of these may be sent again: state proposals carry an id that makes them safe,
#: and Prefect's client would send it again as well, only later.
_LOST = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)


def delays(absence_seconds: float) -> Iterator[float]:
    """Return the waits between attempts to reach a server that is gone, first none, then growing."""
    began = time.monotonic()
    yield 0.0
    delay = 0.05
    while time.monotonic() - began < absence_seconds:
        yield delay
        delay = min(delay * 2, _LONGEST_DELAY)


class PatientTransport(httpx.BaseTransport):
    """Asks again, soon, when the server is busy, and for long when it is gone."""

    def __init__(self, inner: httpx.BaseTransport, absence_seconds: float = ABSENCE_SECONDS) -> None:
        self._inner = inner
        self._absence_seconds = absence_seconds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request until there is an answer that is worth having."""
        for delay in BUSY_DELAYS:
            response = self._reach(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            response.close()
            time.sleep(delay)
        return self._reach(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _reach(self, request: httpx.Request) -> httpx.Response:
        for delay in delays(self._absence_seconds):
            if delay:
                time.sleep(delay)
            try:
                return self._inner.handle_request(request)
            except _LOST as lost:
                logger.debug("Prefect cannot be reached: %r", lost)
        return self._inner.handle_request(request)


class AsyncPatientTransport(httpx.AsyncBaseTransport):
    """`PatientTransport` for asynchronous clients."""

    def __init__(self, inner: httpx.AsyncBaseTransport, absence_seconds: float = ABSENCE_SECONDS) -> None:
        self._inner = inner
        self._absence_seconds = absence_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request until there is an answer that is worth having."""
        for delay in BUSY_DELAYS:
            response = await self._reach(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            await response.aclose()
            await asyncio.sleep(delay)
        return await self._reach(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _reach(self, request: httpx.Request) -> httpx.Response:
        for delay in delays(self._absence_seconds):
            if delay:
                await asyncio.sleep(delay)
            try:
                return await self._inner.handle_async_request(request)
            except _LOST as lost:
                logger.debug("Prefect cannot be reached: %r", lost)
        return await self._inner.handle_async_request(request)
