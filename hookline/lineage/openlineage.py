"""A flow run as OpenLineage events: one START and one at its end (COMPLETE, FAIL or ABORT). Pure.

OpenLineage 2-0-2; each facet names the version of its own schema that it keeps to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any

from hookline.event import now, rfc3339
from hookline.lineage.causes import RunCause
from hookline.lineage.records import FlowRun

SPEC = "https://openlineage.io/spec"
#: Event types of terminal states; whatever else a run ends in was an abort.
_ENDS = {"COMPLETED": "COMPLETE", "FAILED": "FAIL", "CRASHED": "FAIL"}
#: Metadata of a write that says how many rows or bytes it was.
_ROWS = ("rows", "row_count", "rowCount")
_BYTES = ("bytes", "size_bytes", "size")
#: Events that are named of a run into which many were merged.
EVENTS_NAMED = 10


@dataclass(frozen=True, slots=True)
class CausingEvent:
    """An event that started a run."""

    id: str
    type: str
    source: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """An asset that a run read or wrote.

    Parameters
    ----------
    details: the metadata that the flow gave to what it wrote.
    """

    key: str
    name: str | None = None
    description: str | None = None
    owners: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All that is told of a run.

    Parameters
    ----------
    parent: the run that called it, or that sent the event that started it.
    root: where that chain of runs began.
    """

    run: FlowRun
    cause: RunCause
    events: Sequence[CausingEvent] = ()
    parent: FlowRun | None = None
    root: FlowRun | None = None
    inputs: Sequence[Dataset] = ()
    outputs: Sequence[Dataset] = ()


def run_event(step: str, facts: RunFacts, namespace: str) -> dict[str, Any]:
    """Return the OpenLineage event of a run's start or end.

    Parameters
    ----------
    step: `start` or `end`.
    namespace: that of all jobs of this system.
    """
    run = facts.run
    ended = step == "end"
    document: dict[str, Any] = {
        "eventType": _ENDS.get(run.state or "", "ABORT") if ended else "START",
        "eventTime": rfc3339(_end(run) if ended else run.started or _end(run)),
        "producer": producer(),
        "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run.id, "facets": _run_facets(facts, namespace, ended=ended)},
        "job": {**_job(run, namespace), "facets": {"jobType": _job_type()}},
        "inputs": [_dataset(dataset) for dataset in facts.inputs],
        "outputs": [_output(dataset) for dataset in facts.outputs],
    }
    return document


def producer() -> str:
    """Return the URI of what makes these events."""
    return f"urn:hookline:{version('hookline')}"


def dataset_name(key: str) -> tuple[str, str]:
    """Return an asset's namespace and name: where its system is, and what it is called there."""
    scheme, separator, rest = key.partition("://")
    if not separator:
        return "prefect", key
    authority, _, path = rest.partition("/")
    if not authority:
        return scheme, f"/{path}"
    return (f"{scheme}://{authority}", path) if path else (scheme, authority)


def _end(run: FlowRun) -> datetime:
    return run.finished or run.state_at or run.created or now()


def _job(run: FlowRun, namespace: str) -> dict[str, Any]:
    flow = run.flow_name or run.name or "unknown"
    name = f"{flow}/{run.deployment_name}" if run.deployment_name else flow
    return {"namespace": namespace, "name": name}


def _job_type() -> dict[str, Any]:
    kind = {"processingType": "BATCH", "integration": "PREFECT", "jobType": "FLOW"}
    return _facet("2-0-4", "JobTypeJobFacet", kind)


def _run_facets(facts: RunFacts, namespace: str, *, ended: bool) -> dict[str, Any]:
    run = facts.run
    facets = {
        "processing_engine": _facet(
            "1-1-1",
            "ProcessingEngineRunFacet",
            {
                "version": version("prefect"),
                "name": "Prefect",
                "openlineageAdapterVersion": version("hookline"),
            },
        ),
        "tags": _facet("1-0-0", "TagsRunFacet", {"tags": _tags(facts)}),
    }
    if run.expected is not None:
        nominal = {"nominalStartTime": rfc3339(run.expected)}
        facets["nominalTime"] = _facet("1-0-1", "NominalTimeRunFacet", nominal)
    if facts.parent is not None:
        root = facts.root or facts.parent
        facets["parent"] = _facet(
            "1-2-0",
            "ParentRunFacet",
            {
                "run": {"runId": facts.parent.id},
                "job": _job(facts.parent, namespace),
                "root": {"run": {"runId": root.id}, "job": _job(root, namespace)},
            },
        )
    if ended and run.state != "COMPLETED":
        error = {"message": run.message or run.state_name or str(run.state), "programmingLanguage": "PYTHON"}
        facets["errorMessage"] = _facet("1-0-1", "ErrorMessageRunFacet", error)
    return facets


def _tags(facts: RunFacts) -> list[dict[str, str]]:
    tags = [("hookline.cause", facts.cause.kind)]
    if facts.cause.claimed:
        tags.append(("hookline.cause_claimed", "true"))
    for event in facts.events[:EVENTS_NAMED]:
        tags += [
            ("hookline.event", event.id),
            ("hookline.event_type", event.type),
            ("hookline.event_source", event.source),
        ]
    return [{"key": key, "value": value, "source": "HOOKLINE"} for key, value in tags]


def _dataset(dataset: Dataset) -> dict[str, Any]:
    namespace, name = dataset_name(dataset.key)
    facets = {}
    if dataset.description or dataset.name:
        text = {"description": dataset.description or dataset.name}
        facets["documentation"] = _facet("1-0-1", "DocumentationDatasetFacet", text)
    if dataset.owners:
        owners = {"owners": [{"name": owner} for owner in dataset.owners]}
        facets["ownership"] = _facet("1-0-1", "OwnershipDatasetFacet", owners)
    return {"namespace": namespace, "name": name, "facets": facets}


def _output(dataset: Dataset) -> dict[str, Any]:
    document = _dataset(dataset)
    statistics = {
        name: number
        for name, keys in (("rowCount", _ROWS), ("size", _BYTES))
        if (number := _number(dataset.details, keys)) is not None
    }
    if "rowCount" in statistics:
        facet = _facet("1-0-2", "OutputStatisticsOutputDatasetFacet", statistics)
        document["outputFacets"] = {"outputStatistics": facet}
    return document


def _number(details: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    found = (details.get(key) for key in keys)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n >= 0), None)


def _facet(number: str, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "_producer": producer(),
        "_schemaURL": f"{SPEC}/facets/{number}/{name}.json#/$defs/{name}",
        **values,
    }
