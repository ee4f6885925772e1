"""`hookline up`: a Prefect server, the gateway and a warm worker, from nothing to a first traced event."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.tree import Tree

from hookline.cli import lineage, services
from hookline.cli.client import Gateway, GatewayError, host_of
from hookline.cli.data_folder import locked, write_running
from hookline.cli.examples import enter_command, event_curl, github_curl, prepare_sample, tracking_curl
from hookline.cli.output import console
from hookline.cli.progress import Progress
from hookline.cli.reasons import reasons
from hookline.cli.services import Plan
from hookline.cli.system import System, bound_url, record
from hookline.cli.trace import await_final, print_tree
from hookline.errors import HooklineError, InboxError
from hookline.settings import Settings, load_settings, without_user
from hookline.sources import load_sources
from hookline.sources.development import missing_secrets
from hookline.supervisor import Service, Supervisor

#: How long the sample event may take on a machine that is busy starting up.
SAMPLE_PATIENCE = timedelta(seconds=60)


def up(
    *,
    server: Annotated[
        str | None, Parameter(help="Address of an existing Prefect server to use instead of starting one.")
    ] = None,
    no_sample: Annotated[bool, Parameter(help="Do not send the sample event.", negative="")] = False,
) -> int:
    """Start a Prefect server, the gateway and a warm worker, and stay up until Ctrl-C.

    Deploys the project, sends its sample event and shows the trace. With --server it uses that Prefect
    server, changes no work pool there and sends no sample.

    Example: HOOKLINE_PORT=4281 HOOKLINE_PREFECT_PORT=4201 HOOKLINE_DATA=.second hookline up --no-sample
    """
    if not Path("prefect.yaml").exists():
        raise HooklineError(
            "There is no prefect.yaml here. Go to the project's folder, or create one with `hookline init`."
        )
    if server is not None and host_of(server) is None:
        raise HooklineError(
            f"{without_user(server)!r} is no address of a Prefect server; write http://host:port."
        )
    settings = load_settings()
    with locked(settings.data):
        plan = Plan(settings, server, made_up_secrets(settings))
        sockets = services.listen(plan)
        # Before the gateway starts, which reads there what it is to say that it is.
        write_running(plan.data, _facts(plan, {}))
        return asyncio.run(_up(plan, sockets, sample=not no_sample and server is None))


def made_up_secrets(settings: Settings) -> Mapping[str, str]:
    """Return the development secrets that the gateway is going to make up, or has.

    Only on the loopback: elsewhere a source without its secret stays shut.
    """
    if not settings.on_loopback:
        return {}
    return missing_secrets(load_sources(settings.sources, os.environ), settings.data)


async def _up(plan: Plan, sockets: Sequence[socket.socket], *, sample: bool) -> int:
    out = console()
    stop = asyncio.Event()

    def changed(pids: Mapping[str, int]) -> None:
        # With the disk full all goes on, and what was written before says where it is.
        with contextlib.suppress(InboxError):
            write_running(plan.data, _facts(plan, pids))

    async with Supervisor(say=lambda line: out.print(line, style="yellow"), changed=changed) as supervisor:

        def on_signal() -> None:
            if stop.is_set():
                supervisor.kill()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)
        starting = asyncio.create_task(_start(plan, sockets, supervisor, out, sample=sample))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await stop.wait()
        out.print("Stopping. Runs in progress may finish; press Ctrl-C again to stop immediately.")
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    return 0


@dataclass(frozen=True)
class _Traced:
    """The sample event, and what became of it."""

    event: dict[str, Any]
    id: str
    tree: Tree


async def _start(
    plan: Plan, sockets: Sequence[socket.socket], supervisor: Supervisor, out: Console, *, sample: bool
) -> None:
    """Start everything, what can be at the same time, and tell what there is."""
    with Progress(out) as progress:
        try:
            async with asyncio.TaskGroup() as group:
                gateway = services.gateway(plan, sockets)
                group.create_task(_keep(gateway, supervisor, progress, plan.settings.gateway_url))
                # Deploying begins with importing the flows, while the server is still starting.
                deploying = group.create_task(_deploy(plan, supervisor, progress, out))
                if plan.server is None:
                    await _keep(services.server(plan), supervisor, progress, plan.prefect_url)
                await _keep(services.worker(plan), supervisor, progress, f"pool {services.POOL}")
        except* (HooklineError, OSError) as failures:
            raise failures.exceptions[0] from None
        traced = await _sample(plan, progress, out) if sample and deploying.result() else None
    _introduce(plan, out, traced)


async def _keep(service: Service, supervisor: Supervisor, progress: Progress, detail: str) -> None:
    with progress.step(service.name) as step:
        await supervisor.start(service, tell=lambda what: progress.tell(step, what))
        step.detail = detail


async def _deploy(plan: Plan, supervisor: Supervisor, progress: Progress, out: Console) -> bool:
    """Deploy the project; where that fails say why, and leave the rest running."""
    log = plan.data / "logs" / "deploy.log"
    with progress.step("Deployments") as step:
        code = await supervisor.run(
            services.deploy_command(own_server=plan.server is None, own_inbox=not plan.settings.database),
            env=plan.environment(),
            log=log,
        )
        lines = log.read_text(errors="replace").splitlines()
        deployed = [line.removeprefix("deployed").strip() for line in lines if line.startswith("deployed ")]
        step.detail = ", ".join(deployed) if code == 0 else "could not be deployed"
    for line in lines:
        if line.startswith(("removed ", "warning ")):
            out.print(line, style="yellow", markup=False)
    if code != 0:
        out.print("\n".join(lines[-20:]), style="red")
        out.print("Fix it and run `hookline deploy`; everything else is running.")
    return code == 0


async def _sample(plan: Plan, progress: Progress, out: Console) -> _Traced | None:
    """Send the project's sample event; return it with its trace."""
    event = prepare_sample(plan.data)
    if event is None:
        return None

    def send() -> _Traced:
        with Gateway(_system(plan)) as gateway:
            event_id = gateway.post("/events", event)["id"]
            graph = await_final(gateway, event_id, SAMPLE_PATIENCE)
            tree = lineage.draw(graph, reasons(gateway, graph))[0]
            return _Traced(event, event_id, tree)

    with progress.step("Sample event") as step:
        step.detail = event["type"]
        try:
            return await asyncio.to_thread(send)
        except GatewayError as refused:
            step.detail = f"{event['type']} was not sent: {refused}"
            return None


