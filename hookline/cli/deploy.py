"""`hookline deploy`: deploy the project's flows and put their triggers into force."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hookline.cli.inbox import check_password
from hookline.cli.output import Json, console, print_json
from hookline.cli.system import use_system
from hookline.errors import HooklineError

if TYPE_CHECKING:
    from hookline.deploying import DeployReport


def deploy(
    *names: Annotated[str, Parameter(help="Deployments to deploy; by default all in the file.")],
    file: Annotated[Path, Parameter(help="The project file.")] = Path("prefect.yaml"),
    wait: Annotated[float, Parameter(help="Seconds to wait for the Prefect server.")] = 0,
    create_pool: Annotated[
        bool, Parameter(help="Create the work pool warm if it does not exist.", negative="")
    ] = False,
    prune: Annotated[
        bool,
        Parameter(help="Remove triggers that are no longer in the file, without asking.", negative=""),
    ] = False,
    json: Json = False,
) -> None:
    """Deploy the flows of prefect.yaml and put their triggers in force.

    Triggers that are in force but no longer in the file are listed, and removed if you agree: you are asked
    at a terminal, and --prune is needed elsewhere. With names, only the triggers of those deployments
    change. Deploys wait for each other.

    Where PREFECT_API_URL is not set, the server of the system that runs in this folder is used.

    Example: hookline deploy
    """
    settings = use_system()
    # Before anything is laid into the folder: it may be the wrong one.
    if not file.exists():
        raise HooklineError(
            f"There is no {file} here. Go to the project's folder, or create one with `hookline init`."
        )
    check_password(settings)
    # Imports the inbox and its database's driver, which no `--help` has to wait for.
    from hookline.cli.deployment import deploy_project

    asked = sys.stdin.isatty() and sys.stdout.isatty() and not json

    async def agree(ids: Sequence[str]) -> bool:
        return prune or (asked and await _ask(ids))

    def tell(line: str) -> None:
        if not json:
            # At once, in a pipe too: a deploy takes seconds, and somebody may be waiting.
            console().print(line, style="" if line.startswith("deployed ") else "dim", markup=False)
            sys.stdout.flush()

    report = asyncio.run(
        deploy_project(
            settings,
            file,
            names,
            wait=timedelta(seconds=wait),
            create_pool=create_pool,
            agree=agree,
            tell=tell,
        )
    )
    if json:
        print_json(_document(report))
    else:
        _print_report(report)


async def _ask(ids: Sequence[str]) -> bool:
    """Ask at the terminal whether triggers may be taken away."""
    for id in ids:
        print(f"in force, and not in the file any more: {id}")
    print("Take away? [y/N] ", end="", flush=True)
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Unlike `input()`, this can be interrupted.
    loop.add_reader(sys.stdin, answered.set)
    try:
        await answered.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print_report(report: DeployReport) -> None:
    """Print what is in force; the deployments were told as they were made."""
    out = console()
    for id in report.removed:
        out.print(f"removed   {id}", style="yellow", markup=False)
    for trigger in report.kept:
        out.print(f"trigger   {trigger.id}", markup=False)
    for left in report.left:
        out.print(f"Prefect's {left.deployment}/{left.name or '(unnamed)'}: {left.reason}", markup=False)
    for warning in report.warnings:
        out.print(f"warning   {warning}", style="yellow", markup=False)
    noun = "trigger" if len(report.kept) == 1 else "triggers"
    out.print(f"{len(report.kept)} {noun} in force (version {report.version})", markup=False)


def _document(report: DeployReport) -> dict[str, Any]:
    return {
        "deployments": list(report.deployments),
        "removed": list(report.removed),
        "kept": [trigger.id for trigger in report.kept],
        "left": [
            {"deployment": left.deployment, "trigger": left.name, "reason": left.reason}
            for left in report.left
        ],
        "version": report.version,
        "changed": report.changed,
        "warnings": list(report.warnings),
    }
