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

SCHEDULED = "prefect.flow-run.Scheduled"
CANCELLING = "prefect.flow-run.Cancelling"

#: How long to wait before the stream is opened again; doubled up to the last.
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0


async def listen(pool_id: UUID, names: list[str], hear: Callable[[Event], None]) -> None:
    """Call `hear` for each event of those names about a run of the pool; reconnect for ever.

    Parameters
    ----------
    pool_id: id of the work pool.
    names: names of events, such as `prefect.flow-run.Scheduled`.
    hear: called in the event loop; must not block.
    """
    wanted = EventFilter(
        event=EventNameFilter(name=names),
        any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{pool_id}"]),
    )
    delay = _FIRST_DELAY_SECONDS
    while True:
        try:
            async with get_events_subscriber(filter=wanted, reconnection_attempts=0) as stream:
                delay = _FIRST_DELAY_SECONDS
                async for event in stream:
                    hear(event)
        except Exception as why:
            logger.info("The event stream is closed (%s); polling until it opens again.", why)
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LAST_DELAY_SECONDS)


def run_of(event: Event) -> UUID:
    """Return the id of the flow run that the event is about."""
    return UUID(event.resource.id.removeprefix("prefect.flow-run."))