def _introduce(plan: Plan, out: Console, traced: _Traced | None) -> None:
    """Tell where everything is and what to do next: what is printed can be pasted into a second shell."""
    gateway = bound_url(plan.settings)
    key_wanted = bool(plan.settings.api_keys)
    github = load_sources(plan.settings.sources, {**os.environ, **plan.secrets}).get("github")
    event = prepare_sample(plan.data) or {"type": "hello.world", "data": {"name": "you"}}
    event_id = "ID"
    if traced is not None:
        event, event_id = traced.event, traced.id
        out.print("\nThe sample event and its trace:", style="bold")
        print_tree(traced.tree)
    out.print("\nIn a second shell, let `hookline` and `prefect` find this system:", style="bold")
    _print_raw(enter_command(plan.data))
    out.print("\nSend an event:", style="bold")
    _print_raw(event_curl(gateway, event, key_wanted=key_wanted))
    if github and github.secrets and github.recipe_name == "github" and plan.settings.on_loopback:
        out.print("\nSend a push event as GitHub does, signed with this machine's secret:", style="bold")
        _print_raw(github_curl(gateway, github))
    out.print("\nThen follow it by its tracking id:", style="bold")
    _print_raw(tracking_curl(gateway, event_id, key_wanted=key_wanted))
    _print_raw(f"hookline trace {event_id}")
    out.print("\nHookline is up.", style="bold green")
    out.print(f"  Events  {gateway}\n  Runs    {plan.prefect_url}\n  Data    {plan.data}")
    out.print("Ctrl-C stops everything.")


def _print_raw(command: str) -> None:
    """Print a command so that it can be pasted: not wrapped, marked up or coloured."""
    print(f"  {command}", file=sys.stdout, flush=True)


def _facts(plan: Plan, pids: Mapping[str, int]) -> dict[str, Any]:
    return {
        **record(plan.settings, "hookline up", plan.instance, plan.prefect_environment()),
        "prefect": plan.prefect_url,
        "secrets": sorted(plan.secrets),
        "processes": dict(pids),
    }


def _system(plan: Plan) -> System:
    return System(plan.settings, _facts(plan, {}), bound_url(plan.settings), plan.instance)
