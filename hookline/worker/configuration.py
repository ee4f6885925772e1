"""What a work pool of type `warm` lets its users set: the job variables and the job they make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.workers.base import BaseJobConfiguration, BaseVariables
from pydantic import Field

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse


class WarmConfiguration(BaseJobConfiguration):
    """One flow run's job: the environment and the folder that it runs in."""

    working_dir: Path | None = Field(default=None)

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: Flow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Add what Prefect's engine reads from its environment, as the process worker does."""
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id=worker_id)
        self.env = {
            **os.environ,
            **self.env,
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }


class WarmVariables(BaseVariables):
    """The job variables of a work pool of type `warm`."""

    working_dir: Path | None = Field(
        default=None,
        title="Working Directory",
        description="The folder that flow runs start in; a temporary one if it is not given.",
    )
