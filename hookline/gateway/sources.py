"""`/sources`: which sources are in force, whether they are ready, and reading their file again."""

from __future__ import annotations

from hookline.errors import Refusal, SourcesError
from hookline.event import now, rfc3339
from hookline.gateway import access
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.replies import json_reply
from hookline.sources import Reply, standing


async def list_sources(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /sources`: each with what it lacks, as this gateway knows it."""
    exchange.caller(house).require(access.Scope.READ)
    registry, at = house.registry, now()
    return json_reply(
        {
            "file": str(registry.path) if registry.path else None,
            "since": rfc3339(registry.since),
            "error": registry.fault,
            "development": sorted(registry.made_up),
            "sources": [standing(source, at) for source in registry.sources.values()],
        }
    )


async def reload_sources(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /sources/reload`: 409 where the file cannot be used."""
    exchange.caller(house).require(access.Scope.ADMIN)
    try:
        change = await house.registry.reload()
    except SourcesError as wrong:
        raise Refusal(409, "unusable-sources", f"The previous sources stay in force: {wrong}") from None
    return json_reply(
        {
            "added": change.added,
            "removed": change.removed,
            "changed": change.changed,
            "sources": list(house.sources),
        }
    )
