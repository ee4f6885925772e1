"""`hookline gateway` and `hookline worker`: the processes that `up` starts, each by itself."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

from cyclopts import Parameter

from hookline.gateway import run
from hookline.prefect_api import require_address
from hookline.settings import load_settings
from hookline.worker import run_worker


def gateway() -> None:
    """Run the gateway: the HTTP front door and the dispatcher.

    It needs the address of a Prefect server, which may be down at the moment. SIGTERM or Ctrl-C stops it.

    Example: PREFECT_API_URL=http://127.0.0.1:4200/api hookline gateway
    """
    settings = load_settings()
    require_address()
    run(settings)


def worker(
    *,
    pool: Annotated[str, Parameter(help="The work pool whose runs it takes.")] = "warm",
    limit: Annotated[int | None, Parameter(help="How many runs at once, at most.")] = None,
    name: Annotated[str | None, Parameter(help="The worker's name in Prefect.")] = None,
    create_pool: Annotated[bool, Parameter(help="Make the pool if there is none, or wait for it.")] = True,
) -> None:
    """Run a warm worker.

    SIGTERM or Ctrl-C stops it; runs that are under way may finish first.

    Example: PREFECT_API_URL=http://127.0.0.1:4200/api hookline worker --pool warm --limit 4
    """
    require_address()
    asyncio.run(_work(pool, limit, name, create_pool=create_pool))


async def _work(pool: str, limit: int | None, name: str | None, *, create_pool: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_worker(pool, limit=limit, name=name, create_pool=create_pool, stop=stop)
