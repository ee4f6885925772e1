"""What is known of runs, assets and artifacts, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

#: Prefect's terminal state types, and ours for a run that was deleted before it ended.
TERMINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED", "GONE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRun:
    """A flow run; what is not known is None.

    Parameters
    ----------
    parent_task_run_id, parent_flow_run_id: of a subflow, or of a run that `run_deployment` made.
    auto_scheduled: Prefect's scheduler made it; None until Prefect was asked about the run.
    creator_kind, creator_name: what `created_by` says, such as `AUTOMATION`; anybody can write there.
    state, state_name, message, state_at: its newest state.
    expected: when it was to start.
    settled: Prefect was asked about it after its end.
    """

    id: str
    name: str = ""
    flow_name: str | None = None
    deployment_id: str | None = None
    deployment_name: str | None = None
    tags: tuple[str, ...] = ()
    parent_task_run_id: str | None = None
    parent_flow_run_id: str | None = None
    auto_scheduled: bool | None = None
    creator_kind: str | None = None
    creator_name: str | None = None
    state: str | None = None
    state_name: str | None = None
    message: str | None = None
    state_at: datetime | None = None
    created: datetime | None = None
    expected: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    run_count: int | None = None
    settled: bool = False

    @property
    def is_final(self) -> bool:
        """Return whether it has ended."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class Input:
    """What a task run was given.

    Parameters
    ----------
    kind: `task_run` or `flow_run`, whose result it is; `parent` is the task run that called this one.
    """

    source_id: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """A task run of a flow run."""

    id: str
    flow_run_id: str
    name: str = ""
    state: str | None = None
    state_name: str | None = None
    message: str | None = None
    state_at: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    run_count: int | None = None
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An asset, as it was declared at a moment."""

    key: str
    name: str | None = None
    description: str | None = None
    url: str | None = None
    owners: tuple[str, ...] = ()
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One writing of an asset by a run.

    Parameters
    ----------
    id: id of Prefect's event.
    made_by: the tool that wrote it, where the flow names one.
    details: the metadata that the flow gave.
    reads: keys of the assets that went into it.
    """

    id: str
    asset: Asset
    flow_run_id: str
    task_run_id: str | None
    at: datetime
    succeeded: bool
    made_by: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artifact that a run made."""

    id: str
    key: str | None
    type: str | None
    flow_run_id: str
    task_run_id: str | None
    created: datetime


Observation = FlowRun | TaskRun | Write | Asset | Artifact


def merge_flow_run(known: FlowRun | None, seen: FlowRun) -> FlowRun:
    """Return what is known of a flow run after it was seen (again); news may come in any order. Pure."""
    if known is None:
        return replace(seen, finished=_finish(seen.state, seen.finished, None, seen.state_at))
    newer = _is_newer(known.state, known.state_at, seen.state, seen.state_at)
    last = seen if newer else known
    asked = seen.auto_scheduled is not None
    return FlowRun(
        id=known.id,
        name=(last.name or known.name or seen.name),
        flow_name=seen.flow_name or known.flow_name,
        deployment_id=seen.deployment_id or known.deployment_id,
        deployment_name=seen.deployment_name or known.deployment_name,
        # Events give the tags of flow and deployment as well; the run itself says which are its own.
        tags=seen.tags if asked or (known.auto_scheduled is None and seen.tags) else known.tags,
        parent_task_run_id=seen.parent_task_run_id or known.parent_task_run_id,
        parent_flow_run_id=seen.parent_flow_run_id or known.parent_flow_run_id,
        auto_scheduled=seen.auto_scheduled if asked else known.auto_scheduled,
        creator_kind=seen.creator_kind or known.creator_kind,
        creator_name=seen.creator_name or known.creator_name,
        state=last.state,
        state_name=last.state_name,
        message=last.message,
        state_at=last.state_at,
        created=seen.created or known.created,
        expected=seen.expected or known.expected,
        started=_earliest(known.started, seen.started),
        finished=_finish(last.state, last.finished, known.finished, last.state_at),
        run_count=max((n for n in (known.run_count, seen.run_count) if n is not None), default=None),
        settled=last.is_final and (seen.settled or known.settled),
    )


def merge_task_run(known: TaskRun | None, seen: TaskRun) -> TaskRun:
    """Return what is known of a task run after it was seen (again). Pure."""
    if known is None:
        return replace(seen, finished=_finish(seen.state, seen.finished, None, seen.state_at))
    newer = _is_newer(known.state, known.state_at, seen.state, seen.state_at)
    last = seen if newer else known
    return TaskRun(
        id=known.id,
        flow_run_id=known.flow_run_id,
        name=last.name or known.name or seen.name,
        state=last.state,
        state_name=last.state_name,
        message=last.message,
        state_at=last.state_at,
        started=_earliest(known.started, seen.started),
        finished=_finish(last.state, last.finished, known.finished, last.state_at),
        run_count=max((n for n in (known.run_count, seen.run_count) if n is not None), default=None),
        inputs=tuple(dict.fromkeys((*known.inputs, *seen.inputs))),
    )


def _is_newer(
    state: str | None, at: datetime | None, seen_state: str | None, seen_at: datetime | None
) -> bool:
    if seen_at is None:
        return False
    if at is None or seen_at > at:
        return True
    # Two states of one moment: a run does not go on from its end within a microsecond.
    return seen_at == at and not (state in TERMINAL and seen_state not in TERMINAL)


def _earliest(known: datetime | None, seen: datetime | None) -> datetime | None:
    return min((moment for moment in (known, seen) if moment is not None), default=None)


def _finish(
    state: str | None, finished: datetime | None, known: datetime | None, state_at: datetime | None
) -> datetime | None:
    """Return when a run ended; a run that goes on after its end, retried by hand, has not ended."""
    return (finished or known or state_at) if state in TERMINAL else None
