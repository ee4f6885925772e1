"""`/sources`: which sources there are, and whether their doors are open."""

from __future__ import annotations

from hookline.event import now
from hookline.gateway import access
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.replies import json_reply
from hookline.sources import Reply, standing


async def list_sources(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /sources`: each with what it lacks, as this gateway knows it."""
    exchange.caller(house).require(access.Scope.READ)
    at = now()
    return json_reply({"sources": [standing(source, at) for source in house.sources.values()]})
