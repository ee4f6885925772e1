"""Prefect's event stream and its stored events, without those that nobody here follows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter

from hookline.event import rfc3339
from hookline.feed import PrefectEvent

#: What is of no interest: news of machinery, heartbeats, and our own mirror.
_NOT_FOLLOWED = (
    "hookline.", "prefect.flow-run.heartbeat", "prefect.log.", "prefect.worker.", "prefect.work-pool.",
    "prefect.work-queue.", "prefect.deployment.", "prefect.flow.", "prefect.automation.", "prefect.block",
    "prefect.concurrency-limit.", "prefect.artifact-collection.", "prefect.runner.",
)  # fmt: skip


@contextlib.asynccontextmanager
async def subscription() -> AsyncIterator[AsyncIterator[PrefectEvent]]:
    """Open Prefect's event stream."""
    wanted = EventFilter(event=EventNameFilter(exclude_prefix=list(_NOT_FOLLOWED)))
    async with get_events_subscriber(filter=wanted, reconnection_attempts=0) as subscriber:
        yield (_plain(event) async for event in subscriber)


def stored(since: datetime, until: datetime) -> dict[str, Any]:
    """Return the body of a query for stored events, oldest first, that the stream would have given."""
    return {
        "filter": {
            "occurred": {"since": rfc3339(since), "until": rfc3339(until)},
            "event": {"exclude_prefix": list(_NOT_FOLLOWED)},
            "order": "ASC",
        }
    }


def _plain(event: Event) -> PrefectEvent:
    return PrefectEvent(
        id=str(event.id),
        name=event.event,
        # A plain datetime: Prefect's is a subclass whose arithmetic gives other types.
        occurred=datetime.fromisoformat(event.occurred.isoformat()),
        resource=event.resource.root,
        related=tuple(related.root for related in event.related),
        payload=event.payload,
    )
