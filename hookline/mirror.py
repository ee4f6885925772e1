"""The mirror: dispatched events in Prefect's own feed, as `hookline.<type>`, attributes without data.

The name differs from the event's type, so that an automation on the plain type never starts a second run.
Prefect's feed also carries the states of tasks and must not be flooded: what is too much is left out,
and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hookline.backoff import Backoff
from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.event import now, rfc3339
from hookline.inbox import Inbox, StoredEvent
from hookline.prefect_api import PrefectApi

log = logging.getLogger(__name__)

PER_SECOND = 20
#: Events that wait for the mirror at most: a feed that is minutes late helps nobody.
BACKLOG = 1_200
#: What one gateway has taken, no other takes for so long.
TAKEN = timedelta(seconds=30)


async def mirror_for_ever(inbox: Inbox, prefect: PrefectApi) -> None:
    """Carry events from the outbox to Prefect's feed, at most `PER_SECOND`."""
    backoff, failures = Backoff(), 0
    while True:
        try:
            await mirror_once(inbox, prefect)
            failures = 0
            await asyncio.sleep(1)
        except (PrefectUnavailable, InboxError) as failed:
            failures += 1
            log.debug("mirror: %s", failed)
            await asyncio.sleep(backoff.delay(failures).total_seconds())


async def mirror_once(inbox: Inbox, prefect: PrefectApi) -> int:
    """Carry one second's worth of events; return how many.

    Raises
    ------
    PrefectUnavailable, InboxError: the events stay in the outbox.
    """
    await inbox.trim_outbox(keep=BACKLOG)
    moment = now()
    events = await inbox.take_from_outbox(limit=PER_SECOND, at=moment, until=moment + TAKEN)
    if not events:
        return 0
    # Sent again after a crash in between: Prefect's feed knows events by their id.
    await _send(inbox, prefect, events)
    return len(events)


async def _send(inbox: Inbox, prefect: PrefectApi, events: Sequence[StoredEvent]) -> None:
    try:
        await prefect.emit([mirrored(event) for event in events])
    except PrefectRefused as refused:
        # One invalid event makes Prefect refuse all: send them one by one, and leave that one out.
        if len(events) == 1:
            log.warning("mirror: event %s is left out: %s", events[0].id, refused)
            await inbox.leave_outbox([events[0].id], mirrored=False)
        else:
            for event in events:
                await _send(inbox, prefect, [event])
        return
    await inbox.leave_outbox([event.id for event in events], mirrored=True)


def mirrored(event: StoredEvent) -> dict[str, Any]:
    """Return an event as Prefect's feed gets it. Pure."""
    resource = {
        "prefect.resource.id": _resource_id(event),
        "hookline.source": event.source,
        "hookline.type": event.type,
    }
    if event.subject is not None:
        resource["hookline.subject"] = event.subject
    return {
        "id": event.id,
        "event": f"hookline.{event.type}",
        "occurred": rfc3339(event.accepted),
        "resource": resource,
        # Never `follows`: Prefect would park the event for up to 15 minutes.
        "payload": {
            "source_id": event.source_id,
            "subject": event.subject,
            "time": rfc3339(event.time),
            "size": event.size,
        },
    }


def _resource_id(event: StoredEvent) -> str:
    subject = f"/{event.subject}" if event.subject is not None else ""
    return f"hookline.source.{event.source}{subject}"
