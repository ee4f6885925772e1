"""Listens to Prefect's event stream, so that the worker acts when something happens, not when it polls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter

logger = logging.getLogger("prefect.hookline.worker")

#: A run that waits to be started has come to be, or has come back.
WAITING = frozenset(
    f"prefect.flow-run.{state}"
    for state in ("Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Resuming", "Rescheduled", "Late")
)
#: A run is to be stopped; Prefect makes one Cancelled at once when it thinks that it has no process.
STOPPED = frozenset({"prefect.flow-run.Cancelling", "prefect.flow-run.Cancelled"})
SUSPENDED = "prefect.flow-run.Suspended"
#: Something that the worker knows has changed.
CHANGED = frozenset(
    f"prefect.{kind}.{what}"
    for kind in ("deployment", "work-pool", "work-queue")
    for what in ("created", "updated", "deleted", "ready", "not-ready", "paused")
)

#: What runs of the pool import may have changed.
DEPLOYED = frozenset(f"prefect.deployment.{what}" for what in ("created", "updated", "deleted"))

#: How long to wait before the stream is opened again, doubled from the first up to the last.
_FIRST_DELAY_SECONDS = 0.25
_LAST_DELAY_SECONDS = 15.0


async def listen(
    pool_id: UUID, hear: Callable[[Event], None], opened: Callable[[], None], closed: Callable[[], None]
) -> None:
    """Call `hear` for each event that concerns the pool; reconnect for ever.

    Parameters
    ----------
    pool_id: id of the work pool.
    hear: called in the event loop with an event named in WAITING, CHANGED or STOPPED, or SUSPENDED.
    opened: called when the stream is open, and with it nothing is missed.
    closed: called when it is not.
    """
    wanted = EventFilter(
        event=EventNameFilter(name=[*WAITING, *CHANGED, *STOPPED, SUSPENDED]),
        any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{pool_id}"]),
    )
    delay = _FIRST_DELAY_SECONDS
    while True:
        try:
            async with get_events_subscriber(filter=wanted, reconnection_attempts=0) as stream:
                delay = _FIRST_DELAY_SECONDS
                opened()
                async for event in stream:
                    hear(event)
            why: Exception | None = None
        except Exception as error:
            why = error
        closed()
        logger.info("The event stream is closed (%s); polling until it opens again.", why or "by the server")
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LAST_DELAY_SECONDS)


def run_of(event: Event) -> UUID:
    """Return the id of the flow run that the event is about."""
    return UUID(event.resource.id.removeprefix("prefect.flow-run."))


def queue_of(event: Event) -> UUID | None:
    """Return the id of the work queue of the run that the event is about, if it has one."""
    for resource in event.related:
        if resource.role == "work-queue":
            return UUID(resource.id.removeprefix("prefect.work-queue."))
    return None
