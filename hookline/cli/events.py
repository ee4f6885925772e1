"""`hookline events`: list events, and show one."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from hookline.cli.client import Gateway
from hookline.cli.ids import event_id
from hookline.cli.output import Json, clock, console, print_json, print_table, since, status
from hookline.cli.reasons import reason
from hookline.cli.system import find_system
from hookline.cli.tail import tail
from hookline.errors import HooklineError

app = App(
    name="events",
    help="List events, show one, and follow new ones.\n\nExample: hookline events ls --type 'github.*'",
)

app.command(tail, name="tail")


@app.command(name="ls")
def ls(
    *,
    type: Annotated[str | None, Parameter(help="Only this type; a trailing * matches the rest.")] = None,
    source: Annotated[str | None, Parameter(help="Only from this source.")] = None,
    subject: Annotated[str | None, Parameter(help="Only with this subject.")] = None,
    status: Annotated[
        str | None, Parameter(help="Only with this status: accepted, pending, dispatched, ignored or dead.")
    ] = None,
    since: Annotated[
        str | None, Parameter(help="Accepted since a time, or an age such as 15m or 2d.")
    ] = None,
    until: Annotated[str | None, Parameter(help="Accepted before a time, or an age.")] = None,
    limit: Annotated[int, Parameter(help="Maximum number to list.")] = 20,
    ids: Annotated[bool, Parameter(negative="", help="Print only the ids, one per line.")] = False,
    json: Json = False,
) -> None:
    """List events, the newest first.

    Example: hookline events ls --type 'github.*' --status dead --since 2d
    """
    wanted = {
        "type": type,
        "source": source,
        "subject": subject,
        "status": status,
        "since": point_in_time("--since", since),
        "until": point_in_time("--until", until),
    }
    with Gateway(find_system()) as gateway:
        found = list(gateway.pages("/events", "events", wanted, limit))
    if json:
        print_json({"events": found})
    elif ids:
        print("\n".join(event["id"] for event in found))
    else:
        _print_list(found)


@app.command(name="show")
def show(
    id: Annotated[str, Parameter(help="The tracking id, or its last 8 digits.")], *, json: Json = False
) -> None:
    """Show one event: its status, its dispatches and runs, and its receipt.

    Example: hookline events show 01975a0e-5f6c-7d1e-9c57-2f4f3b8f0a11
    """
    with Gateway(find_system()) as gateway:
        document = gateway.get(f"/events/{event_id(gateway, id)}", holds="dispatches")
        why = reason(gateway, document)
    if json:
        print_json(document)
    else:
        _print_event(document, why)


def point_in_time(option: str, given: str | None) -> str | None:
    """Return a time or an age as RFC 3339.

    Raises
    ------
    HooklineError: it is neither; names the option.
    """
    try:
        return None if given is None else since(given).isoformat()
    except ValueError:
        raise HooklineError(
            f"{option} {given!r} is neither a time (2026-11-24T03:00:00Z) nor an age (90s, 15m, 2h, 7d)."
        ) from None


def _print_list(found: list[dict[str, Any]]) -> None:
    print_table(
        ("ID", "ACCEPTED", "TYPE", "SUBJECT", "SOURCE", "STATUS"),
        [
            (
                event["id"],
                clock((event.get("receipt") or {}).get("accepted") or event.get("accepted")),
                event["type"],
                event["subject"] or "",
                event["source"],
                status(event["status"]),
            )
            for event in found
        ],
    )


def _print_event(document: dict[str, Any], why: str) -> None:
    out = console()
    out.print(f"{document['type']}  ", status(document["status"]), sep="")
    if why:
        out.print(f"  {'because':<12} {why}", style="yellow")
    for name in ("id", "source", "source_id", "subject", "time", "duplicates", "erased"):
        if document.get(name):
            out.print(f"  {name:<12} {document[name]}")
    cause = document.get("cause") or {}
    if cause.get("event") or cause.get("flow_run"):
        made = [
            f"{name.replace('_', ' ')} {cause[name]}" for name in ("event", "flow_run") if cause.get(name)
        ]
        out.print(f"  {'cause':<12} {', '.join(made)}")
    for effect in document.get("effects") or []:
        out.print(f"  {'effect':<12} {effect}")
    for step, at in (document.get("receipt") or {}).items():
        if at is not None:
            out.print(f"  {step.replace('_', ' '):<12} {clock(at)}")
    for dispatch in document.get("dispatches") or []:
        out.print()
        out.print(f"dispatch {dispatch['trigger']}  ", status(dispatch["status"]), sep="")
        out.print(f"  {'id':<12} {dispatch['id']}")
        for name in ("replay", "attempts", "reason", "merged_into"):
            if dispatch.get(name):
                out.print(f"  {name.replace('_', ' '):<12} {dispatch[name]}")
        if run := dispatch.get("flow_run"):
            out.print(f"  {'flow run':<12} {run['name']}  ", status(run["state"] or "unknown"), sep="")
            out.print(f"  {'':<12} {run['url']}")
