"""The shape an event has for Prefect's grammar: its resource and labels, and how those are matched. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from hookline.event import Event
from hookline.triggers.trigger import Labels

RESOURCE_ID = "prefect.resource.id"


def prefect_resource(event: Event) -> dict[str, str]:
    """Return the labels of the event's resource in Prefect: its id, and where it came from."""
    resource = {
        RESOURCE_ID: f"hookline.source.{event.source}" + (f"/{event.subject}" if event.subject else ""),
        "hookline.source": event.source,
        "hookline.type": event.type,
    }
    if event.subject:
        resource["hookline.subject"] = event.subject
    return resource


def unmet_label(wanted: Labels, resource: dict[str, str]) -> str | None:
    """Return the first label of `wanted` that `resource` does not meet, or None where it meets them all.

    The rules are Prefect's: every label must be there and match one of its patterns; `*`, `?` and `[...]`
    are wildcards, a leading `!` negates, and a label that is absent meets nothing, not even a negation.
    """
    for label, patterns in wanted.items():
        value = resource.get(label)
        accepted = [patterns] if isinstance(patterns, str) else patterns
        if not any(_matches(pattern, value) for pattern in accepted):
            return label
    return None


def includes(wanted: Labels, resources: Sequence[dict[str, str]]) -> bool:
    """Return whether one of the resources meets `wanted`; without wishes even none will do."""
    return not wanted or any(unmet_label(wanted, resource) is None for resource in resources)


def _matches(pattern: str, value: str | None) -> bool:
    if value is None:
        return False
    negated = pattern.startswith("!")
    return fnmatch.fnmatchcase(value, pattern.removeprefix("!")) is not negated
