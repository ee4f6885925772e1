"""`hookline audit`: prove that nothing was lost and nothing was doubled."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hookline.cli.events import point_in_time
from hookline.cli.output import Json, clock, console, print_json
from hookline.cli.system import use_system
from hookline.event import rfc3339

if TYPE_CHECKING:
    from hookline.auditing import Audit
    from hookline.inbox.anchoring import Since
    from hookline.unknown_runs import UnknownRuns


def audit(
    *,
    no_prefect: Annotated[
        bool, Parameter(name="--no-prefect", negative="", help="Look at the inbox alone.")
    ] = False,
    deep: Annotated[
        bool, Parameter(negative="", help="Read every body too, and compare it with its digest.")
    ] = False,
    older_until: Annotated[
        str | None,
        Parameter(help="Until then (a time, or an age) an older version wrote to this inbox too."),
    ] = None,
    anchor: Annotated[
        bool, Parameter(negative="", help="Print an anchor too: a value to keep elsewhere.")
    ] = False,
    since: Annotated[
        str | None,
        Parameter(help="An anchor of before: prove that nothing that it was taken of has changed."),
    ] = None,
    json: Json = False,
) -> int:
    """Verify that every event is accounted for and has its runs.

    Checks the inbox's counts and its chain against its rows, and each started dispatch against Prefect. Exits
    1 and names the rows if something does not add up. It reads the inbox directly, so the gateway does not
    have to be up.

    Example: hookline audit --deep --since 1f0c5a9be240-3-9f86d081884c7d659a2feaa0c55ad015
    """
    settings = use_system()
    older = point_in_time("--older-until", older_until)
    # Imported after the line above: Prefect reads its address when it is imported.
    from hookline.cli.inspection import audit_all

    found, taken = asyncio.run(
        audit_all(
            settings,
            with_prefect=not no_prefect,
            deep=deep,
            older_until=None if older is None else datetime.fromisoformat(older),
            since=since,
            take=anchor,
        )
    )
    if json:
        print_json(_document(found, taken))
    else:
        _print(found, taken)
    return 0 if found.balances else 1


def _print(found: Audit, taken: str | None) -> None:
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
    proof = found.proof
    out.print(f"chain       {proof.links} links since {_time(proof.began)}, {proof.covered} events")
    if proof.before:
        out.print(f"  {'before it':<12}{proof.before}")
    if proof.erased:
        out.print(f"  {'erased':<12}{proof.erased}")
    if found.since is not None and found.since.at is not None:
        out.print(
            f"since       {_time(found.since.at)}: {found.since.accepted} events before it,"
            f" {found.since.pruned} pruned and {found.since.erased} erased since"
        )
    for fault in found.faults:
        out.print(f"does not hold: {fault.rule}", style="bold red")
        for row in fault.ids:
            out.print(f"  {row}", style="red")
        if fault.count > len(fault.ids):
            out.print(f"  and {fault.count - len(fault.ids)} more", style="red")
    for each in found.missing:
        out.print(
            f"missing: dispatch {each.dispatch_id} of event {each.event_id}, run {each.flow_run_id}:"
            f" {each.reason}",
            style="red",
        )
    unknown = found.unknown
    for run in unknown.runs:
        out.print(f"unknown: run {run.flow_run_id} in Prefect: {run.reason}", style="red")
    if unknown.count > len(unknown.runs):
        out.print(f"  and {unknown.count - len(unknown.runs)} more", style="red")
    if unknown.not_looked_at:
        out.print(f"  {unknown.not_looked_at} tagged runs of others in Prefect were not looked at")
    if unknown.newer and unknown.newer_since is not None and unknown.newer_until is not None:
        out.print(
            f"Prefect is newer than this inbox: it has {unknown.newer} runs of events that this inbox never"
            f" had, from {_time(unknown.newer_since)} to {_time(unknown.newer_until)}. Was the inbox restored"
            " from a backup?",
            style="bold red",
        )
    if found.older is not None:
        out.print(
            f"Prefect is older than this inbox: it has none of the {found.older.runs} runs that were started"
            f" after {_time(found.older.since)}. Was Prefect restored from a backup, or were they deleted"
            " there?",
            style="bold red",
        )
    if taken is not None:
        out.print(f"anchor      {taken}")
    out.print("It adds up." if found.balances else "It does not add up.", style="bold")


def _document(found: Audit, taken: str | None) -> dict[str, Any]:
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
        "chain": {
            "began": rfc3339(found.proof.began),
            "links": found.proof.links,
            "events": found.proof.covered,
            "before": found.proof.before,
            "erased": found.proof.erased,
        },
        "unknown": found.unknown.count,
        "unknown_runs": [{"flow_run": run.flow_run_id, "reason": run.reason} for run in found.unknown.runs],
        "forgotten": found.unknown.forgotten,
        "not_looked_at": found.unknown.not_looked_at,
        "prefect_newer": _newer(found.unknown),
        "prefect_older": found.older and {"since": rfc3339(found.older.since), "runs": found.older.runs},
        "since": _since(found.since),
        "anchor": taken,
        "faults": [
            {"rule": fault.rule, "rows": list(fault.ids), "count": fault.count} for fault in found.faults
        ],
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


def _newer(unknown: UnknownRuns) -> dict[str, Any] | None:
    if unknown.newer_since is None or unknown.newer_until is None:
        return None
    return {
        "runs": unknown.newer,
        "since": rfc3339(unknown.newer_since),
        "until": rfc3339(unknown.newer_until),
    }


def _since(since: Since | None) -> dict[str, Any] | None:
    if since is None:
        return None
    return {
        "at": None if since.at is None else rfc3339(since.at),
        "events": since.accepted,
        "pruned": since.pruned,
        "erased": since.erased,
        "unchanged": not since.faults,
    }


def _time(moment: datetime) -> str:
    return clock(moment.isoformat())
