"""What a `prefect.yaml` says: deployments, triggers that Hookline keeps, triggers that it leaves. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hookline.faults import Fault, Place
from hookline.triggers.own_runs import Runs
from hookline.triggers.trigger import Trigger


@dataclass(frozen=True, slots=True)
class LeftTrigger:
    """A trigger that stays with Prefect's automations, and why.

    Parameters
    ----------
    deployment, name: whose it is; None where the file gives it no name.
    reason: why Hookline does not keep it.
    document: the trigger as written.
    place: where it stands in the file.
    """

    deployment: str
    name: str | None
    reason: str
    document: Mapping[str, Any]
    place: Place

    @property
    def expect(self) -> tuple[str, ...]:
        """Return the names that it expects."""
        expect = self.document.get("expect")
        return tuple(name for name in expect if isinstance(name, str)) if isinstance(expect, list) else ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry under `deployments`, with environment variables filled in.

    Parameters
    ----------
    name, entrypoint, work_pool: as written; None where the file does not say.
    parameters: defaults of the flow's parameters.
    schedules: as written.
    runs: what its triggers start, for those that stay with Prefect.
    kept: the triggers that Hookline keeps; their flow is empty until the flow is known.
    left: the triggers that stay with Prefect.
    document: the entry as Prefect is to see it, unchanged but for the kept triggers, which are out.
    place: where it stands in the file; `places` has that of each of `schedules` and of `kept`, as `triggers`.
    """

    name: str | None
    entrypoint: str | None
    work_pool: str | None
    parameters: Mapping[str, Any]
    schedules: Sequence[Mapping[str, Any]]
    kept: tuple[Trigger, ...]
    left: tuple[LeftTrigger, ...]
    document: Mapping[str, Any]
    runs: Runs
    place: Place
    places: Mapping[str, Sequence[Place]]


@dataclass(frozen=True, slots=True)
class Project:
    """A `prefect.yaml` that has been read."""

    path: Path
    deployments: tuple[Deployment, ...]
    document: Mapping[str, Any]

    def fault(self, place: Place, message: str) -> Fault:
        """Return something that is wrong at a place of the file."""
        return Fault(str(self.path), place, message)

    @property
    def folder(self) -> Path:
        """Return the folder from which entrypoints are resolved."""
        return self.path.absolute().parent

    @property
    def kept(self) -> tuple[Trigger, ...]:
        """Return the triggers that Hookline keeps; their flow is empty until the flow is known."""
        return tuple(trigger for deployment in self.deployments for trigger in deployment.kept)

    @property
    def left(self) -> tuple[LeftTrigger, ...]:
        """Return the triggers that stay with Prefect's automations."""
        return tuple(trigger for deployment in self.deployments for trigger in deployment.left)

    def for_prefect(self, deployments: Sequence[Deployment]) -> str:
        """Return a `prefect.yaml` of these deployments alone, without the triggers that Hookline keeps."""
        document = {**self.document, "deployments": [deployment.document for deployment in deployments]}
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
