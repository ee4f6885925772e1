"""Waiting for a Prefect server that is away while a worker starts."""

from __future__ import annotations

import asyncio
import logging

from prefect.client.orchestration import get_client

logger = logging.getLogger("prefect.hookline.worker")

#: How often the server is asked whether it is there.
ASK_SECONDS = 0.5


async def await_server() -> None:
    """Return once the Prefect server answers.

    Prefect's worker asks again only with its next heartbeat, half a minute later: after a restart of server
    and worker together all runs would wait for that long.
    """
    async with get_client() as client:
        is_away = False
        while (why := await client.api_healthcheck()) is not None:
            if not is_away:
                is_away = True
                logger.warning("Prefect does not answer (%s); waiting for it.", type(why).__name__)
            await asyncio.sleep(ASK_SECONDS)
