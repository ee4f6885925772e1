"""Prefect's own grammar of `prefect.yaml`: which keys there are, and what they may hold. Pure data.

Written down here because importing Prefect takes longer than all else that `hookline check` does; a test
holds every model against those of the Prefect that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

VERSION_TYPES = (
    "prefect:simple", "vcs:github", "vcs:gitlab", "vcs:bitbucket", "vcs:azuredevops", "vcs:git",
)  # fmt: skip

Labels = dict[str, str | list[str]]
Steps = list[dict[str, Any]] | dict[str, Any] | None


class _Stock(BaseModel):
    # Prefect ignores what it does not know; a slip of the pen must not go unseen.
    model_config = ConfigDict(extra="forbid")


class ProjectFile(_Stock):
    """The file itself; further keys at the top are the user's, for anchors."""

    prefect_version: Annotated[str | None, Field(alias="prefect-version")] = None
    name: str | None = None
    build: Steps = None
    push: Steps = None
    pull: Steps = None
    deployments: list[Any]


class WorkPool(_Stock):
    """A deployment's `work_pool`."""

    name: str | None = None
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = {}


class ConcurrencyLimit(_Stock):
    """A deployment's `concurrency_limit`, where it is more than a number."""

    limit: int | None = None
    # Prefect's own file takes any text here, or none, and its deployment then fails.
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"]
    grace_period_seconds: Annotated[int | None, Field(ge=60, le=86400)] = None


class Entry(_Stock):
    """One entry under `deployments`; what has a model of its own is checked by that."""

    name: str | None = None
    version: str | None = None
    version_type: Literal[VERSION_TYPES] | None = None  # type: ignore[valid-type]
    tags: str | list[Any] | None = None
    description: str | None = None
    schedule: Any = None
    schedules: list[Any] | None = None
    paused: bool | None = None
    concurrency_limit: int | dict[str, Any] | None = None
    flow_name: str | None = None
    entrypoint: str | None = None
    parameters: dict[str, Any] = {}
    enforce_parameter_schema: bool | None = None
    build: Steps = None
    push: Steps = None
    pull: Steps = None
    work_pool: WorkPool | None = None
    triggers: list[dict[str, Any]] | None = None
    sla: list[Any] | None = None


class Schedule(_Stock):
    """One schedule of a deployment."""

    cron: str | None = None
    interval: timedelta | None = None
    rrule: str | None = None
    timezone: str | None = None
    # YAML makes a date of what is not quoted, and Prefect takes that as well.
    anchor_date: str | date | None = None
    active: bool | str | None = None
    parameters: dict[str, Any] = {}
    slug: str | None = None
    replaces: str | None = None
    day_or: bool | str | None = None

    @model_validator(mode="after")
    def _date_is_text(self) -> Schedule:
        # A date that YAML made fits only another of Prefect's models, which has no further keys.
        further = self.model_fields_set - {"interval", "anchor_date", "timezone"}
        if isinstance(self.anchor_date, date) and further:
            raise ValueError(f"quote `anchor_date`: beside `{min(further)}` Prefect takes it as text only")
        return self

    @field_validator("interval")
    @classmethod
    def _longer_than_none(cls, interval: timedelta | None) -> timedelta | None:
        if interval is not None and interval <= timedelta(0):
            raise ValueError("an interval is longer than 0")
        return interval


class Sla(_Stock):
    """A service level of a deployment; it has exactly one of the last three."""

    name: str
    severity: Literal["minor", "low", "moderate", "high", "critical"] = "moderate"
    enabled: bool | None = True
    duration: int | None = None
    stale_after: timedelta | None = None
    within: timedelta | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Sla:
        if [self.duration, self.stale_after, self.within].count(None) != 2:
            raise ValueError("a service level has exactly one of `duration`, `stale_after` and `within`")
        return self


class EventTrigger(_Stock):
    """A trigger on events, as it stands within a compound one or a sequence."""

    type: Literal["event"] = "event"
    match: Labels = {}
    match_related: Labels | list[Labels] = {}
    after: set[str] = set()
    expect: set[str] = set()
    for_each: set[str] = set()
    posture: Literal["Reactive", "Proactive"] = "Reactive"
    threshold: int = 1
    within: timedelta = Field(timedelta(0), ge=timedelta(0))

    @model_validator(mode="after")
    def _long_enough(self) -> EventTrigger:
        if self.posture == "Proactive" and timedelta(0) < self.within < timedelta(seconds=10):
            raise ValueError("`within` of a proactive trigger is at least 10 seconds")
        return self


class MetricQuery(_Stock):
    """What a trigger on a metric compares."""

    name: Literal["lateness", "duration", "successes"]
    threshold: float
    operator: Literal["<", "<=", ">", ">="]
    range: timedelta = Field(timedelta(minutes=5), ge=timedelta(minutes=5))
    firing_for: timedelta = Field(timedelta(minutes=5), ge=timedelta(minutes=5))


class MetricTrigger(_Stock):
    """A trigger on a metric."""

    type: Literal["metric"] = "metric"
    match: Labels = {}
    match_related: Labels | list[Labels] = {}
    posture: Literal["Metric"] = "Metric"
    metric: MetricQuery


class CompoundTrigger(_Stock):
    """A trigger that wants several others, in any order."""

    type: Literal["compound"] = "compound"
    triggers: list[dict[str, Any]]
    within: timedelta | None = None
    require: int | Literal["any", "all"]

    @model_validator(mode="after")
    def _possible(self) -> CompoundTrigger:
        if isinstance(self.require, int) and not 1 <= self.require <= len(self.triggers):
            raise ValueError(f"`require` is from 1 to the number of its triggers, {len(self.triggers)}")
        return self


class SequenceTrigger(_Stock):
    """A trigger that wants several others, in order."""

    type: Literal["sequence"] = "sequence"
    triggers: list[dict[str, Any]]
    within: timedelta | None = None


class _OfDeployment(_Stock):
    """What a trigger of a deployment has besides."""

    name: str | None = None
    description: str = ""
    enabled: bool = True
    parameters: dict[str, Any] | None = None
    job_variables: dict[str, Any] | None = None
    schedule_after: timedelta = Field(timedelta(0), ge=timedelta(0))


class DeploymentEventTrigger(_OfDeployment, EventTrigger):
    """A deployment's trigger on events."""


class DeploymentMetricTrigger(_OfDeployment, MetricTrigger):
    """A deployment's trigger on a metric."""


class DeploymentCompoundTrigger(_OfDeployment, CompoundTrigger):
    """A deployment's compound trigger."""


class DeploymentSequenceTrigger(_OfDeployment, SequenceTrigger):
    """A deployment's sequence."""


#: Models of a deployment's triggers, and of those within another, by `type`.
OF_DEPLOYMENT: dict[str, type[BaseModel]] = {
    "event": DeploymentEventTrigger,
    "metric": DeploymentMetricTrigger,
    "compound": DeploymentCompoundTrigger,
    "sequence": DeploymentSequenceTrigger,
}
WITHIN: dict[str, type[BaseModel]] = {
    "event": EventTrigger,
    "metric": MetricTrigger,
    "compound": CompoundTrigger,
    "sequence": SequenceTrigger,
}


def kind_of(trigger: Mapping[str, Any]) -> str:
    """Return the `type` of a trigger, from its other keys where it does not say, as Prefect does."""
    if "type" in trigger:
        return str(trigger["type"])
    if trigger.get("posture") == "Metric":
        return "metric"
    if "triggers" in trigger:
        return "compound" if "require" in trigger else "sequence"
    return "event"
