"""Whether a trigger that stays with Prefect would be fired by the very runs that it starts. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hookline.triggers.shape import RESOURCE_ID, includes
from hookline.triggers.stock import kind_of
from hookline.triggers.trigger import Labels

#: The key by which a trigger says that it is meant to.
KEY = "may_start_itself"

#: What nobody knows before the run is there: ids, and names that are made up. No literal meets it.
_UNKNOWN = "\N{WHITE QUESTION MARK ORNAMENT}"
_STATES = {
    "SCHEDULED": ("Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Resuming"),
    "PENDING": ("Pending", "NotReady", "Submitting", "InfrastructurePending"),
    "RUNNING": ("Running", "Retrying"),
    "COMPLETED": ("Completed", "Cached", "RolledBack", "Skipped"),
    "FAILED": ("Failed", "TimedOut"),
    "CRASHED": ("Crashed",),
    "CANCELLING": ("Cancelling",),
    "CANCELLED": ("Cancelled",),
    "PAUSED": ("Paused", "Suspended"),
}
#: Events besides states; `*` takes the place of what a run may add.
_OTHERS = (
    ("prefect.flow-run.", ("heartbeat", "*")),
    ("prefect.task-run.", ("*",)),
    ("prefect.worker.", ("submitted-flow-run", "executed-flow-run")),
    ("prefect.runner.", ("cancelled-flow-run",)),
    (
        "prefect.automation.",
        ("triggered", "resolved", "action.triggered", "action.executed", "action.failed"),
    ),
    ("prefect.asset.", ("referenced", "materialization.succeeded", "materialization.failed")),
    ("prefect.concurrency-limit.", ("acquired", "released")),
    ("prefect.artifact.", ("created", "updated")),
    ("prefect.log.", ("write",)),
)


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that a trigger starts, as far as they are known beforehand.

    Parameters
    ----------
    deployment, flow: their names, None where nobody knows them.
    work_pool, tags: as the deployment has them.
    """

    deployment: str | None
    flow: str | None
    work_pool: str | None = None
    tags: Sequence[str] = ()


def own_event(trigger: Mapping[str, Any], runs: Runs) -> str | None:
    """Return the name of an event of its own runs that would fire a trigger, or None.

    Parameters
    ----------
    trigger: as `prefect.yaml` has it, of any type.
    runs: what it starts.
    """
    kind = kind_of(trigger)
    if kind in ("compound", "sequence"):
        inner = trigger.get("triggers")
        parts = [part for part in inner if isinstance(part, Mapping)] if isinstance(inner, list) else []
        return next(filter(None, (own_event(part, runs) for part in parts)), None)
    if kind != "event":
        return None
    patterns = _names(trigger.get("expect")) or ["*"]
    if trigger.get("posture") == "Proactive":
        # It waits for what does not come after these.
        patterns = [*patterns, *_names(trigger.get("after"))]
    match = _labels(trigger.get("match"))
    related = trigger.get("match_related")
    several = [_labels(one) for one in (related if isinstance(related, list) else [related])]
    for name, resource, others in _events(runs, _suspects(patterns)):
        if (
            any(_expects(pattern, name) for pattern in patterns)
            and includes(match, [resource])
            and all(includes(wanted, others) for wanted in several)
        ):
            return name.replace("*", "Completed") if name.endswith(".*") else name
    return None


def rings(starts: Sequence[tuple[Runs, Sequence[Mapping[str, Any]]]]) -> list[list[str]]:
    """Return the deployments whose runs start each other in a ring, each ring once.

    Parameters
    ----------
    starts: for each deployment what it runs, and its triggers that stay with Prefect.
    """
    started_by = {
        runs.deployment or "": {
            other.deployment or ""
            for other, _ in starts
            for trigger in triggers
            if other is not runs and trigger.get(KEY) is not True and own_event(trigger, other)
        }
        for runs, triggers in starts
    }

    def sources(name: str) -> set[str]:
        seen: set[str] = set()
        todo = [name]
        while todo:
            new = started_by.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        return seen

    reached = {name: sources(name) for name in started_by}
    found = [sorted(each for each in reached[name] if name in reached[each]) for name in started_by]
    return [list(ring) for ring in dict.fromkeys(tuple(ring) for ring in found if ring)]


def _events(
    runs: Runs, suspects: Sequence[str]
) -> Iterator[tuple[str, dict[str, str], list[dict[str, str]]]]:
    """Yield what a run sends: an event's name, its resource, its related resources."""
    flow_run = {RESOURCE_ID: f"prefect.flow-run.{_UNKNOWN}", "prefect.resource.name": _UNKNOWN}
    related = [
        _resource("flow", runs.flow),
        _resource("deployment", runs.deployment),
        _resource("work-queue", "default"),
        _resource("work-pool", runs.work_pool),
        *({RESOURCE_ID: f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in runs.tags),
        {**_resource("automation", None), "prefect.resource.role": "creator"},
    ]
    with_run = [*related, {**flow_run, "prefect.resource.role": "flow-run"}]
    for kind in ("flow-run", "task-run"):
        subject = {RESOURCE_ID: f"prefect.{kind}.{_UNKNOWN}", "prefect.resource.name": _UNKNOWN}
        for type_, names in _STATES.items():
            for name in names:
                state = {"prefect.state-name": name, "prefect.state-type": type_}
                more = {"prefect.run-count": "1", "prefect.state-message": "", "prefect.state-timestamp": ""}
                others = related if kind == "flow-run" else with_run
                yield f"prefect.{kind}.{name}", {**subject, **state, **more}, others
    for prefix, names in _OTHERS:
        subject = {RESOURCE_ID: f"{prefix}{_UNKNOWN}", "prefect.resource.name": _UNKNOWN}
        for name in names:
            yield f"{prefix}{name}", subject, with_run
        # A state may have any name.
        if "*" in names:
            for suspect in suspects:
                if suspect.startswith(prefix):
                    yield suspect, {**subject, "prefect.state-name": suspect.removeprefix(prefix)}, with_run


def _resource(kind: str, name: str | None) -> dict[str, str]:
    return {
        RESOURCE_ID: f"prefect.{kind}.{_UNKNOWN}",
        "prefect.resource.name": name or _UNKNOWN,
        "prefect.resource.role": kind,
    }


def _expects(pattern: str, name: str) -> bool:
    # What a template becomes is not known before Prefect deploys.
    return fnmatch.fnmatchcase(name, re.sub(r"{{.*?}}", "*", pattern))


def _suspects(patterns: Sequence[str]) -> list[str]:
    return [pattern for pattern in patterns if not any(sign in pattern for sign in "*?[{!")]


def _names(written: object) -> list[str]:
    return [name for name in written if isinstance(name, str)] if isinstance(written, list | set) else []


def _labels(written: object) -> Labels:
    return dict(written) if isinstance(written, Mapping) else {}
