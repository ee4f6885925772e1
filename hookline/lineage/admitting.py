"""Events that flows emit with Prefect's own `emit_event`, on their way into the inbox as source `prefect`."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from hookline import attributes
from hookline.event import BodyFormat, Cause, Draft, Event
from hookline.feed import PrefectEvent
from hookline.inbox import Inbox
from hookline.lineage import store
from hookline.lineage.observing import run_of

SOURCE = "prefect"

_EVENT_TAG = "prefect.tag.event:"


async def admit(inbox: Inbox, event: PrefectEvent, *, offer: Callable[[Event], None]) -> None:
    """Put somebody's event into the inbox, once however often it is read, and offer it to the dispatcher.

    Raises
    ------
    InboxError: the inbox cannot take it now.
    """
    if not _can_be_admitted(event):
        return
    draft = draft_of(event, await _cause(inbox, event))
    recorded, _ = await inbox.record(draft)
    if recorded.duplicate:
        return
    full = await inbox.full_event(recorded.id)
    if full is not None:
        offer(full)


def draft_of(event: PrefectEvent, cause: Cause | None) -> Draft:
    """Return an event of Prefect's feed as a draft: payload as data, resource as subject. Pure."""
    document = {
        "id": event.id,
        "event": event.name,
        "occurred": event.occurred.isoformat(),
        "resource": dict(event.resource),
        "related": [dict(related) for related in event.related],
        "data": dict(event.payload),
    }
    return Draft(
        door=SOURCE,
        source=SOURCE,
        source_id=event.id,
        type=attributes.tidy_type(event.name),
        subject=event.resource_id,
        time=event.occurred,
        data=document["data"],
        body=orjson.dumps(document),
        body_format=BodyFormat.ENVELOPE,
        content_type="application/json",
        verdict="Prefect's event feed",
        cause=cause,
    )


def _can_be_admitted(event: PrefectEvent) -> bool:
    """Return whether its name and resource can be attributes of an event: not empty, not too long."""
    try:
        attributes.check_present(event.name)
        attributes.check_present(event.resource_id)
    except ValueError:
        return False
    return True


async def _cause(inbox: Inbox, event: PrefectEvent) -> Cause | None:
    """Return the run that emitted it and the event that started that run, as `send()` would."""
    flow_run_id, task_run_id = run_of(event)
    if flow_run_id is None:
        return None
    tagged = next(
        (tag.removeprefix(_EVENT_TAG) for tag in event.related_ids("tag") if tag.startswith(_EVENT_TAG)), None
    )
    behind = await inbox.read(lambda c: store.event_behind(c, flow_run_id))
    return Cause(event=behind or tagged, flow_run=flow_run_id, task_run=task_run_id)
