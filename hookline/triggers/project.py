"""A project's `prefect.yaml`: its deployments, and which of their triggers Hookline keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from hookline.errors import DeployError, TriggerError
from hookline.triggers.keeping import keep
from hookline.triggers.trigger import Trigger

_FROM_ENVIRONMENT = re.compile(r"{{\s*\$+([\w.\-]+)\s*}}")


@dataclass(frozen=True, slots=True)
class LeftTrigger:
    """A trigger that stays with Prefect's automations, and why."""

    deployment: str
    name: str | None
    reason: str
    expect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry under `deployments`, with environment variables filled in.

    Parameters
    ----------
    name, entrypoint, work_pool: as written; None where the file does not say.
    parameters: defaults of the flow's parameters.
    schedules: as written.
    kept: the triggers that Hookline keeps; their flow is empty until the flow is known.
    left: the triggers that stay with Prefect.
    document: the entry as Prefect is to see it, unchanged but for the kept triggers, which are out.
    """

    name: str | None
    entrypoint: str | None
    work_pool: str | None
    parameters: Mapping[str, Any]
    schedules: Sequence[Mapping[str, Any]]
    kept: tuple[Trigger, ...]
    left: tuple[LeftTrigger, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Project:
    """A `prefect.yaml` that has been read."""

    path: Path
    deployments: tuple[Deployment, ...]
    document: Mapping[str, Any]

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


def read_project(path: Path, environment: Mapping[str, str] = os.environ) -> Project:
    """Read a project file and decide which triggers Hookline keeps.

    Parameters
    ----------
    path: the `prefect.yaml`.
    environment: values of `{{ $NAME }}` placeholders.

    Raises
    ------
    DeployError: the file cannot be read, or is no project file.
    TriggerError: a trigger is written wrongly, or has Hookline's keys and cannot be kept; names the line,
        the deployment and the trigger.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
        lines = _Lines(path, yaml.compose(text, Loader=yaml.SafeLoader))
    except OSError as wrong:
        raise DeployError(f"{path} cannot be read: {wrong.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        raise DeployError(f"{path} is not YAML: {wrong}") from None
    entries = document.get("deployments") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DeployError(f"{path} has no list of `deployments`")
    return Project(
        path=path,
        deployments=tuple(
            _read_deployment(entry, index, lines, environment) for index, entry in enumerate(entries)
        ),
        document=document,
    )


def _read_deployment(
    entry: Mapping[str, Any], index: int, lines: _Lines, environment: Mapping[str, str]
) -> Deployment:
    name = _text(entry.get("name"), environment)
    shown = name or f"number {index + 1}"
    triggers = entry.get("triggers") or []
    if not isinstance(triggers, list) or not all(isinstance(trigger, dict) for trigger in triggers):
        raise DeployError(f"{lines.at(index)}: deployment {shown}: `triggers` is not a list of mappings")
    work_pool = entry.get("work_pool")
    kept: list[Trigger] = []
    left: list[LeftTrigger] = []
    stays: list[Mapping[str, Any]] = []
    for position, raw in enumerate(triggers):
        trigger_name = raw.get("name") or f"number {position + 1}"
        try:
            verdict = keep(_filled(_as_json(raw), environment), name or "")
            if isinstance(verdict, Trigger):
                _check_place(verdict, name, kept)
        except TriggerError as wrong:
            where = lines.at(index, position)
            raise TriggerError(f"{where}: deployment {shown}, trigger {trigger_name}: {wrong}") from None
        if isinstance(verdict, Trigger):
            kept.append(verdict)
        else:
            left.append(LeftTrigger(shown, raw.get("name"), verdict, _expected(raw)))
            stays.append(raw)
    return Deployment(
        name=name,
        entrypoint=_text(entry.get("entrypoint"), environment),
        work_pool=_text(work_pool.get("name") if isinstance(work_pool, dict) else None, environment),
        parameters=entry.get("parameters") or {},
        schedules=_schedules(entry),
        kept=tuple(kept),
        left=tuple(left),
        document={**entry, "triggers": stays} if kept else entry,
    )


def _check_place(trigger: Trigger, deployment: str | None, others: Sequence[Trigger]) -> None:
    if deployment is None:
        raise TriggerError("Hookline keeps it, and its deployment needs a `name`")
    if any(other.name == trigger.name for other in others):
        raise TriggerError("another trigger of the deployment has the same name")


def _schedules(entry: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    several = entry.get("schedules") or ([entry["schedule"]] if entry.get("schedule") else [])
    return [schedule for schedule in several if isinstance(schedule, dict)]


def _expected(raw: Mapping[str, Any]) -> tuple[str, ...]:
    expect = raw.get("expect")
    return tuple(name for name in expect if isinstance(name, str)) if isinstance(expect, list) else ()


def _as_json(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trigger as JSON keeps it: YAML's dates become text, as they do for Prefect."""
    try:
        document = orjson.loads(orjson.dumps(raw, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError) as wrong:
        raise TriggerError(f"it holds a value that JSON cannot hold: {wrong}") from None
    return dict(document)


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _FROM_ENVIRONMENT.sub(lambda found: _variable(found[1], environment), value)
        case dict():
            return {key: _filled(part, environment) for key, part in value.items()}
        case list():
            return [_filled(part, environment) for part in value]
        case _:
            return value


def _variable(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise TriggerError(f"the environment variable {name} is not set")
    return environment[name]


def _text(written: object, environment: Mapping[str, str]) -> str | None:
    if written is None:
        return None
    # As for Prefect: what is not set stays as it is written.
    return _FROM_ENVIRONMENT.sub(lambda found: environment.get(found[1], found[0]), str(written))


class _Lines:
    """Where deployments and triggers stand in the file, for messages."""

    def __init__(self, path: Path, root: yaml.Node | None) -> None:
        self._path = path
        self._root = root

    def at(self, deployment: int, trigger: int | None = None) -> str:
        steps: list[str | int] = ["deployments", deployment]
        if trigger is not None:
            steps += ["triggers", trigger]
        node = self._root
        line = 1
        for step in steps:
            node = _child(node, step)
            if node is None:
                # Merged in from elsewhere; the nearest line above says enough.
                break
            line = node.start_mark.line + 1
        return f"{self._path.name}, line {line}"


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    match node:
        case yaml.MappingNode():
            return next((value for key, value in node.value if key.value == step), None)
        case yaml.SequenceNode() if isinstance(step, int):
            child: yaml.Node = node.value[step]
            return child
        case _:
            return None
