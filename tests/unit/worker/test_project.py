"""Which folder and which modules a zygote holds, from the pool's deployments."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse

from hookline.worker import WarmWorker
from hookline.worker.configuration import PoolSettings
from hookline.worker.nursery import Project
from hookline.worker.project import choose_project, module_of


def deployment(entrypoint: str, folder: Path | None = None, **more: Any) -> DeploymentResponse:
    steps = (
        [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}] if folder else None
    )
    return DeploymentResponse(
        id=uuid4(), name="d", flow_id=uuid4(), entrypoint=entrypoint, **{"pull_steps": steps, **more}
    )


@pytest.mark.parametrize(
    ("entrypoint", "module"),
    [
        ("flows.repository.record_push", "flows.repository"),
        ("flows/repository.py:record_push", "flows.repository"),
        ("flows/my-flow.py:run", None),
        ("/srv/flows/x.py:run", None),
        ("run", None),
    ],
)
def test_the_module_of_an_entrypoint(entrypoint: str, module: str | None) -> None:
    assert module_of(entrypoint) == module


def test_the_folder_of_most_deployments_is_held_with_its_modules(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    deployments = [
        deployment("flows.b.run", ours),
        deployment("flows/a.py:run", ours),
        deployment("flows.c.run", other),
        deployment("installed.flows.run"),
    ]
    assert choose_project(deployments, None, ("pandas",)) == Project(
        str(ours), ("pandas", "flows.a", "flows.b", "installed.flows")
    )


def test_code_that_is_fetched_for_each_run_is_not_held(tmp_path: Path) -> None:
    clone = [{"prefect.deployments.steps.git_clone": {"repository": "https://example.com/x.git"}}]
    deployments = [
        deployment("flows/a.py:run", pull_steps=clone),
        deployment("flows/b.py:run", path=str(tmp_path)),
    ]
    assert choose_project(deployments, None, ()) == Project(None, ())


def test_the_working_directory_of_the_pool_counts(tmp_path: Path) -> None:
    assert choose_project([deployment("flows.a.run")], str(tmp_path), ()) == Project(
        str(tmp_path), ("flows.a",)
    )


def test_a_pool_without_settings_of_its_own_has_the_defaults() -> None:
    pool = WorkPool(name="p", type="warm", base_job_template=WarmWorker.get_default_base_job_template())
    settings = PoolSettings.of(pool)
    assert (settings.runs_per_process, settings.modules, settings.drain_seconds) == (1, (), 20)
    assert settings.processes >= 4
    assert PoolSettings.of(WorkPool(name="p", type="warm", base_job_template={})) == settings
