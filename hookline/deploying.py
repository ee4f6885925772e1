"""`hookline deploy`: Prefect deploys the project, and the inbox gets the triggers that Hookline keeps."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from hookline.deploy_process import start_process
from hookline.errors import DeployError
from hookline.faults import Fault, in_order
from hookline.flow_facts import FlowFacts
from hookline.nearest import nearest
from hookline.triggers import Trigger
from hookline.triggers.keeping import RESERVED_PREFIXES
from hookline.triggers.project import Deployment, LeftTrigger, Project, read_project
from hookline.triggers.reading import loop_fault, ring_warnings

#: Says whether triggers may be taken away, by their ids.
Agree = Callable[[Sequence[str]], Awaitable[bool]]


async def never(_: Sequence[str]) -> bool:
    """Agree to nothing."""
    return False


class TriggerStore(Protocol):
    """What deploying needs of the inbox."""

    async def save_trigger_set(self, triggers: Sequence[Trigger]) -> int: ...

    async def trigger_set(self) -> tuple[int, list[dict[str, Any]]]: ...


class Prefect(Protocol):
    """What deploying needs of Prefect and of the user's flows; `DeployProcess` says it in full."""

    async def flows(self, entrypoints: Iterable[str]) -> dict[str, FlowFacts]: ...

    async def faulty_templates(self, parameters: Sequence[Mapping[str, Any]]) -> list[str | None]: ...

    async def prepare(
        self, wait: timedelta, pool: str | None, pools: Iterable[str]
    ) -> tuple[bool, list[str]]: ...

    async def deploy(self, project: str, lanes: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """A project that has been checked as far as that goes without a server.

    Parameters
    ----------
    project: the project file.
    deployments: what is to be deployed, with its flow; all of the file, or the chosen ones.
    whole: it is all of the file, so that triggers that the file no longer has go.
    """

    project: Project
    deployments: tuple[tuple[Deployment, FlowFacts], ...]
    whole: bool

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Return the triggers that Hookline keeps, bound to their flows."""
        return tuple(
            replace(trigger, flow=flow.name, passes_event=trigger.parameters is None and flow.takes_event)
            for deployment, flow in self.deployments
            for trigger in deployment.kept
        )

    @property
    def pools(self) -> dict[str, str | None]:
        """Return the work pools that must be there, each with a deployment that wants it.

        Without a name it is Prefect's default pool; a template is Prefect's to fill in.
        """
        return {
            deployment.work_pool: deployment.name
            for deployment, _ in reversed(self.deployments)
            if deployment.work_pool is not None and "{{" not in deployment.work_pool
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what is allowed and probably not meant."""
        unnamed = sum(deployment.name is None for deployment in self.project.deployments)
        return (
            *ring_warnings(
                (replace(deployment.runs, flow=flow.name), deployment.left)
                for deployment, flow in self.deployments
            ),
            *([f"{unnamed} deployments have no name and were skipped"] if unnamed and self.whole else []),
            *(
                f"{trigger.id}: `match_related` can never hold: events of Hookline have no related resources"
                for trigger in self.triggers
                if trigger.match_related
            ),
            *(
                f"{left.deployment}/{left.name or '(unnamed)'} stays with Prefect, because {left.reason};"
                f" in Prefect's feed, events of Hookline are named `hookline.{plain[0]}`"
                for deployment, _ in self.deployments
                for left in deployment.left
                if (plain := [name for name in left.expect if not name.startswith((*RESERVED_PREFIXES, "*"))])
            ),
        )


@dataclass(frozen=True, slots=True)
class DeployReport:
    """What a deploy did.

    Parameters
    ----------
    deployments: `flow/deployment` of each deployment.
    kept: all triggers now in force, those of deployments that were not deployed this time included.
    left: triggers that stay with Prefect's automations, and why.
    version: the version of the trigger set now in force.
    changed: whether this deploy made that version.
    removed: ids of triggers that were in force before and are not any more.
    warnings: what is allowed and probably not meant.
    """

    deployments: tuple[str, ...]
    kept: tuple[Trigger, ...]
    left: tuple[LeftTrigger, ...]
    version: int
    changed: bool
    removed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def deploy(
    path: Path,
    inbox: TriggerStore,
    *,
    only: Collection[str] | None = None,
    wait: timedelta = timedelta(0),
    create_pool: str | None = None,
    agree: Agree = never,
    progress: Callable[[str], None] = lambda _: None,
    environment: Mapping[str, str] | None = None,
) -> DeployReport:
    """Deploy a project: its deployments to Prefect, its triggers to Prefect or the inbox.

    Whoever shares the inbox with others holds `hookline.inbox.deploy_lock` meanwhile, so that the file that
    is read last is the one that comes into force last.

    Parameters
    ----------
    path: the `prefect.yaml`.
    inbox: gets the triggers that Hookline keeps, as a new version if anything changed.
    only: deployments by name or `flow/name`; None deploys all of the file.
    wait: how long to wait for the Prefect server.
    create_pool: name and type of a work pool that is made if there is none.
    agree: asked before triggers that are in force are taken away.
    progress: called with one line at each step.
    environment: names the server, and fills in `{{ $NAME }}`; None is this process's own.

    Raises
    ------
    PrefectUnavailable: the server does not answer in time.
    DeployError: a check failed, or a trigger may not be taken away; Prefect and the inbox are as before.
    DeployError: Prefect refused; some deployments may have been made, the inbox is as before.
    """
    environment = os.environ if environment is None else environment
    async with start_process(path.parent, environment, progress) as prefect:
        plan = await plan_deploy(path, prefect, only=only, progress=progress, environment=environment)
        pools = plan.pools
        made, missing = await prefect.prepare(wait, create_pool, pools)
        if made:
            progress(f"Made the work pool {create_pool}")
        for pool in missing:
            raise DeployError(
                f"Deployment {pools[pool]} wants the work pool {pool!r}, which the Prefect server does not"
                f" have. Make it with `prefect work-pool create {pool} --type warm` (or another type)."
            )
        return await carry_out(plan, inbox, prefect, agree=agree, progress=progress)


async def plan_deploy(
    path: Path,
    prefect: Prefect,
    *,
    only: Collection[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    environment: Mapping[str, str] = os.environ,
) -> Plan:
    """Read and check a project; no server is asked, so this may go on while one starts.

    Raises
    ------
    DeployError: a check failed.
    """
    project = read_project(path, environment)
    chosen = _choose(project, only)
    progress(f"Importing the flows of {len(chosen)} deployment{'s' if len(chosen) != 1 else ''}")
    flows = await prefect.flows(entrypoint for _, entrypoint in chosen)
    planned = tuple((deployment, flows[entrypoint]) for deployment, entrypoint in chosen)
    _check_flows_named([f"{flow.name}/{deployment.name}" for deployment, flow in planned], only)
    faults = [fault for deployment, flow in planned for fault in _faults(project, deployment, flow)]
    faults += await _faulty_templates(project, [deployment for deployment, _ in planned], prefect)
    if faults:
        raise DeployError(*in_order(faults))
    return Plan(project, planned, whole=only is None)


async def carry_out(
    plan: Plan,
    inbox: TriggerStore,
    prefect: Prefect,
    *,
    agree: Agree = never,
    progress: Callable[[str], None] = lambda _: None,
) -> DeployReport:
    """Deploy what was planned.

    Raises
    ------
    DeployError: a trigger may not be taken away, or Prefect refused.
    """
    before, documents = await inbox.trigger_set()
    in_force = [Trigger.from_dict(document) for document in documents]
    triggers = _in_force(plan, in_force)
    removed = tuple(sorted({trigger.id for trigger in in_force} - {trigger.id for trigger in triggers}))
    if removed and not await agree(removed):
        raise DeployError(
            f"This would remove {_several(removed)}: in force, and no longer in {plan.project.path}."
            " Put back what should stay, or confirm with `hookline deploy --prune`. Nothing was deployed."
        )
    progress("Deploying with Prefect")
    lanes = tuple(f"{flow.name}/{deployment.name}" for deployment, flow in plan.deployments)
    await prefect.deploy(plan.project.for_prefect([deployment for deployment, _ in plan.deployments]), lanes)
    if (await inbox.trigger_set())[0] != before:
        raise DeployError("Something else changed the triggers in force during this deploy; deploy again.")
    version = await inbox.save_trigger_set(triggers)
    return DeployReport(
        deployments=lanes,
        kept=triggers,
        left=tuple(trigger for deployment, _ in plan.deployments for trigger in deployment.left),
        version=version,
        changed=version != before,
        removed=removed,
        warnings=plan.warnings,
    )


def _choose(project: Project, only: Collection[str] | None) -> list[tuple[Deployment, str]]:
    """Return the deployments to deploy, each with its entrypoint; Prefect skips those without a name.

    They are chosen by name, or by `flow/deployment`, whose flow is checked once it is known.
    """
    named = {deployment.name: deployment for deployment in project.deployments if deployment.name}
    wanted = None if only is None else {_deployment_name(name) for name in only}
    for name in only or ():
        if _deployment_name(name) not in named:
            meant = nearest(_deployment_name(name), named)
            hint = f"did you mean {meant}?" if meant else f"it has {', '.join(named)}."
            raise DeployError(f"{project.path} has no deployment {name!r}; {hint}")
    chosen = [deployment for name, deployment in named.items() if wanted is None or name in wanted]
    if not chosen:
        raise DeployError(f"{project.path} has no deployment with a name; there is nothing to deploy.")
    return [(deployment, _entrypoint(deployment)) for deployment in chosen]


def _deployment_name(name: str) -> str:
    # Prefect allows no `/` in either of them.
    return name.rpartition("/")[2]


def _check_flows_named(lanes: Collection[str], only: Collection[str] | None) -> None:
    for name in only or ():
        if "/" in name and name not in lanes:
            lane = next(lane for lane in lanes if _deployment_name(lane) == _deployment_name(name))
            raise DeployError(f"There is no deployment {name!r}; did you mean {lane}?")


def _entrypoint(deployment: Deployment) -> str:
    if deployment.entrypoint is None:
        raise DeployError(
            f"Deployment {deployment.name} has no `entrypoint`; write it as `flows.module.function`."
        )
    return deployment.entrypoint


def _faults(project: Project, deployment: Deployment, flow: FlowFacts) -> Iterator[Fault]:
    """Yield what is wrong with a deployment now that its flow is known."""
    for schedule, place in zip(deployment.schedules, deployment.places["schedules"], strict=True):
        given = {*deployment.parameters, *(schedule.get("parameters") or {})}
        if unset := [name for name in flow.required if name not in given]:
            yield project.fault(
                place,
                f"deployment {deployment.name} has a schedule that leaves the required parameter {unset[0]!r}"
                f" of flow {flow.name} unset: its runs would all fail. Set it under `parameters` of the"
                " deployment or of the schedule, or give it a default",
            )
    for trigger, place in zip(deployment.kept, deployment.places["triggers"], strict=True):
        given = {*deployment.parameters, *(trigger.parameters or {})}
        if trigger.parameters is None:
            given.add("event")
        if unset := [name for name in flow.required if name not in given]:
            yield project.fault(
                place,
                f"trigger {trigger.name} of deployment {deployment.name} leaves the required parameter"
                f" {unset[0]!r} of flow {flow.name} unset: its runs would all fail. Set it under `parameters`"
                " of the trigger or of the deployment, or give it a default",
            )
    runs = replace(deployment.runs, flow=flow.name)
    for left in deployment.left:
        # Once more, as the flow's real name may be one that `match_related` leaves out or lets in.
        if reason := loop_fault(left.document, runs):
            yield project.fault(
                left.place, f"deployment {deployment.name}, trigger {left.name or '(unnamed)'}: {reason}"
            )


async def _faulty_templates(
    project: Project, deployments: Sequence[Deployment], prefect: Prefect
) -> list[Fault]:
    """Return what Prefect, which is going to render them, finds wrong with the templates of kept triggers."""
    templated = [
        (trigger, place)
        for deployment in deployments
        for trigger, place in zip(deployment.kept, deployment.places["triggers"], strict=True)
        if any(sign in str(trigger.parameters) for sign in ("{{", "{%", "__prefect_kind"))
    ]
    if not templated:
        return []
    found = await prefect.faulty_templates([trigger.parameters or {} for trigger, _ in templated])
    return [
        project.fault(
            place, f"trigger {trigger.name} of deployment {trigger.deployment}: parameters: {reason}"
        )
        for (trigger, place), reason in zip(templated, found, strict=True)
        if reason
    ]


def _in_force(plan: Plan, before: Iterable[Trigger]) -> tuple[Trigger, ...]:
    """Return all triggers, by id: the planned ones, and those of deployments that are not deployed now."""
    deployed = {deployment.name for deployment, _ in plan.deployments}
    others = [trigger for trigger in before if not plan.whole and trigger.deployment not in deployed]
    return tuple(sorted((*others, *plan.triggers), key=lambda trigger: trigger.id))


def _several(ids: Sequence[str]) -> str:
    return f"the trigger {ids[0]}" if len(ids) == 1 else f"{len(ids)} triggers ({', '.join(ids)})"
