"""`/events/{id}` and its kin: what became of events, as JSON."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import datetime

from hookline import attributes
from hookline.claim_tokens import claim_is_valid
from hookline.errors import Refusal
from hookline.event import now, rfc3339
from hookline.gateway import access
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.replies import json_reply
from hookline.gateway.waiting import read_wait, wait_for_document
from hookline.inbox import EventStatus, Search
from hookline.sources import Reply
from hookline.tracking import event_summary

PAGE_LIMIT = 500
PAGE_DEFAULT = 50

_ID_END = re.compile(r"[0-9A-Fa-f-]{4,36}")
_ID = re.compile(r"[0-9a-f-]{36}")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{48}")
_COUNT = re.compile(r"[1-9][0-9]{0,3}")


async def read_event(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /events/{id}`: the tracking document."""
    exchange.caller(house).require(access.Scope.READ)
    wait = read_wait(exchange.query("wait"))
    return json_reply(await wait_for_document(house, exchange.path["id"], wait, exchange.receive))


async def read_body_of_event(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /events/{id}/body`: the received bytes, identical."""
    event_id = exchange.path["id"]
    if not _claims(house, exchange, event_id):
        exchange.caller(house).require(access.Scope.READ)
    stored = await house.inbox.body(event_id)
    if stored is None:
        raise Refusal(
            404, "no-such-event", f"There is no body of an event {event_id[:36]}; it may be pruned."
        )
    headers = (
        ("content-type", stored.content_type or "application/octet-stream"),
        ("hookline-body-format", stored.body_format.value),
        # Somebody else's bytes: a browser must neither guess nor run them.
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("content-disposition", "attachment"),
    )
    return Reply(200, headers, stored.body)


def _claims(house: House, exchange: Exchange, event_id: str) -> bool:
    """Return whether the request carries a claim check's token for this event."""
    scheme, _, token = (exchange.headers.get("authorization") or "").partition(" ")
    return scheme.lower() == "bearer" and claim_is_valid(
        house.claim_secret, token.strip(), event_id=event_id, at=now()
    )


async def search_events(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /events`: a page of a search, newest first."""
    exchange.caller(house).require(access.Scope.READ)
    search = read_search(exchange)
    # One more than asked for tells whether there is a next page.
    found = await house.inbox.search(replace(search, limit=search.limit + 1))
    page = found[: search.limit]
    following = write_cursor(page[-1].id) if len(found) > search.limit else None
    events = [{**event_summary(event), "accepted": rfc3339(event.accepted)} for event in page]
    return json_reply({"events": events, "next": following})


def read_search(exchange: Exchange) -> Search:
    """Return the search that a query asks for.

    Raises
    ------
    Refusal: 400, a value cannot be used; names the parameter.
    """
    status = exchange.query("status")
    if status is not None and status not in tuple(EventStatus):
        raise _bad_query("status", f"one of {', '.join(EventStatus)}")
    return Search(
        type=exchange.query("type") or None,
        source=exchange.query("source") or None,
        subject=exchange.query("subject") or None,
        status=EventStatus(status) if status else None,
        since=read_moment("since", exchange.query("since")),
        until=read_moment("until", exchange.query("until")),
        id_end=_read_id_end(exchange),
        cursor=read_cursor(exchange),
        limit=read_limit(exchange),
    )


def _read_id_end(exchange: Exchange) -> str | None:
    end = exchange.query("id")
    if end is not None and _ID_END.fullmatch(end) is None:
        raise _bad_query("id", "an id, or its last 4 digits or more")
    return end and end.lower()


def read_limit(exchange: Exchange) -> int:
    """Return how many a page is to hold.

    Raises
    ------
    Refusal: 400, no number from 1 to `PAGE_LIMIT`.
    """
    limit = exchange.query("limit")
    if limit is None:
        return PAGE_DEFAULT
    if _COUNT.fullmatch(limit) is None or int(limit) > PAGE_LIMIT:
        raise _bad_query("limit", f"a number from 1 to {PAGE_LIMIT}")
    return int(limit)


def read_moment(name: str, text: str | None) -> datetime | None:
    """Return a time of a query.

    Raises
    ------
    Refusal: 400, not RFC 3339, or without an offset.
    """
    if text is None:
        return None
    try:
        return attributes.read_timestamp(text)
    except ValueError:
        raise _bad_query(name, "a time with an offset, such as 2026-11-24T03:00:00Z") from None


def write_cursor(last_id: str) -> str:
    """Return the cursor of the page that follows one that ends with this id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def read_cursor(exchange: Exchange) -> str | None:
    """Return the id after which a page begins, or None for the first page.

    Raises
    ------
    Refusal: 400, no cursor of ours.
    """
    text = exchange.query("cursor")
    if text is None:
        return None
    cursor = base64.urlsafe_b64decode(text).decode("latin-1") if _CURSOR.fullmatch(text) else ""
    if _ID.fullmatch(cursor) is None:
        raise _bad_query("cursor", "the `next` of the previous page")
    return cursor


def _bad_query(name: str, wanted: str) -> Refusal:
    return Refusal(400, "bad-query", f"{name} is not {wanted}.")
