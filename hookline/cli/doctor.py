"""`hookline doctor`: is everything there, and how long do events take?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rich.text import Text

from hookline.cli.output import Json, print_json, print_table
from hookline.cli.system import use_system

if TYPE_CHECKING:
    from hookline.doctor import Check

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(*, json: Json = False) -> int:
    """Check everything that an event needs on its way.

    Inbox and disk, Prefect's version and clock, deployments, pools and workers, sources without secrets,
    automations that never fire, and what waits; then how long the newest events took. Exits 1 where a check
    failed.

    Example: hookline doctor
    """
    settings = use_system()
    # Imported after the line above: Prefect reads its address when it is imported.
    from hookline.cli.inspection import examine_all

    checks, durations = asyncio.run(examine_all(settings))
    if json:
        print_json({"checks": [_document(check) for check in checks], "receipts_seconds": _named(durations)})
    else:
        print_table(
            ("CHECK", "", "FOUND"),
            [
                (each.name, Text(each.verdict.value, style=_STYLES[each.verdict]), each.detail)
                for each in checks
            ],
        )
        _print_receipts(durations)
    return 1 if any(check.verdict == "failed" for check in checks) else 0


def _print_receipts(durations: dict[str, dict[float, float]]) -> None:
    if not durations:
        return
    parts = list(next(iter(durations.values())))
    print_table(
        ("FROM ACCEPTED TO", *(f"P{part * 100:g}" for part in parts)),
        [
            (step.replace("_", " "), *(f"{seconds[part] * 1000:.0f} ms" for part in parts))
            for step, seconds in durations.items()
        ],
    )


def _named(durations: dict[str, dict[float, float]]) -> dict[str, dict[str, float]]:
    return {
        step: {f"p{part * 100:g}": value for part, value in seconds.items()}
        for step, seconds in durations.items()
    }


def _document(check: Check) -> dict[str, Any]:
    return {"name": check.name, "verdict": check.verdict.value, "detail": check.detail}
