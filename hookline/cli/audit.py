"""`hookline audit`: prove that nothing was lost and nothing was doubled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hookline.cli.output import Json, console, print_json
from hookline.cli.system import use_system

if TYPE_CHECKING:
    from hookline.auditing import Audit


def audit(
    *,
    no_prefect: Annotated[
        bool, Parameter(name="--no-prefect", negative="", help="Look at the inbox alone.")
    ] = False,
    json: Json = False,
) -> int:
    """Prove that every event is accounted for, and has its runs.

    Holds the inbox's counts against its rows, and each started dispatch against Prefect. Exits 1 and names
    the rows where something does not add up. It reads the inbox itself, so the gateway need not be up.

    Example: hookline audit --json
    """
    settings = use_system()
    # Imported after the line above: Prefect reads its address when it is imported.
    from hookline.cli.inspection import audit_all

    found = asyncio.run(audit_all(settings, with_prefect=not no_prefect))
    if json:
        print_json(_document(found))
    else:
        _print(found)
    return 0 if found.balances else 1


def _print(found: Audit) -> None:
    out, books = console(), found.books
    out.print(f"received    {books.received}")
    for status in ("accepted", "pending", "dispatched", "ignored", "dead"):
        out.print(f"  {status:<12}{books.by_status.get(status, 0)}")
    for status, count in sorted(books.pruned.items()):
        out.print(f"  {status}, pruned  {count}")
    out.print(f"duplicates  {books.duplicates}")
    out.print(f"rejections  {books.rejections}")
    if found.runs is not None:
        out.print(f"runs        {found.runs} started, {found.gone} gone, {found.missing_count} missing")
    for fault in found.faults:
        out.print(f"does not hold: {fault.rule}", style="bold red")
        for row in fault.ids:
            out.print(f"  {row}", style="red")
    for each in found.missing:
        out.print(
            f"missing: dispatch {each.dispatch_id} of event {each.event_id}, run {each.flow_run_id}:"
            f" {each.reason}",
            style="red",
        )
    out.print("It adds up." if found.balances else "It does not add up.", style="bold")


def _document(found: Audit) -> dict[str, Any]:
    books = found.books
    return {
        "balances": found.balances,
        "received": books.received,
        "events": books.by_status,
        "pruned": books.pruned,
        "dispatches": books.dispatches,
        "duplicates": books.duplicates,
        "rejections": books.rejections,
        "runs": found.runs,
        "gone": found.gone,
        "missing": found.missing_count,
        "faults": [{"rule": fault.rule, "rows": list(fault.ids)} for fault in found.faults],
        "missing_runs": [
            {
                "dispatch": each.dispatch_id,
                "event": each.event_id,
                "flow_run": each.flow_run_id,
                "reason": each.reason,
            }
            for each in found.missing
        ],
    }
