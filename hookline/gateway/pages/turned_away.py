"""Rejections: what was turned away at the doors, and why."""

from __future__ import annotations

from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.cursors import read_id
from hookline.gateway.pages.serving import View, with_query
from hookline.gateway.pages.visitor import Visitor

PAGE = 100


async def rejections(house: House, exchange: Exchange, visitor: Visitor) -> View:
    """Build `GET /rejections`."""
    before = read_id(exchange, "before")
    await house.rejections.write()
    found = await house.inbox.rejections(limit=PAGE + 1, cursor=before)
    last = found[PAGE - 1].id if len(found) > PAGE else None
    return View(
        "rejections",
        {
            "rejections": found[:PAGE],
            "at_top": before is None,
            "older": last and with_query("/rejections", before=last),
            "newer": None,
        },
    )
