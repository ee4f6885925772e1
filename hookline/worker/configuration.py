"""What a work pool of type `warm` lets its users set: the job variables, and the job made of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect.settings import get_current_settings
from prefect.workers.base import BaseJobConfiguration, BaseVariables
from pydantic import Field

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

_DRAIN_SECONDS = 20.0

_rendered: dict[str, Any] = {}

WhenLost = Literal["crash", "retry"]


class WarmVariables(BaseVariables):
    """The job variables of a work pool of type `warm`."""

    working_dir: Path | None = Field(
        default=None,
        title="Working Directory",
        description="The folder that flow runs start in; a temporary one if it is not given.",
    )
    memory_limit_mb: int | None = Field(
        default=None,
        gt=0,
        title="Memory Limit",
        description="The most memory that the process of a flow run may use, in megabytes (Linux).",
    )
    when_lost: WhenLost = Field(
        default="crash",
        title="When Lost",
        description=(
            "What becomes of a running flow run whose worker stops or dies: it is marked Crashed, "
            "or run again."
        ),
    )
    stream_output: bool = Field(
        default=True,
        title="Stream Output",
        description="Whether what flow runs print also goes to the worker's own output.",
    )
    processes: int | None = Field(
        default=None,
        gt=0,
        title="Processes",
        description=(
            "How many flow runs a worker of this pool runs at once, each in a process of its own. "
            "Twice the number of processors, and at least four, if it is not given."
        ),
    )
    runs_per_process: int = Field(
        default=1,
        gt=0,
        title="Runs per Process",
        description="How many flow runs a process runs, one after another, before it is replaced.",
    )
    drain_seconds: float = Field(
        default=_DRAIN_SECONDS,
        ge=0,
        title="Drain",
        description="For how many seconds a worker that is stopped lets its flow runs go on.",
    )
    modules: list[str] = Field(
        default_factory=list,
        title="Modules",
        description=(
            "Modules to import ahead of need, beside those of the entrypoints of the pool's deployments."
        ),
    )


class WarmConfiguration(BaseJobConfiguration):
    """One flow run's job: the environment, the folder and the limits that it runs with."""

    working_dir: Path | None = Field(default=None)
    memory_limit_mb: int | None = Field(default=None)
    when_lost: WhenLost = Field(default="crash")
    stream_output: bool = Field(default=True)

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
            # The worker, not the engine, ends a cancelled run and calls its hooks.
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        """Return Prefect's settings as an environment; rendering them takes about 20 ms, so once."""
        settings = get_current_settings()
        if _rendered.get("of") is not settings:
            _rendered.update(of=settings, environment=settings.to_environment_variables(exclude_unset=True))
        return dict(_rendered["environment"])

    @property
    def related_objects(self) -> dict[str, Any]:
        """Return the deployment, flow and flow run that the job was made for, by kind."""
        return self._related_objects


@dataclass(frozen=True)
class PoolSettings:
    """The job variables that a worker takes from its pool, once for all runs.

    Parameters
    ----------
    processes: how many flow runs at once, at most.
    runs_per_process: after how many flow runs a process is replaced.
    modules: dotted names of modules to import ahead of need.
    drain_seconds: how long flow runs may go on when the worker is stopped.
    """

    processes: int
    runs_per_process: int
    modules: tuple[str, ...]
    drain_seconds: float

    @classmethod
    def of(cls, pool: WorkPool) -> PoolSettings:
        """Read the defaults of the pool's job variables."""
        properties = pool.base_job_template.get("variables", {}).get("properties", {})
        given = {name: variable.get("default") for name, variable in properties.items()}
        return cls(
            processes=given.get("processes") or max(4, 2 * (os.cpu_count() or 1)),
            runs_per_process=given.get("runs_per_process") or 1,
            modules=tuple(given.get("modules") or ()),
            drain_seconds=_DRAIN_SECONDS
            if given.get("drain_seconds") is None
            else float(given["drain_seconds"]),
        )
