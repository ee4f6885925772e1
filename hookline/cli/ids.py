"""Ids as people have them: whole, or the last digits that pages and run names show."""

from __future__ import annotations

import re

from hookline.cli.client import Gateway
from hookline.errors import HooklineError

WHOLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: The end of an id by itself, or at the end of a run's name, such as `github.push-4f812a6f`.
_END = re.compile(r"(?:[^/\s]*-)?([0-9a-f]{8})|[0-9a-f-]{8,35}")
#: Dead letters that are looked through for the end of an id.
DEAD_LETTERS = 10_000


def event_id(gateway: Gateway, given: str) -> str:
    """Return the tracking id that was given, or that ends like this; what is neither comes back as it is.

    Raises
    ------
    HooklineError: several ids end like this, which it names, or none does.
    """
    end = _end(given)
    if end is None:
        return given
    found = gateway.get("/events", {"id": end}, holds="events")["events"]
    return _only(given, {each["id"]: f"{each['type']}, accepted {each['accepted']}" for each in found})


def dead_letter_id(gateway: Gateway, given: str) -> str:
    """Return the id of a dead letter; parameters and errors are those of `event_id`."""
    end = _end(given)
    if end is None:
        return given
    letters = gateway.pages("/dead", "dead", {}, DEAD_LETTERS)
    return _only(given, {each["id"]: each["trigger"] for each in letters if each["id"].endswith(end)})


def _end(given: str) -> str | None:
    lower = given.lower()
    match = None if WHOLE.fullmatch(lower) else _END.fullmatch(lower)
    return None if match is None else match[1] or match[0]


def _only(given: str, found: dict[str, str]) -> str:
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise HooklineError(f"No id ends with {given}; `hookline events ls` shows whole ones.")
    several = "; ".join(f"{id} ({what})" for id, what in found.items())
    raise HooklineError(f"{len(found)} ids end with {given}: {several}.")
