"""The event log, which is also the first page: what came in, newest first, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hookline.errors import Refusal
from hookline.event import now
from hookline.gateway.events import read_moment
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.cursors import read_id
from hookline.gateway.pages.serving import View, with_query
from hookline.gateway.pages.visitor import Visitor
from hookline.inbox import Dispatch, DispatchStatus, EventStatus, Search, StoredEvent, browsing

PAGE = 50
#: Spans of time that the filter offers: name in the address, words, length.
SPANS = (
    ("15m", "last 15 minutes", timedelta(minutes=15)),
    ("1h", "last hour", timedelta(hours=1)),
    ("24h", "last 24 hours", timedelta(days=1)),
    ("7d", "last 7 days", timedelta(days=7)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One event of the log.

    Parameters
    ----------
    outcomes: states of its runs, and statuses of dispatches without one, each with how many there are.
    length: from accepted to the end of its last run, once all have ended.
    """

    event: StoredEvent
    outcomes: tuple[tuple[str, int], ...]
    length: timedelta | None


async def event_log(house: House, exchange: Exchange, visitor: Visitor) -> View:
    """Build `GET /` and `GET /events`."""
    filters = _read_filters(exchange)
    moment = now()
    found, older, newer = await _read_page(house, exchange, _search(filters, moment))
    values: dict[str, Any] = {
        "filters": filters,
        "spans": SPANS,
        "statuses": tuple(EventStatus),
        "sources": list(house.sources),
        "rows": [_row(event, dispatches) for event, dispatches in found],
        "filtered": any(filters.values()),
        "at_top": not newer and "before" not in _given(exchange),
        "older": with_query("/events", **filters, before=found[-1][0].id) if older else None,
        "newer": with_query("/events", **filters, after=found[0][0].id) if newer else None,
        "curl": first_curl(house),
        "link": lambda **changed: with_query("/events", **{**filters, **changed}),
    }
    return View("log", values)


def _read_filters(exchange: Exchange) -> dict[str, str]:
    names = ("type", "source", "subject", "status", "within", "since", "until")
    filters = {name: (exchange.query(name) or "").strip() for name in names}
    if filters["status"] and filters["status"] not in tuple(EventStatus):
        raise Refusal(400, "bad-query", f"status is not one of {', '.join(EventStatus)}.")
    if filters["within"] and filters["within"] not in [name for name, _, _ in SPANS]:
        raise Refusal(400, "bad-query", f"within is not one of {', '.join(name for name, _, _ in SPANS)}.")
    return filters


def _search(filters: dict[str, str], moment: datetime) -> Search:
    since = read_moment("since", filters["since"] or None)
    for name, _, length in SPANS:
        if filters["within"] == name:
            since = moment - length
    return Search(
        type=filters["type"] or None,
        source=filters["source"] or None,
        subject=filters["subject"] or None,
        status=EventStatus(filters["status"]) if filters["status"] else None,
        since=since,
        until=read_moment("until", filters["until"] or None),
        limit=PAGE + 1,
    )


async def _read_page(
    house: House, exchange: Exchange, search: Search
) -> tuple[list[tuple[StoredEvent, list[Dispatch]]], bool, bool]:
    """Return a page, and whether there are older and newer events than those on it."""
    before, after = read_id(exchange, "before"), read_id(exchange, "after")
    if after is not None:
        upwards = replace(search, cursor=after, oldest_first=True)
        found = await house.inbox.read(lambda c: browsing.log(c, upwards))
        return found[:PAGE][::-1], True, len(found) > PAGE
    downwards = replace(search, cursor=before)
    found = await house.inbox.read(lambda c: browsing.log(c, downwards))
    return found[:PAGE], len(found) > PAGE, before is not None and bool(found)


def _given(exchange: Exchange) -> set[str]:
    return {name for name in ("before", "after") if exchange.query(name)}


def _row(event: StoredEvent, dispatches: Sequence[Dispatch]) -> Row:
    return Row(event, outcomes(dispatches), _length(event, dispatches))


def outcomes(dispatches: Sequence[Dispatch]) -> tuple[tuple[str, int], ...]:
    """Return what became of dispatches: states of runs, else statuses. Pure.

    Those that were filtered, or replayed since, are left out.
    """
    words = [
        (dispatch.state or "scheduled").lower() if dispatch.flow_run_id else dispatch.status.value
        for dispatch in dispatches
        if dispatch.status is not DispatchStatus.FILTERED and dispatch.replaced_by is None
    ]
    return tuple(Counter(words).items())


def _length(event: StoredEvent, dispatches: Sequence[Dispatch]) -> timedelta | None:
    ends = [
        dispatch.finished
        for dispatch in dispatches
        if dispatch.replay == 0 and dispatch.status is DispatchStatus.STARTED
    ]
    if not ends or None in ends:
        return None
    return max(end for end in ends if end is not None) - event.accepted


def first_curl(house: House) -> str:
    """Return a command that sends a first event."""
    key = ' -H "Authorization: Bearer $HOOKLINE_API_KEY"' if house.access.callers else ""
    return (
        f"curl -i {house.settings.gateway_url}/events{key} -H 'Content-Type: application/json'"
        """ -d '{"type": "hello.world", "data": {"name": "you"}}'"""
    )


async def find(house: House, exchange: Exchange, visitor: Visitor) -> View | str:
    """Build `GET /find`: lead to the event that somebody has any id of, or say what else can be tried."""
    words = (exchange.query("q") or "").strip()
    doors = [f"webhooks/{name}" for name in house.sources]
    doors += [f"events/{caller.name}" for caller in house.access.callers.values()] + ["events/local"]
    found = await house.inbox.read(lambda c: browsing.find(c, words, doors)) if words else None
    return f"/events/{found}" if found else View("find", {"words": words}, 404)
