"""The mirror: dispatched events in Prefect's own feed, as `hookline.<type>`, attributes without data.

The name differs from the event's type, so that an automation on the plain type never starts a second run.
Prefect's feed also carries the states of tasks and must not be flooded: what is too much is left out,
and counted.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from hookline.backoff import Backoff
from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.event import rfc3339
from hookline.inbox import Inbox, StoredEvent
from hookline.prefect_api import PrefectApi

log = logging.getLogger(__name__)

PER_SECOND = 20
#: Events that wait for the mirror at most: a feed that is minutes late helps nobody.
BACKLOG = 1_200
#: How often the outbox is looked into.
LOOK_SECONDS = 1.0


async def mirror_for_ever(inbox: Inbox, prefect: PrefectApi) -> None:
    """Carry events from the outbox to Prefect's feed, at most `PER_SECOND`."""
    backoff, failures = Backoff(), 0
    while True:
        try:
            sent = await mirror_once(inbox, prefect)
            failures = 0
            await asyncio.sleep(LOOK_SECONDS if sent else LOOK_SECONDS / 2)
        except (PrefectUnavailable, InboxError) as failed:
            failures += 1
            log.debug("mirror: %s", failed)
            await asyncio.sleep(backoff.delay(failures).total_seconds())


async def mirror_once(inbox: Inbox, prefect: PrefectApi) -> int:
    """Carry one second's worth of events; return how many."""
    await inbox.trim_outbox(keep=BACKLOG)
    events = await inbox.outbox(limit=PER_SECOND)
    if not events:
        return 0
    try:
        await prefect.emit([mirrored(event) for event in events])
    except PrefectRefused as refused:
        # One invalid event makes Prefect refuse all; the feed is a courtesy, so go on without these.
        log.warning("mirror: %s", refused)
    # Sent again after a crash in between: Prefect's feed knows events by their id.
    await inbox.mirrored([event.id for event in events])
    return len(events)


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
