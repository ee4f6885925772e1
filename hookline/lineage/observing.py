"""Reading Prefect's events and rows: what they say about runs, assets and artifacts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from hookline.feed import PrefectEvent
from hookline.lineage.records import Artifact, Asset, FlowRun, Input, Observation, TaskRun, Write

#: What is kept of a state's message and of an asset's description.
MESSAGE_CHARACTERS = 2_000
#: Metadata of a write that is larger as JSON is not kept; what was left out is said in its place.
DETAILS_BYTES = 16_384
#: Inputs that are kept of one task run.
INPUTS = 1_000
#: Artifacts of this key are our own links back to the trace.
OWN_ARTIFACT = "hookline-"

_WRITTEN = "prefect.asset.materialization."


def observe(event: PrefectEvent) -> Observation | None:
    """Return what one of Prefect's own events says, or None where it says nothing that is kept."""
    name = event.name
    if name.startswith("prefect.flow-run."):
        return _flow_run(event)
    if name.startswith("prefect.task-run."):
        return _task_run(event)
    if name.startswith(_WRITTEN):
        return _write(event)
    if name == "prefect.asset.referenced":
        return _asset(event)
    if name == "prefect.artifact.created":
        return _artifact(event)
    return None


def is_foreign(event: PrefectEvent) -> bool:
    """Return whether somebody else emitted the event: neither Prefect nor our mirror."""
    return not event.name.startswith(("prefect.", "prefect-cloud.", "hookline."))


def run_of(event: PrefectEvent) -> tuple[str | None, str | None]:
    """Return the ids of the flow run and task run in which an event was emitted."""
    return _id(event, "flow-run"), _id(event, "task-run")


def _flow_run(event: PrefectEvent) -> FlowRun | None:
    state = _state(event)
    if state is None:
        return None
    flow, deployment = event.related_in("flow"), event.related_in("deployment")
    creator = event.related_in("creator")
    kind = "" if creator is None else creator["prefect.resource.id"].split(".")[1].upper()
    return FlowRun(
        id=_last(event.resource_id),
        name=event.resource.get("prefect.resource.name") or "",
        flow_name=None if flow is None else flow.get("prefect.resource.name"),
        deployment_id=_id(event, "deployment"),
        deployment_name=None if deployment is None else deployment.get("prefect.resource.name"),
        tags=tuple(tag.removeprefix("prefect.tag.") for tag in event.related_ids("tag")),
        parent_task_run_id=_id(event, "task-run"),
        creator_kind=kind or None,
        creator_name=None if creator is None else creator.get("prefect.resource.name"),
        state=state["type"],
        state_name=state.get("name"),
        message=_shortened(state.get("message")),
        state_at=event.occurred,
        started=event.occurred if state["type"] == "RUNNING" else None,
        run_count=_number(event.resource.get("prefect.run-count")),
    )


def _task_run(event: PrefectEvent) -> TaskRun | None:
    state, flow_run_id = _state(event), _id(event, "flow-run")
    if state is None or flow_run_id is None:
        return None
    task_run = event.payload.get("task_run")
    row = task_run if isinstance(task_run, dict) else {}
    return TaskRun(
        id=_last(event.resource_id),
        flow_run_id=flow_run_id,
        name=event.resource.get("prefect.resource.name") or row.get("name") or "",
        state=state["type"],
        state_name=state.get("name"),
        message=_shortened(state.get("message")),
        state_at=event.occurred,
        started=_moment(row.get("start_time")) or (event.occurred if state["type"] == "RUNNING" else None),
        run_count=_number(row.get("run_count")),
        inputs=_inputs(row.get("task_inputs")),
    )


def _write(event: PrefectEvent) -> Write | None:
    flow_run_id, task_run_id = run_of(event)
    if flow_run_id is None:
        return None
    return Write(
        id=event.id,
        asset=_asset(event),
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
        at=event.occurred,
        succeeded=event.name == f"{_WRITTEN}succeeded",
        made_by=next(iter(event.related_ids("asset-materialized-by")), None),
        details=_details(event.payload),
        reads=tuple(event.related_ids("asset")),
    )


def _asset(event: PrefectEvent) -> Asset:
    labels = event.resource
    return Asset(
        key=event.resource_id,
        name=labels.get("prefect.resource.name"),
        description=_shortened(labels.get("prefect.asset.description")),
        url=labels.get("prefect.asset.url"),
        owners=_owners(labels.get("prefect.asset.owners")),
        at=event.occurred,
    )


