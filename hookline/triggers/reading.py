"""Reading `prefect.yaml`: every fault is collected with its place, and no code of the user's is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from hookline.errors import TriggerError
from hookline.faults import Fault, Place
from hookline.nearest import nearest
from hookline.triggers import own_runs, stock
from hookline.triggers.deployment import Deployment, LeftTrigger, Project
from hookline.triggers.entrypoints import Entrypoint, find_entrypoint
from hookline.triggers.grammar import OUR_KEYS, read_concurrency, read_debounce, read_delay, read_where
from hookline.triggers.keeping import FURTHER_KEYS, TemplateNames, keep, name_fault
from hookline.triggers.own_runs import Runs
from hookline.triggers.schedules import schedule_faults
from hookline.triggers.steps import step_faults
from hookline.triggers.trigger import Trigger
from hookline.triggers.validating import is_users, validate
from hookline.yaml_text import Document, YamlFault, read_yaml

#: The key at the top that names further keys: those of a Prefect that is newer than this Hookline.
KNOWN_KEYS = "x-known-keys"

_FROM_ENVIRONMENT = re.compile(r"{{\s*\$+([\w.\-]+)\s*}}")
#: Prefect allows none of these in a deployment's name.
_BANNED = re.compile(r"[/%&<>]")
_READ = {"where": read_where, "concurrency": read_concurrency, "debounce": read_debounce, "delay": read_delay}

Path_ = tuple[str | int, ...]


class Reader:
    """Reads one project file and collects what is wrong with it.

    Parameters
    ----------
    path: the `prefect.yaml`.
    environment: values of `{{ $NAME }}` placeholders.
    template_names: looks at templates.
    offline: nothing follows: entrypoints are looked up too, which else importing the flows will do, and a
        variable that is not set is a warning.
    """

    def __init__(
        self,
        path: Path,
        environment: Mapping[str, str],
        template_names: TemplateNames,
        *,
        offline: bool = False,
    ) -> None:
        self.faults: list[Fault] = []
        self._path = path
        self._folder = path.absolute().parent
        self._environment = environment
        self._template_names = template_names
        self._offline = offline
        self._document = Document(None, None)
        self._known: tuple[str, ...] = ()

    def read(self) -> Project | None:
        """Return the project, None where its file cannot be read at all; `faults` says what is wrong."""
        try:
            self._document = read_yaml(self._path.read_text(encoding="utf-8-sig"))
        except YamlFault as wrong:
            self.faults.append(wrong.fault(str(self._path)))
            return None
        except UnicodeDecodeError:
            self._whole("cannot be read: it is not UTF-8")
            return None
        except OSError as wrong:
            self._whole(f"cannot be read: {wrong.strerror}")
            return None
        document = self._document.value
        if isinstance(document, dict):
            self._check_keys(document)
        if not isinstance(document, dict) or not isinstance(document.get("deployments"), list):
            self._whole("has no list of `deployments`")
            return None
        read = [self._deployment(index, entry) for index, entry in enumerate(document["deployments"])]
        deployments = tuple(each for each in read if each is not None)
        self._check_twice(deployments)
        for ring in ring_warnings([(each.runs, each.left) for each in deployments]):
            self._wrong(("deployments",), ring, of_key=True, warning=True)
        return Project(self._path, deployments, document)

    def _check_keys(self, document: Mapping[str, Any]) -> None:
        known = document.get(KNOWN_KEYS) or []
        self._known = tuple(map(str, known)) if isinstance(known, list) else ()
        fields = [field.alias or name for name, field in stock.ProjectFile.model_fields.items()]
        for key in document:
            # Other keys are for anchors: Prefect ignores them, and its own examples call one `definitions`.
            if key not in fields and not is_users(key) and (meant := nearest(str(key), fields)):
                self._wrong((key,), f"`{key}` is no key of a project; did you mean `{meant}`?", of_key=True)
        top = {key: value for key, value in document.items() if key in fields}
        if "deployments" in top:
            self._validate((), top, stock.ProjectFile, "a project", "", templates=False)
            self._check_steps((), top, "")

    def _deployment(self, index: int, entry: object) -> Deployment | None:
        path: Path_ = ("deployments", index)
        if not isinstance(entry, dict):
            self._wrong(path, f"deployment number {index + 1}: write it as a mapping")
            return None
        name = self._text(entry.get("name"))
        shown = f"deployment {name or f'number {index + 1}'}"
        # Prefect looks at the kinds of these before it fills anything in; of triggers it does so afterwards.
        self._validate(path, entry, stock.Entry, "a deployment", shown, templates=False)
        if isinstance(limit := entry.get("concurrency_limit"), dict):
            inner = (*path, "concurrency_limit")
            self._validate(
                inner, limit, stock.ConcurrencyLimit, "`concurrency_limit`", shown, templates=False
            )
        self._check_steps(path, entry, shown)
        self._check_service_levels(path, entry, shown)
        if name is not None and (banned := _BANNED.search(name)):
            self._wrong((*path, "name"), f"{shown}: Prefect allows no `{banned[0]}` in a deployment's name")
        if name is None:
            self._wrong(path, f"{shown} has no `name`: it is skipped when all are deployed", warning=True)
        schedules = self._schedules(path, entry, shown)
        written = self._text(entry.get("entrypoint"))
        found = self._entrypoint(path, written, shown)
        pool = entry.get("work_pool")
        work_pool = self._text(pool.get("name") if isinstance(pool, dict) else None)
        tags = entry.get("tags")
        # Without its source, a flow is likely to be called as its function is; deploying asks the flow.
        flow = found.flow or (re.split(r"[.:]", written)[-1].replace("_", "-") if written else None)
        runs = Runs(name, flow, work_pool, list(map(str, tags)) if isinstance(tags, list) else ())
        kept, left, places = self._triggers(path, entry, name, runs, shown)
        stays = [trigger.document for trigger in left]
        return Deployment(
            name=name,
            entrypoint=written,
            work_pool=work_pool,
            parameters=parameters if isinstance(parameters := entry.get("parameters"), dict) else {},
            schedules=[schedule for schedule, _ in schedules],
            kept=tuple(kept),
            left=tuple(left),
            document={**entry, "triggers": stays} if kept else entry,
            runs=runs,
            place=self._document.at(*path),
            places={
                "triggers": places,
                "schedules": [place for _, place in schedules],
            },
        )

    def _schedules(
        self, path: Path_, entry: Mapping[str, Any], shown: str
    ) -> list[tuple[Mapping[str, Any], Place]]:
        several = entry.get("schedules")
        paths = (
            [(*path, "schedules", number) for number in range(len(several))]
            if isinstance(several, list)
            else []
        )
        schedules = list(several) if isinstance(several, list) else []
        if entry.get("schedule"):
            if several is not None:
                self._wrong((*path, "schedule"), f"{shown}: `schedule` and `schedules` exclude each other")
            schedules.append(entry["schedule"])
            paths.append((*path, "schedule"))
        for where, schedule in zip(paths, schedules, strict=True):
            if not isinstance(schedule, dict):
                self._wrong(where, f"{shown}: a schedule is a mapping with `cron`, `interval` or `rrule`")
            else:
                self._validate(where, schedule, stock.Schedule, "a schedule", shown, templates=False)
                for key, reason in schedule_faults(schedule):
                    self._wrong((*where, key) if key else where, f"{shown}: {reason}")
        return [
            (schedule, self._document.at(*where))
            for where, schedule in zip(paths, schedules, strict=True)
            if isinstance(schedule, dict)
        ]

    def _check_steps(self, path: Path_, raw: Mapping[str, Any], shown: str) -> None:
        for part in ("build", "push", "pull"):
            steps = raw.get(part)
            several = steps if isinstance(steps, list) else []
            found = [((*path, part, number), step) for number, step in enumerate(several)]
            found += [((*path, part), steps)] if isinstance(steps, dict) else []
            for where, step in found:
                for inner, reason in step_faults(step) if isinstance(step, dict) else ():
                    self._wrong((*where, *inner), f"{shown}: {reason}" if shown else reason, of_key=True)

    def _check_service_levels(self, path: Path_, entry: Mapping[str, Any], shown: str) -> None:
        levels = entry.get("sla")
        if levels is None:
            return
        reason = f"{shown}: only Prefect Cloud knows `sla`; deploying to any other server fails"
        self._wrong((*path, "sla"), reason, of_key=True, warning=True)
        for number, level in enumerate(levels if isinstance(levels, list) else []):
            where = (*path, "sla", number)
            if isinstance(level, dict):
                self._validate(where, level, stock.Sla, "a service level", shown, templates=False)
            else:
                self._wrong(where, f"{shown}: write a service level as a mapping")

    def _entrypoint(self, path: Path_, written: str | None, shown: str) -> Entrypoint:
        found = Entrypoint("write it as `flows.module.function`") if written is None else Entrypoint()
        if written is not None and "{{" not in written:
            found = find_entrypoint(written, self._folder)
        if found.fault and self._offline:
            self._wrong(
                (*path, "entrypoint"), f"{shown}: entrypoint {written or 'is missing'}: {found.fault}"
            )
        return found

    def _triggers(
        self, path: Path_, entry: Mapping[str, Any], deployment: str | None, runs: Runs, shown: str
    ) -> tuple[list[Trigger], list[LeftTrigger], list[Place]]:
        kept: list[Trigger] = []
        left: list[LeftTrigger] = []
        places: list[Place] = []
        triggers = entry.get("triggers")
        for number, raw in enumerate(triggers if isinstance(triggers, list) else []):
            where = (*path, "triggers", number)
            if not isinstance(raw, dict):
                continue
            label = f"{shown}, trigger {raw.get('name') or f'number {number + 1}'}"
            verdict = self._trigger(where, raw, deployment, runs, label)
            place = self._document.at(*where)
            if isinstance(verdict, Trigger):
                if any(other.name == verdict.name for other in kept):
                    self._wrong(where, f"{label}: another trigger of the deployment has the same name")
                kept.append(verdict)
                places.append(place)
            elif verdict is not None:
                # By its deployment's name where it has one.
                whose = shown.removeprefix("deployment ")
                left.append(LeftTrigger(whose, raw.get("name"), verdict, raw, place))
        return kept, left, places

    def _trigger(
        self, where: Path_, written: Mapping[str, Any], deployment: str | None, runs: Runs, label: str
    ) -> Trigger | str | None:
        """Return the trigger to keep, why it stays with Prefect, or None where something is wrong with it."""
        before = len(self.faults)
        try:
            raw = self._filled(where, _as_json(written), label)
        except TriggerError as wrong:
            self._wrong(where, f"{label}: {wrong}")
            return None
        raw = {key: value for key, value in raw.items() if not is_users(key) and key not in self._known}
        self._check_trigger(where, raw, label, stock.OF_DEPLOYMENT)
        for key in OUR_KEYS:
            if key in raw:
                try:
                    _READ[key](raw[key])
                except TriggerError as wrong:
                    inner = str(wrong).partition(":")[0].split(".")
                    self._wrong((*where, *inner), f"{label}: {wrong}")
        if any(not fault.warning for fault in self.faults[before:]):
            return None
        try:
            verdict = keep(raw, deployment or "", self._template_names)
        except TriggerError as wrong:
            self._wrong(where, f"{label}: {wrong}")
            return None
        if isinstance(verdict, Trigger):
            if deployment is None:
                self._wrong(where, f"{label}: Hookline keeps it, and its deployment needs a `name`")
        elif reason := loop_fault(raw, runs):
            self._wrong(where, f"{label}: {reason}")
        return verdict

    def _check_trigger(
        self, where: Path_, raw: Mapping[str, Any], label: str, models: Mapping[str, type[BaseModel]]
    ) -> None:
        """Check the keys of a trigger, of those that it is made of, and the names that they expect."""
        kind = stock.kind_of(raw)
        if kind not in models:
            meant = nearest(kind, models)
            hint = f"did you mean `{meant}`?" if meant else f"there are {', '.join(models)}"
            self._wrong((*where, "type"), f"{label}: there is no trigger of type `{kind}`; {hint}")
            return
        own = FURTHER_KEYS if models is stock.OF_DEPLOYMENT else OUR_KEYS
        self._validate(where, raw, models[kind], "a trigger", label, ours=own)
        for key in ("expect", "after"):
            names = raw.get(key)
            for number, name in enumerate(names if isinstance(names, list) else []):
                if isinstance(name, str) and (reason := name_fault(name)):
                    self._wrong((*where, key, number), f"{label}: {key}: {reason}")
        inner = raw.get("triggers")
        for number, part in enumerate(inner if isinstance(inner, list) else []):
            if isinstance(part, dict):
                self._check_trigger((*where, "triggers", number), part, label, stock.WITHIN)

    def _check_twice(self, deployments: Sequence[Deployment]) -> None:
        first: dict[str, Place] = {}
        for deployment in deployments:
            if deployment.name is None:
                continue
            if deployment.name in first:
                reason = (
                    f"another deployment is named {deployment.name!r}, in line {first[deployment.name].line}."
                    " Give each its own name: triggers, dispatches and `hookline deploy NAME` go by it"
                )
                self.faults.append(Fault(str(self._path), deployment.place, reason))
            first.setdefault(deployment.name, deployment.place)

    def _filled(self, where: Path_, value: Any, label: str) -> Any:
        match value:
            case str():
                return _FROM_ENVIRONMENT.sub(lambda found: self._variable(where, found[1], label), value)
            case dict():
                return {key: self._filled((*where, key), part, label) for key, part in value.items()}
            case list():
                return [self._filled((*where, number), part, label) for number, part in enumerate(value)]
            case _:
                return value

    def _variable(self, where: Path_, name: str, label: str) -> str:
        if name not in self._environment:
            reason = f"{label}: the environment variable {name} is not set"
            self._wrong(where, reason, warning=self._offline)
            return "unset"
        return self._environment[name]

    def _text(self, written: object) -> str | None:
        if written is None:
            return None
        # As for Prefect: what is not set stays as it is written.
        return _FROM_ENVIRONMENT.sub(lambda found: self._environment.get(found[1], found[0]), str(written))

    def _validate(
        self,
        path: Path_,
        raw: Mapping[str, Any],
        model: type[BaseModel],
        what: str,
        label: str,
        *,
        ours: Sequence[str] = (),
        templates: bool = True,
    ) -> None:
        for wrong in validate(raw, model, what, ours=(*ours, *self._known), templates=templates):
            reason = f"{label}: {wrong.reason}" if label else wrong.reason
            self._wrong((*path, *wrong.path), reason, of_key=wrong.of_key)

    def _wrong(self, path: Path_, message: str, *, of_key: bool = False, warning: bool = False) -> None:
        place = (self._document.key if of_key else self._document.at)(*path)
        self.faults.append(Fault(str(self._path), place, message.removesuffix("."), warning))

    def _whole(self, message: str) -> None:
        self.faults.append(Fault(str(self._path), None, message))


def loop_fault(trigger: Mapping[str, Any], runs: Runs) -> str | None:
    """Return why a trigger that stays with Prefect would start its own flow without end, or None."""
    if trigger.get(own_runs.KEY) is True or (event := own_runs.own_event(trigger, runs)) is None:
        return None
    named = trigger.get("expect") or "triggers" in trigger
    whichever = "" if named else "it expects no event by name, so any will do: "
    return (
        f"{whichever}{event} of the runs that it starts would fire it, so that one event would start runs"
        " without end. Name other events, leave its own flow out with `match` or `match_related`, or write"
        f" `{own_runs.KEY}: true` if that is meant (docs/triggers.md)"
    )


def ring_warnings(deployments: Iterable[tuple[Runs, Sequence[LeftTrigger]]]) -> list[str]:
    """Say which deployments start each other through Prefect's events; it may be meant."""
    starts = [(runs, [trigger.document for trigger in left]) for runs, left in deployments]
    return [
        f"the runs of {' and '.join(ring)} start each other by triggers that stay with Prefect: one event may"
        f" start runs without end. Where that is meant, say `{own_runs.KEY}: true` in one of them"
        for ring in own_runs.rings(starts)
    ]


def _as_json(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trigger as JSON keeps it: YAML's dates become text, as they do for Prefect."""
    try:
        document = orjson.loads(orjson.dumps(raw, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError) as wrong:
        raise TriggerError(f"it holds a value that JSON cannot hold: {wrong}") from None
    return dict(document)
