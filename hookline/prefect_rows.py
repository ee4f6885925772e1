"""What Prefect has, as frozen values, and how they are read from its API's rows and events. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from hookline.event import now, rfc3339
from hookline.feed import PrefectEvent
from hookline.sealed import holds_sealed

#: What every run of ours has among its tags, as Prefect's events name it.
_OUR_TAG = "prefect.tag.event:"


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """A deployment as Prefect has it.

    Parameters
    ----------
    parameter_schema: the JSON Schema of the flow's parameters.
    parameters: the deployment's defaults.
    enforces_schema: runs whose parameters do not fit the schema are refused.
    """

    id: str
    name: str
    flow_name: str
    work_pool: str | None
    paused: bool
    parameter_schema: Mapping[str, Any]
    parameters: Mapping[str, Any]
    tags: tuple[str, ...]
    enforces_schema: bool = False

    @property
    def lane(self) -> str:
        """Return `flow/deployment`."""
        return f"{self.flow_name}/{self.name}"


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A work pool as Prefect has it.

    Parameters
    ----------
    limit: its concurrency limit, or None.
    status: `READY`, `NOT_READY` or `PAUSED`.
    """

    name: str
    type: str
    limit: int | None
    paused: bool
    status: str


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A flow run as Prefect has it; times are None until they have happened."""

    id: str
    name: str
    deployment_id: str | None
    state: str
    created: datetime
    state_at: datetime
    started: datetime | None
    finished: datetime | None
    idempotency_key: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tagged:
    """Which tagged runs are asked for: those that other runs called left out, as they inherit tags.

    Parameters
    ----------
    tags: a run has one of them; None is any tag.
    since, until: bounds of the time at which it was to start.
    """

    tags: Sequence[str] | None
    since: datetime
    until: datetime

    def to_filter(self) -> dict[str, Any]:
        """Return it as Prefect's API takes it."""
        return {
            "tags": {"is_null_": False} if self.tags is None else {"any_": list(self.tags)},
            "parent_task_run_id": {"is_null_": True},
            "expected_start_time": {"after_": rfc3339(self.since), "before_": rfc3339(self.until)},
        }


@dataclass(frozen=True, slots=True)
class NewRun:
    """A flow run to be created.

    Parameters
    ----------
    deployment_id: which deployment runs.
    idempotency_key: a second creation with the same key gives the first one's run.
    parameters: what Prefect interprets in them is what people wrote; the rest is sealed.
    scheduled: when it is to start; None is now.
    """

    deployment_id: str
    idempotency_key: str
    name: str
    tags: Sequence[str]
    parameters: Mapping[str, Any]
    job_variables: Mapping[str, Any] | None = None
    scheduled: datetime | None = None
    labels: Mapping[str, str] | None = None

    def to_json(self) -> bytes:
        """Return the body of the request that creates it."""
        parameters = orjson.dumps(self.parameters)
        body: dict[str, Any] = {
            "parameters": orjson.Fragment(parameters),
            "name": self.name,
            "tags": list(self.tags),
            "idempotency_key": self.idempotency_key,
            "state": {
                "type": "SCHEDULED",
                "state_details": {}
                if self.scheduled is None
                else {"scheduled_time": rfc3339(self.scheduled)},
            },
        }
        if holds_sealed(parameters):
            # What is sealed does not fit the flow's schema; what is in it was checked (`parameter_schema`).
            body["enforce_parameter_schema"] = False
        if self.job_variables:
            body["job_variables"] = self.job_variables
        if self.labels:
            body["labels"] = self.labels
        return orjson.dumps(body)


@dataclass(frozen=True, slots=True)
class RunNotice:
    """News of a flow run from Prefect's event stream.

    Parameters
    ----------
    state: the run's state type; of a task's run, `RUNNING`.
    task_run_id: the task run that it is about, if not the flow run itself.
    is_ours: the run carries the tags of one that we made.
    """

    flow_run_id: str
    state: str
    at: datetime
    task_run_id: str | None = None
    deployment_id: str | None = None
    is_ours: bool = True


def parameters_bytes(parameters: Mapping[str, Any]) -> int:
    """Return the size of parameters as Prefect measures it: all but ASCII is written as escapes."""
    return len(json.dumps(parameters, separators=(",", ":")))


def read_deployment(row: Mapping[str, Any], flow_name: str) -> DeploymentInfo:
    """Read a deployment."""
    return DeploymentInfo(
        id=row["id"],
        name=row["name"],
        flow_name=flow_name,
        work_pool=row.get("work_pool_name"),
        paused=bool(row.get("paused")),
        parameter_schema=row.get("parameter_openapi_schema") or {},
        parameters=row.get("parameters") or {},
        tags=tuple(row.get("tags") or ()),
        enforces_schema=bool(row.get("enforce_parameter_schema")),
    )


def read_pool(row: Mapping[str, Any]) -> PoolInfo:
    """Read a work pool."""
    limit = row.get("concurrency_limit")
    return PoolInfo(
        name=row["name"],
        type=row.get("type") or "",
        limit=None if limit is None else int(limit),
        paused=bool(row.get("is_paused")),
        status=row.get("status") or "",
    )


def read_run(row: Mapping[str, Any]) -> RunInfo:
    """Read a flow run."""
    state = row.get("state") or {}
    created = read_moment(row["created"]) or now()
    return RunInfo(
        id=row["id"],
        name=row["name"],
        deployment_id=row.get("deployment_id"),
        state=row.get("state_type") or state.get("type") or "SCHEDULED",
        created=created,
        state_at=read_moment(state.get("timestamp")) or created,
        started=read_moment(row.get("start_time")),
        finished=read_moment(row.get("end_time")),
        idempotency_key=row.get("idempotency_key"),
        tags=tuple(row.get("tags") or ()),
    )


def read_moment(text: str | None) -> datetime | None:
    """Read a time, or None."""
    return None if text is None else datetime.fromisoformat(text)


def read_notice(event: PrefectEvent) -> RunNotice | None:
    """Return what an event says of a flow run; None where it says nothing that is followed."""
    kind, _, resource_id = event.resource_id.removeprefix("prefect.").partition(".")
    if kind not in ("flow-run", "task-run"):
        return None
    is_ours = any(tag.startswith(_OUR_TAG) for tag in event.related_ids("tag"))
    state = event.payload.get("validated_state") or {}
    state_type = state.get("type") if isinstance(state, dict) else None
    if kind == "flow-run" and state_type:
        deployment = _related(event, "deployment")
        return RunNotice(resource_id, state_type, event.occurred, deployment_id=deployment, is_ours=is_ours)
    if event.name == "prefect.task-run.Running" and (flow_run := _related(event, "flow-run")):
        return RunNotice(flow_run, "RUNNING", event.occurred, task_run_id=resource_id, is_ours=is_ours)
    return None


def _related(event: PrefectEvent, role: str) -> str | None:
    ids = event.related_ids(role)
    return ids[0].rpartition(".")[2] if ids else None