def _artifact(event: PrefectEvent) -> Artifact | None:
    flow_run_id, task_run_id = run_of(event)
    key = event.payload.get("key")
    if flow_run_id is None or str(key).startswith(OWN_ARTIFACT):
        return None
    return Artifact(
        id=_last(event.resource_id),
        key=key,
        type=event.payload.get("type"),
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
        created=event.occurred,
    )


# Rows of Prefect's API -------------------------------------------------------------------------------


def flow_run_row(
    row: Mapping[str, Any], flow_name: str | None = None, deployment_name: str | None = None
) -> FlowRun:
    """Return a flow run as Prefect's API gives it."""
    state = row.get("state") or {}
    creator = row.get("created_by") or {}
    kind = row.get("state_type") or state.get("type") or "SCHEDULED"
    return FlowRun(
        id=row["id"],
        name=row.get("name") or "",
        flow_name=flow_name,
        deployment_id=row.get("deployment_id"),
        deployment_name=deployment_name,
        tags=tuple(row.get("tags") or ()),
        parent_task_run_id=row.get("parent_task_run_id"),
        auto_scheduled=bool(row.get("auto_scheduled")),
        creator_kind=creator.get("type"),
        creator_name=creator.get("display_value"),
        state=kind,
        state_name=row.get("state_name") or state.get("name"),
        message=_shortened(state.get("message")),
        state_at=_moment(state.get("timestamp")),
        created=_moment(row.get("created")),
        expected=_moment(row.get("expected_start_time")),
        # Prefect gives a run that crashed before it ran its end as its start.
        started=_moment(row.get("start_time")) if row.get("run_count") else None,
        finished=_moment(row.get("end_time")),
        run_count=row.get("run_count"),
    )


def task_run_row(row: Mapping[str, Any]) -> TaskRun | None:
    """Return a task run as Prefect's API gives it; None for one outside of a flow run."""
    if not row.get("flow_run_id"):
        return None
    state = row.get("state") or {}
    return TaskRun(
        id=row["id"],
        flow_run_id=row["flow_run_id"],
        name=row.get("name") or "",
        state=row.get("state_type") or state.get("type"),
        state_name=row.get("state_name") or state.get("name"),
        message=_shortened(state.get("message")),
        state_at=_moment(state.get("timestamp")),
        started=_moment(row.get("start_time")),
        finished=_moment(row.get("end_time")),
        run_count=row.get("run_count"),
        inputs=_inputs(row.get("task_inputs")),
    )


# -----------------------------------------------------------------------------------------------------


def _state(event: PrefectEvent) -> Mapping[str, Any] | None:
    state = event.payload.get("validated_state")
    return state if isinstance(state, dict) and state.get("type") else None


def _inputs(given: object) -> tuple[Input, ...]:
    """Return what a task run was given, from `task_inputs`: a list of sources for each parameter."""
    found: dict[str, Input] = {}
    for name, sources in given.items() if isinstance(given, dict) else ():
        for source in sources if isinstance(sources, Sequence) else ():
            kind, source_id = source.get("input_type"), source.get("id")
            if source_id is None or kind not in ("task_run", "flow_run") or len(found) >= INPUTS:
                continue
            kept = "parent" if name == "__parents__" else kind
            # A task that gets the result of the task around it still has it as its parent only.
            if source_id not in found or kept == "parent":
                found[source_id] = Input(source_id, kept)
    return tuple(found.values())


def _details(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    size = len(orjson.dumps(dict(payload)))
    return payload if size <= DETAILS_BYTES else {"left_out": f"{size} bytes of metadata"}


def _owners(text: str | None) -> tuple[str, ...]:
    try:
        owners = orjson.loads(text or "[]")
    except orjson.JSONDecodeError:
        return ()
    return tuple(str(owner) for owner in owners) if isinstance(owners, list) else ()


def _id(event: PrefectEvent, role: str) -> str | None:
    return next((_last(resource_id) for resource_id in event.related_ids(role)), None)


def _last(resource_id: str) -> str:
    return resource_id.rpartition(".")[2]


def _shortened(text: str | None) -> str | None:
    return text[:MESSAGE_CHARACTERS] if text else None


def _number(text: object) -> int | None:
    return int(text) if isinstance(text, int) or (isinstance(text, str) and text.isdigit()) else None


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
