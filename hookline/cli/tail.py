"""`hookline events tail`: events as they are accepted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from threading import Event
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from hookline.cli.client import Gateway
from hookline.cli.output import clock, console, status
from hookline.cli.system import find_system

#: How often the gateway is asked for what is new.
LOOK_SECONDS = 0.5
PAGE = 500
#: Events of one look at most; a busier door is shown in part.
MOST = 10_000
#: Events are put on the disk in groups, and not in the order of their accepted times.
OVERLAP = timedelta(seconds=2)


def tail(
    *,
    type: Annotated[str | None, Parameter(help="Only this type; a trailing * matches the rest.")] = None,
    source: Annotated[str | None, Parameter(help="Only from this source.")] = None,
    subject: Annotated[str | None, Parameter(help="Only with this subject.")] = None,
    last: Annotated[int, Parameter(help="Number of earlier events to start with.")] = 10,
    json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print one JSON document per line.")
    ] = False,
) -> None:
    """Print events as they are accepted, until Ctrl-C.

    The status is as of printing: a new event is often accepted but not yet dispatched.

    Example: hookline events tail --type 'github.*'
    """
    wanted = {"type": type, "source": source, "subject": subject}
    with Gateway(find_system()) as gateway:
        for event in arrivals(gateway, wanted, last):
            if json:
                print(orjson.dumps(event).decode(), flush=True)
            else:
                _print(event)


def arrivals(gateway: Gateway, wanted: dict[str, Any], last: int) -> Iterator[dict[str, Any]]:
    """Yield the last events, then each new one, in order of arrival."""
    newest = gateway.get("/events", {**wanted, "limit": max(1, min(last, PAGE))}, holds="events")["events"]
    yield from reversed(newest if last > 0 else [])
    while True:
        known = {event["id"] for event in newest}
        since = None if not newest else (datetime.fromisoformat(newest[0]["accepted"]) - OVERLAP).isoformat()
        found = list(gateway.pages("/events", "events", {**wanted, "since": since}, MOST))
        yield from (event for event in reversed(found) if event["id"] not in known)
        newest = found or newest
        Event().wait(LOOK_SECONDS)


def _print(event: dict[str, Any]) -> None:
    console().print(
        clock(event["accepted"]),
        event["type"],
        event["subject"] or "-",
        f"from {event['source']}",
        status(event["status"]),
        event["id"],
        sep="  ",
    )
