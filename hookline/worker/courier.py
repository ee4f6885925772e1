"""Takes the logs and events of all the worker's runs to Prefect, over connections that stay open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.events import Event
from prefect.events.clients import PrefectEventsClient

logger = logging.getLogger("prefect.hookline.worker")

#: How long log entries wait for others, so that those of one run, or several, go as one request.
_GATHER_SECONDS = 0.25
_BATCH_ENTRIES = 500
_BATCH_BYTES = 900_000  # Prefect's server takes requests of a megabyte
#: How many log entries, and how many events, are kept for a server that is away.
_KEPT = 100_000
_PAUSE_SECONDS = 1.0
_FLUSH_SECONDS = 10.0


class RenderedEvent(NamedTuple):
    """An event as a child has rendered it; what Prefect's client asks of an event, and no more."""

    id: int
    text: str

    def model_dump_json(self) -> str:
        """Return the event as JSON."""
        return self.text


class Courier:
    """Sends log entries in batches and events in order; keeps both while the server is away.

    Parameters
    ----------
    client: the worker's Prefect client.
    """

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._events: asyncio.Queue[RenderedEvent] = asyncio.Queue(_KEPT)
        self._some_entries = asyncio.Event()
        self._lost = 0
        self._sending: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._sending = [loop.create_task(self._send_entries()), loop.create_task(self._send_events())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.flush(), _FLUSH_SECONDS)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def log(self, entry: dict[str, Any]) -> None:
        """Take a log entry in the shape of Prefect's `LogCreate`."""
        entry.pop("__payload_size__", None)
        if len(self._entries) == _KEPT:
            self._lost += 1
        self._entries.append(entry)
        self._some_entries.set()

    def emit(self, text: str) -> None:
        """Take an event that is rendered as JSON."""
        try:
            self._events.put_nowait(RenderedEvent(hash(text), text))
        except asyncio.QueueFull:
            self._lost += 1

    def send(self, event: Event) -> None:
        """Take an event."""
        self.emit(event.model_dump_json())

    async def flush(self) -> None:
        """Return when all that was taken has been sent."""
        await self._events.join()
        while self._entries or not self._idle.is_set():
            self._some_entries.set()
            await self._idle.wait()

    async def _send_entries(self) -> None:
        while True:
            self._idle.set()
            await self._some_entries.wait()
            self._idle.clear()
            await asyncio.sleep(_GATHER_SECONDS)
            self._some_entries.clear()
            while self._entries:
                await self._send_batch(self._take_batch())
            if self._lost:
                logger.error(
                    "%s log entries and events were lost: Prefect was away for too long.", self._lost
                )
                self._lost = 0

    def _take_batch(self) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        size = 0
        while self._entries and len(batch) < _BATCH_ENTRIES and size < _BATCH_BYTES:
            entry = self._entries.popleft()
            size += len(entry["message"]) + 250
            batch.append(entry)
        return batch

    async def _send_batch(self, batch: list[dict[str, Any]]) -> None:
        while True:
            try:
                await self._client.create_logs(batch)
            except httpx.HTTPStatusError as refused:
                if refused.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    logger.error("Prefect refuses %s log entries: %s", len(batch), refused)
                    return
            except httpx.HTTPError as away:
                logger.debug("Log entries wait for Prefect: %r", away)
            else:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _send_events(self) -> None:
        while True:
            try:
                # It reconnects by itself, and sends again what was not confirmed.
                async with PrefectEventsClient(reconnection_attempts=sys.maxsize - 1) as client:
                    while True:
                        event = await self._events.get()
                        try:
                            await client.emit(event)  # type: ignore[arg-type]
                        finally:
                            self._events.task_done()
            except Exception:
                logger.exception("Events cannot be sent to Prefect; trying again.")
                await asyncio.sleep(_PAUSE_SECONDS)
