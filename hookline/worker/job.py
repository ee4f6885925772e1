"""The job of a flow run: how it is to be run, and what its process is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import FlowRun

from hookline.worker.configuration import WarmConfiguration
from hookline.worker.frames import Frame

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

    from hookline.worker.warm import WarmWorker


async def configure(worker: WarmWorker, flow_run: FlowRun) -> WarmConfiguration:
    """Make the job of a flow run from its pool's template and its deployment's and its own variables."""
    deployment = await deployment_of(worker, flow_run)
    flow = await worker.known.flow(flow_run.flow_id)
    variables = dict((deployment and deployment.job_variables) or {})
    own = dict(flow_run.job_variables or {})
    if isinstance(variables.get("env"), dict):
        variables["env"] = {**variables["env"], **own.pop("env", {})}
    variables.update(own)
    configuration: WarmConfiguration = await WarmConfiguration.from_template_and_values(
        base_job_template=worker.work_pool.base_job_template, values=variables, client=worker.client
    )
    configuration.prepare_for_flow_run(
        flow_run, deployment, flow, worker.work_pool, worker.name, worker_id=worker.backend_id
    )
    return configuration


async def deployment_of(worker: WarmWorker, flow_run: FlowRun) -> DeploymentResponse | None:
    """Return a run's deployment; raises `ObjectNotFound` when it is gone."""
    if flow_run.deployment_id is None:
        return None
    return await worker.known.deployment(flow_run.deployment_id)


async def job_frame(
    worker: WarmWorker, flow_run: FlowRun, configuration: WarmConfiguration, working_dir: Path
) -> Frame:
    """Return all that a child must know to run a flow run without asking Prefect."""
    related = configuration.related_objects
    http: Any = worker.client._client
    queues = await worker.known.queues()
    queue = queues.get(flow_run.work_queue_id) if flow_run.work_queue_id is not None else None
    storage = await worker.known.default_result_storage()
    deployment: DeploymentResponse | None = related["deployment"]
    return {
        "type": "run",
        "flow_run": flow_run.model_dump(mode="json"),
        "deployment": None if deployment is None else deployment.model_dump(mode="json"),
        "related": {
            **_known_resource("flow", related["flow"]),
            **_known_resource("deployment", deployment),
            **_known_resource("work-queue", queue),
            **_known_resource("work-pool", worker.work_pool, key=worker.work_pool.name),
        },
        "labels": worker.run_labels(),
        "storage": storage,
        "without_csrf": not http.enable_csrf_support,
        "cwd": str(working_dir),
        "env": configuration.env,
        "memory_limit_mb": configuration.memory_limit_mb,
        "stream_output": configuration.stream_output,
    }


def _known_resource(kind: str, thing: Any, key: str | None = None) -> dict[str, Frame]:
    if thing is None:
        return {}
    facts = {"id": str(thing.id), "name": thing.name, "tags": list(getattr(thing, "tags", None) or ())}
    return {f"{kind}.{key or thing.id}": facts}
