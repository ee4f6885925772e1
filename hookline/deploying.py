"""`hookline deploy`: Prefect deploys the project, and the inbox gets the triggers that Hookline keeps."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from hookline.errors import DeployError, PrefectRefused
from hookline.faults import Fault, in_order
from hookline.flow_facts import FlowFacts, ask_flows
from hookline.nearest import nearest
from hookline.triggers import Trigger
from hookline.triggers.keeping import RESERVED_PREFIXES
from hookline.triggers.project import Deployment, LeftTrigger, Project, read_project
from hookline.triggers.reading import loop_fault
from hookline.triggers.rendering import template_names

#: What is shown of Prefect's output when it fails.
_OUTPUT_CHARACTERS = 4000
#: Build steps print what they like.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_DEPLOYED = re.compile(r"Deployment '([^']+)' successfully created")


class TriggerStore(Protocol):
    """What deploying needs of the inbox."""

    async def save_trigger_set(self, triggers: Sequence[Trigger]) -> int: ...

    async def trigger_set(self) -> tuple[int, list[dict[str, Any]]]: ...


class PrefectSide(Protocol):
    """What deploying needs of the Prefect server."""

    async def deployment(self, lane: str) -> object: ...

    async def pool_limit(self, work_pool: str) -> int | None: ...


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
    def warnings(self) -> tuple[str, ...]:
        """Return what is allowed and probably not meant."""
        unnamed = sum(deployment.name is None for deployment in self.project.deployments)
        return (
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
    warnings: what is allowed and probably not meant.
    """

    deployments: tuple[str, ...]
    kept: tuple[Trigger, ...]
    left: tuple[LeftTrigger, ...]
    version: int
    changed: bool
    warnings: tuple[str, ...] = ()


async def deploy(
    path: Path,
    inbox: TriggerStore,
    prefect: PrefectSide,
    *,
    only: Collection[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    environment: Mapping[str, str] | None = None,
) -> DeployReport:
    """Deploy a project: its deployments to Prefect, its triggers to Prefect or the inbox.

    Parameters
    ----------
    path: the `prefect.yaml`.
    inbox: gets the triggers that Hookline keeps, as a new version if anything changed.
    prefect: the server that `environment` names too.
    only: names of deployments; None deploys all of the file.
    progress: called with one line at each step.
    environment: of the processes that are started, and of `{{ $NAME }}`; None is this process's own.

    Raises
    ------
    DeployError: a check failed; Prefect and the inbox are as before.
    DeployError: Prefect refused; some deployments may have been made, the inbox is as before.
    """
    environment = os.environ if environment is None else environment
    plan = await plan_deploy(path, only=only, progress=progress, environment=environment)
    return await carry_out(plan, inbox, prefect, progress=progress, environment=environment)


async def plan_deploy(
    path: Path,
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
    project = read_project(path, environment, template_names)
    chosen = _choose(project, only)
    progress(f"Importing the flows of {len(chosen)} deployments")
    flows = await ask_flows(project.folder, [entrypoint for _, entrypoint in chosen], environment)
    planned = tuple((deployment, flows[entrypoint]) for deployment, entrypoint in chosen)
    _check_flows_named([f"{flow.name}/{deployment.name}" for deployment, flow in planned], only)
    if faults := [fault for deployment, flow in planned for fault in _faults(project, deployment, flow)]:
        raise DeployError(*in_order(faults))
    return Plan(project, planned, whole=only is None)


async def carry_out(
    plan: Plan,
    inbox: TriggerStore,
    prefect: PrefectSide,
    *,
    progress: Callable[[str], None] = lambda _: None,
    environment: Mapping[str, str] = os.environ,
) -> DeployReport:
    """Deploy what was planned.

    Raises
    ------
    DeployError: a work pool is missing, or Prefect refused.
    """
    await _check_pools(plan, prefect)
    progress("Deploying with Prefect")
    await _prefect_deploy(plan, progress, environment)
    lanes = tuple(f"{flow.name}/{deployment.name}" for deployment, flow in plan.deployments)
    await _check_deployed(lanes, prefect)
    before, _ = await inbox.trigger_set()
    triggers = await _in_force(plan, inbox)
    version = await inbox.save_trigger_set(triggers)
    progress(f"{len(triggers)} triggers in force (version {version})")
    return DeployReport(
        deployments=lanes,
        kept=triggers,
        left=tuple(trigger for deployment, _ in plan.deployments for trigger in deployment.left),
        version=version,
        changed=version != before,
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


async def _check_pools(plan: Plan, prefect: PrefectSide) -> None:
    pools = {deployment.work_pool: deployment.name for deployment, _ in reversed(plan.deployments)}
    for pool, deployment_name in pools.items():
        # Without a name it is Prefect's default pool; a template is Prefect's to fill in.
        if pool is None or "{{" in pool:
            continue
        try:
            await prefect.pool_limit(pool)
        except PrefectRefused as refused:
            if refused.status != 404:
                raise
            raise DeployError(
                f"Deployment {deployment_name} wants the work pool {pool!r}, which the Prefect server does"
                f" not have. Make it with `prefect work-pool create {pool} --type warm` (or another type)."
            ) from None


async def _check_deployed(lanes: Sequence[str], prefect: PrefectSide) -> None:
    for lane in lanes:
        try:
            await prefect.deployment(lane)
        except PrefectRefused as refused:
            raise DeployError(f"`prefect deploy` succeeded, yet Prefect has no {lane}: {refused}") from None


async def _in_force(plan: Plan, inbox: TriggerStore) -> tuple[Trigger, ...]:
    """Return all triggers, by id: the planned ones, and those of deployments that are not deployed now."""
    others: list[Trigger] = []
    if not plan.whole:
        deployed = {deployment.name for deployment, _ in plan.deployments}
        _, documents = await inbox.trigger_set()
        kept_before = [Trigger.from_dict(document) for document in documents]
        others = [trigger for trigger in kept_before if trigger.deployment not in deployed]
    return tuple(sorted((*others, *plan.triggers), key=lambda trigger: trigger.id))


async def _prefect_deploy(
    plan: Plan, progress: Callable[[str], None], environment: Mapping[str, str]
) -> None:
    """Run `prefect deploy --all` on a copy of the project file without the kept triggers.

    Raises
    ------
    DeployError: Prefect refused; holds the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="hookline-deploy-") as folder:
        # Outside the project: a deploy that is killed leaves nothing behind in the user's tree.
        copy = Path(folder) / "prefect.yaml"
        copy.write_text(plan.project.for_prefect([deployment for deployment, _ in plan.deployments]))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(copy),
            cwd=plan.project.folder,
            env={
                **environment,
                # Long lines and no colours, so that the output can be read back.
                "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb",
                "PREFECT_CLI_WRAP_LINES": "false",
                # Importing the flows must leave nothing in the user's tree.
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE_BYTES,
        )  # fmt: skip
        output: list[str] = []
        try:
            assert child.stdout is not None  # noqa: S101 - it was asked for as a pipe; this tells the type checker
            async for line in child.stdout:
                text = _ANSI.sub("", line.decode(errors="replace"))
                output.append(text)
                if deployed := _DEPLOYED.search(text):
                    progress(f"Deployed {deployed[1]}")
            code = await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    if code:
        raise DeployError(f"`prefect deploy` failed:\n{_tail(output)}")


def _tail(output: Sequence[str]) -> str:
    return "".join(output)[-_OUTPUT_CHARACTERS:].strip()
