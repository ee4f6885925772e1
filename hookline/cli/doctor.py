"""`hookline doctor`: is everything there, and how long do events take?"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from rich.text import Text

from hookline.cli.client import Gateway
from hookline.cli.inbox import open_inbox
from hookline.cli.output import Json, console, print_json, print_table
from hookline.cli.system import System, find_system, use_prefect
from hookline.doctor import LIMIT_SECONDS, Check, Doctor, GatewayReport, Latency
from hookline.settings import without_user

if TYPE_CHECKING:
    from hookline.prefect_api import PrefectApi

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}
#: So wide that most names fit, since lines are printed before all names are known.
_NAME_WIDTH = 28


def doctor(*, json: Json = False) -> int:
    """Check everything that events depend on.

    The gateway and its sources, inbox and disk, Prefect's version and clock, deployments, pools and workers,
    automations that never fire, and what waits; then how long the newest finished runs took. Each check is
    printed as it comes, and one that hangs is given up after some seconds. Exits 1 where a check failed.

    Example: hookline doctor
    """
    return asyncio.run(_doctor(find_system(), json=json))


async def _doctor(system: System, *, json: bool) -> int:
    doctor = Doctor(
        system.settings,
        gateway=without_user(system.gateway),
        ask_gateway=lambda: _ask(system),
        open_inbox=lambda: open_inbox(system.settings),
        load_prefect=lambda: _load_prefect(system),
    )
    checks: list[Check] = []
    async for check in doctor.examine():
        checks.append(check)
        if not json:
            _print(check)
    if json:
        latencies = [_latency_document(each) for each in doctor.latencies]
        print_json({"checks": [_document(check) for check in checks], "latencies": latencies})
    else:
        _print_latencies(doctor.latencies)
    code = 1 if any(check.verdict == "failed" for check in checks) else 0
    if doctor.hangs:
        # A thread that waits for ever, in a database's driver say, would keep this process from ending.
        sys.stdout.flush()
        os._exit(code)
    return code


def _ask(system: System) -> GatewayReport:
    with Gateway(system, timeout_seconds=LIMIT_SECONDS) as gateway:
        return GatewayReport(gateway.readiness(), gateway.get("/sources", holds="sources"))


def _load_prefect(system: System) -> tuple[type[PrefectApi], str]:
    use_prefect(system)
    # Imported after the line above: Prefect reads its address when it is imported.
    from hookline.prefect_api import PrefectApi, require_address

    return PrefectApi, without_user(require_address())


def _print(check: Check) -> None:
    line = Text(f"{check.name:<{_NAME_WIDTH}}  ")
    line.append(f"{check.verdict.value:<8}", style=_STYLES[check.verdict]).append(check.detail)
    console().print(line)
    sys.stdout.flush()


def _print_latencies(latencies: list[Latency]) -> None:
    for each in latencies:
        console().print(f"\n{each.count} runs {each.runs}, the newest that are finished", style="bold")
        parts = list(next(iter(each.seconds.values())))
        print_table(
            ("FROM ACCEPTED TO", *(f"P{part * 100:g}" for part in parts)),
            [
                (step.replace("_", " "), *(f"{seconds[part] * 1000:.0f} ms" for part in parts))
                for step, seconds in each.seconds.items()
            ],
        )


def _latency_document(latency: Latency) -> dict[str, Any]:
    seconds = {
        step: {f"p{part * 100:g}": value for part, value in found.items()}
        for step, found in latency.seconds.items()
    }
    return {"runs": latency.runs, "count": latency.count, "seconds": seconds}


def _document(check: Check) -> dict[str, Any]:
    return {"name": check.name, "verdict": check.verdict.value, "detail": check.detail}
