"""`hookline deploy`: deploy the project's flows and put their triggers into force."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hookline.cli.inbox import check_password
from hookline.cli.output import Json, console, print_json
from hookline.cli.system import use_system

if TYPE_CHECKING:
    from hookline.deploying import DeployReport


def deploy(
    *names: Annotated[str, Parameter(help="Deployments to deploy; without any, all of the file.")],
    file: Annotated[Path, Parameter(help="The project file.")] = Path("prefect.yaml"),
    wait: Annotated[float, Parameter(help="Seconds to wait for the Prefect server.")] = 0,
    create_pool: Annotated[
        bool, Parameter(help="Make the work pool warm if there is none.", negative="")
    ] = False,
    json: Json = False,
) -> None:
    """Deploy the flows of prefect.yaml and put their triggers in force.

    Where PREFECT_API_URL is not set, the server of the system that runs in this folder is used.

    Example: hookline deploy
    """
    settings = use_system()
    check_password(settings)
    # Imported after the line above: Prefect reads its address when it is imported.
    from hookline.cli.deployment import deploy_project

    def tell(line: str) -> None:
        if not json:
            console().print(line, style="dim")

    report = asyncio.run(
        deploy_project(
            settings, file, names, wait=timedelta(seconds=wait), create_pool=create_pool, tell=tell
        )
    )
    if json:
        print_json(_document(report))
    else:
        _print_report(report)


def _print_report(report: DeployReport) -> None:
    out = console()
    for lane in report.deployments:
        out.print(f"deployed  {lane}")
    for trigger in report.kept:
        out.print(f"trigger   {trigger.id}")
    for left in report.left:
        out.print(f"Prefect's {left.deployment}/{left.name or '(unnamed)'}: {left.reason}")
    for warning in report.warnings:
        out.print(f"warning   {warning}", style="yellow")


def _document(report: DeployReport) -> dict[str, Any]:
    return {
        "deployments": list(report.deployments),
        "kept": [trigger.id for trigger in report.kept],
        "left": [
            {"deployment": left.deployment, "trigger": left.name, "reason": left.reason}
            for left in report.left
        ],
        "version": report.version,
        "changed": report.changed,
        "warnings": list(report.warnings),
    }
