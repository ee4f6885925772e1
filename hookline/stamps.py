"""The stamps that a run carries from its event: key, name, tags, and a link back to its trace. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hookline.current_run import TRACEPARENT_LABEL, TRACESTATE_LABEL
from hookline.event import Event
from hookline.inbox import Dispatch

#: Every tag becomes a related resource of the run's events, and 101 of those break Prefect's events.
EVENT_TAGS = 10
TAG_CHARACTERS = 200
#: What could end a link's text, begin another link or image, or be HTML.
_MARKDOWN = re.compile(r"[\\`*\[\]()<>!&|]")


def idempotency_key(dispatch: Dispatch) -> str:
    """Return the key that makes a dispatch start one run, however often it is tried."""
    return f"hookline:{dispatch.id}"


def run_name(event: Event) -> str:
    """Return a run's name: the event's type and the end of its id."""
    return f"{event.type}-{event.id[-8:]}"


def run_tags(event: Event, merged: Sequence[str] = (), *, inbox: str) -> list[str]:
    """Return a run's tags.

    Parameters
    ----------
    event: the event that leads.
    merged: tracking ids of the events that were merged into it, newest first.
    inbox: whose run it is, as several systems may share a Prefect; see `Inbox.identity`.
    """
    ids = [event.id, *(other for other in merged if other != event.id)]
    tags = [f"event:{event_id}" for event_id in ids[:EVENT_TAGS]]
    of_all = [f"event-type:{event.type}"[:TAG_CHARACTERS], f"source:{event.source}"[:TAG_CHARACTERS]]
    return [*tags, *of_all, inbox_tag(inbox)]


def inbox_tag(inbox: str) -> str:
    """Return the tag of all runs of an inbox."""
    return f"inbox:{inbox}"


def run_labels(event: Event) -> dict[str, str] | None:
    """Return a run's labels: the trace context that the event came with, if it did.

    Under our own name for people and tools, and under the one by which Prefect goes on with a trace: its
    spans become part of it, and subflows and deployments that the run calls get it too.
    """
    if event.traceparent is None:
        return None
    labels = {"hookline.traceparent": event.traceparent, TRACEPARENT_LABEL: event.traceparent}
    if event.tracestate is not None:
        labels[TRACESTATE_LABEL] = event.tracestate
    return labels


def link_key(event: Event) -> str:
    """Return the key of the artifact that links a run to its trace: lower case, digits and dashes."""
    return f"hookline-{event.id}"


def link_text(event: Event) -> str:
    """Return what the artifact's link says, in Markdown: the type is a sender's, and leads nowhere itself."""
    type = _MARKDOWN.sub(r"\\\g<0>", event.type)
    return f"{type} {event.id}"
