"""The steps of `hookline deploy`. Importing this module imports Prefect, which reads its settings then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from hookline.checking import check_files
from hookline.cli.services import POOL
from hookline.deploying import DeployReport, carry_out, plan_deploy
from hookline.errors import DeployError, PrefectUnavailable
from hookline.inbox import Inbox
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings

POLL_SECONDS = 0.1


async def deploy_project(
    settings: Settings,
    file: Path,
    names: Sequence[str],
    *,
    wait: timedelta,
    create_pool: bool,
    tell: Callable[[str], None],
) -> DeployReport:
    """Check the project, wait for the server, and deploy.

    Parameters
    ----------
    file: the `prefect.yaml`.
    names: deployments to deploy; without any, all of the file.
    wait: how long to wait for the Prefect server.
    create_pool: make the warm work pool if there is none.
    tell: called with one line at each step.

    Raises
    ------
    PrefectUnavailable: the server does not answer.
    DeployError: see `hookline.deploying.deploy`.
    """
    if errors := [fault for fault in check_files(file, settings.sources, os.environ) if not fault.warning]:
        raise DeployError(*errors)
    plan = await plan_deploy(file, only=names or None, progress=tell)
    async with PrefectApi.open() as prefect:
        await _until_healthy(prefect, wait)
        if create_pool and await prefect.create_pool(POOL, POOL):
            tell(f"Made the work pool {POOL}")
        async with Inbox.open(settings.database_url) as inbox:
            return await carry_out(plan, inbox, prefect, progress=tell)


async def _until_healthy(prefect: PrefectApi, wait: timedelta) -> None:
    deadline = asyncio.get_running_loop().time() + wait.total_seconds()
    while not await prefect.is_healthy():
        if asyncio.get_running_loop().time() >= deadline:
            raise PrefectUnavailable(
                "The Prefect server does not answer. Start it, or set PREFECT_API_URL to its address."
            )
        await asyncio.sleep(POLL_SECONDS)
