"""The steps of `hookline deploy`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from hookline.checking import check_files
from hookline.cli.services import POOL
from hookline.deploying import Agree, DeployReport, deploy
from hookline.errors import DeployError
from hookline.inbox import Inbox
from hookline.inbox.deploy_lock import deploy_lock
from hookline.settings import Settings


async def deploy_project(
    settings: Settings,
    file: Path,
    names: Sequence[str],
    *,
    wait: timedelta,
    create_pool: bool,
    agree: Agree,
    tell: Callable[[str], None],
) -> DeployReport:
    """Check the project, wait for the server, and deploy; one deploy at a time, and the file is read in it.

    Parameters
    ----------
    file: the `prefect.yaml`.
    names: deployments to deploy; without any, all of the file.
    wait: how long to wait for the Prefect server.
    create_pool: make the warm work pool if there is none.
    agree: asked before triggers that are in force are taken away.
    tell: called with one line at each step.

    Raises
    ------
    PrefectUnavailable: the server does not answer.
    DeployError: see `hookline.deploying.deploy`; also what `hookline check` finds.
    """

    def waiting() -> None:
        tell("Waiting for another deploy to end")

    async with deploy_lock(settings.database_url, waiting):
        if errors := [
            fault for fault in check_files(file, settings.sources, os.environ) if not fault.warning
        ]:
            raise DeployError(*errors)
        async with Inbox.open(settings.database_url) as inbox:
            return await deploy(
                file,
                inbox,
                only=names or None,
                wait=wait,
                create_pool=POOL if create_pool else None,
                agree=agree,
                progress=tell,
            )
