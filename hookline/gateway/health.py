"""`/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio

from hookline.errors import InboxError
from hookline.event import rfc3339
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.replies import json_reply
from hookline.sources import Reply

#: Without what is wrong: whoever asks needs no key.
_STALE_SOURCES = "the file is invalid and the previous sources stay in force; see GET /sources"
#: A Prefect server that takes longer is away, for whoever asks whether the gateway is ready: probes wait for
#: a second in all, and the answer does not depend on it.
PREFECT_SECONDS = 0.5


async def healthz(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /healthz`: the process lives."""
    return json_reply({"status": "ok", "instance": house.instance})


async def readyz(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /readyz`: 200 where events can be accepted, with Prefect up or not; else 503.

    It is found out by writing, so a full disk is seen before the first event is refused.
    """
    (inbox, triggers), prefect = await asyncio.gather(_inbox(house), _prefect(house))
    return json_reply(
        {
            "status": "ready" if inbox == "ok" else "not ready",
            "inbox": inbox,
            "prefect": prefect,
            "triggers": triggers,
            "sources": "ok" if house.registry.fault is None else _STALE_SOURCES,
        },
        200 if inbox == "ok" else 503,
    )


async def _inbox(house: House) -> tuple[str, str | None]:
    """Return whether the inbox can be read and written, and which triggers are in force."""
    try:
        version, _ = await house.inbox.trigger_set()
        triggers = f"version {version}" if version else "none deployed yet; events are accepted and wait"
        await house.inbox.readiness.check()
    except InboxError as failed:
        return str(failed), None
    return "ok", triggers


async def _prefect(house: House) -> str:
    try:
        async with asyncio.timeout(PREFECT_SECONDS):
            healthy = await house.prefect.is_healthy()
    except TimeoutError:
        healthy = False
    if healthy:
        return "ok"
    since = house.prefect.away_since
    away = "away" if since is None else f"away since {rfc3339(since)}"
    return f"{away}; events are accepted and wait"
