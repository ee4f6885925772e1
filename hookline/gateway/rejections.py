"""`/rejections`: what was turned away, and why."""

from __future__ import annotations

from typing import Any

from hookline.event import rfc3339
from hookline.gateway import access
from hookline.gateway.events import read_cursor, read_limit, write_cursor
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.replies import json_reply
from hookline.inbox import Rejection
from hookline.sources import Reply


async def read_rejections(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /rejections`: a page, newest first; the inbox keeps the newest 10,000."""
    exchange.caller(house).require(access.Scope.READ)
    limit, cursor = read_limit(exchange), read_cursor(exchange)
    await house.rejections.write()
    # One more than asked for tells whether there is a next page.
    found = await house.inbox.rejections(limit=limit + 1, cursor=cursor)
    page = found[:limit]
    following = write_cursor(page[-1].id) if len(found) > limit else None
    return json_reply({"rejections": [_document(rejection) for rejection in page], "next": following})


def _document(rejection: Rejection) -> dict[str, Any]:
    return {
        "id": rejection.id,
        "at": rfc3339(rejection.at),
        "door": rejection.door,
        "remote": rejection.remote,
        "status": rejection.status,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "size": rejection.size,
    }
