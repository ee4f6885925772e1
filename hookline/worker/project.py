"""Finds out what a pool's deployments need in memory: the folder of the project and its flow modules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort

from hookline.worker.configuration import PoolSettings
from hookline.worker.loading import importable_name
from hookline.worker.nursery import Project

_PAGE = 200
_SET_WORKING_DIRECTORY = "prefect.deployments.steps.set_working_directory"
_SET_WORKING_DIRECTORY_TOO = "prefect.deployments.steps.pull.set_working_directory"


async def project_of(client: PrefectClient, pool: WorkPool) -> Project:
    """Return what the pool's deployments want imported, for the folder that most of them use."""
    deployments: list[DeploymentResponse] = []
    wanted = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool.name]))
    while True:
        page = await client.read_deployments(
            work_pool_filter=wanted, limit=_PAGE, offset=len(deployments), sort=DeploymentSort.NAME_ASC
        )
        deployments += page
        if len(page) < _PAGE:
            break
    given = pool.base_job_template.get("variables", {}).get("properties", {})
    folder = given.get("working_dir", {}).get("default")
    return choose_project(deployments, folder, PoolSettings.of(pool).modules)


def choose_project(
    deployments: list[DeploymentResponse], working_dir: str | None, modules: tuple[str, ...]
) -> Project:
    """Choose the folder and the modules.

    Parameters
    ----------
    deployments: those of the pool.
    working_dir: the pool's own, if it has one.
    modules: what the pool wants imported beside.
    """
    found: list[tuple[str | None, str]] = []
    for deployment in deployments:
        module = module_of(deployment.entrypoint or "")
        if module is not None and _is_local(deployment):
            found.append((_folder_of(deployment, working_dir), module))
    folders = Counter(folder for folder, _ in found if folder is not None)
    folder = folders.most_common(1)[0][0] if folders else working_dir
    ours = {module for where, module in found if where in (folder, None)}
    return Project(folder, (*modules, *sorted(ours - set(modules))))


def module_of(entrypoint: str) -> str | None:
    """Return the dotted module of an entrypoint, `flows.x.fn` or `flows/x.py:fn`, if it has one."""
    if ":" in entrypoint:
        return importable_name(entrypoint.rsplit(":", 1)[0])
    return entrypoint.rpartition(".")[0] or None


def _is_local(deployment: DeploymentResponse) -> bool:
    """Return whether the code is where it is, and not fetched anew for each run."""
    steps = deployment.pull_steps or []
    if not steps and ":" in (deployment.entrypoint or ""):
        return False  # Prefect copies its folder for each run
    return all(step.keys() <= {_SET_WORKING_DIRECTORY, _SET_WORKING_DIRECTORY_TOO} for step in steps)


def _folder_of(deployment: DeploymentResponse, working_dir: str | None) -> str | None:
    folder: Any = (deployment.job_variables or {}).get("working_dir", working_dir)
    for step in deployment.pull_steps or []:
        for inputs in step.values():
            folder = inputs.get("directory", folder)
    if isinstance(folder, str) and Path(folder).is_absolute() and Path(folder).is_dir():
        return str(Path(folder))
    return None
