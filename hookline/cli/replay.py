"""`hookline replay`: accepted events once more, through the current triggers."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import Parameter

from hookline.cli.client import Gateway
from hookline.cli.events import point_in_time
from hookline.cli.ids import event_id
from hookline.cli.output import Json, console, print_json, print_table, status
from hookline.cli.system import find_system
from hookline.errors import HooklineError

#: How often a replay that is under way is asked for.
ASK_SECONDS = 0.5
#: A dry run of very many events takes a while.
PATIENCE_SECONDS = 120.0
#: What the answer to a replay of one event holds, by whether it was a dry run.
HOLDS = {True: "would_start", False: "dispatches"}

Rate = Annotated[float | None, Parameter(help="Maximum number of events per second.")]
DryRun = Annotated[
    bool, Parameter(name="--dry-run", negative="", help="Show what would start, without starting anything.")
]
Background = Annotated[
    bool,
    Parameter(name="--background", negative="", help="Do not wait for a replay of many events to finish."),
]


def replay(
    id: Annotated[
        str | None, Parameter(help="The tracking id or its end; or search with the options.")
    ] = None,
    *,
    type: Annotated[str | None, Parameter(help="Events of this type; a trailing * matches the rest.")] = None,
    source: Annotated[str | None, Parameter(help="Events from this source.")] = None,
    subject: Annotated[str | None, Parameter(help="Events with this subject.")] = None,
    status: Annotated[str | None, Parameter(help="Pending, dispatched, ignored or dead events.")] = None,
    since: Annotated[
        str | None, Parameter(help="Accepted since a time, or an age such as 15m or 2d.")
    ] = None,
    until: Annotated[str | None, Parameter(help="Accepted before a time, or an age.")] = None,
    trigger: Annotated[
        str | None,
        Parameter(
            help="Only this trigger, flow/deployment/name; by default all current triggers that match."
        ),
    ] = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    background: Background = False,
    json: Json = False,
) -> None:
    """Replay one event, or all events matching a search.

    They are matched against the current triggers, and each match becomes a new dispatch with its own run. A
    replay of many events continues in the gateway when this command ends, and after a restart.

    Example: hookline replay --type 'github.*' --since 2d --rate 20 --dry-run
    """
    search = {
        "type": type,
        "source": source,
        "subject": subject,
        "status": status,
        "since": point_in_time("--since", since),
        "until": point_in_time("--until", until),
    }
    searching = any(value is not None for value in search.values())
    if (id is None) is not searching:
        raise HooklineError(
            "Specify the events: a tracking id, or a search such as --type 'github.*' --since 2d."
        )
    wishes = {"trigger": trigger, "dry_run": dry_run or None}
    with Gateway(find_system()) as gateway:
        if id is not None:
            show(
                gateway.post(f"/events/{event_id(gateway, id)}/replay", given(wishes), holds=HOLDS[dry_run]),
                json=json,
            )
        else:
            begin(gateway, "/replays", {**search, **wishes, "rate": rate}, background=background, json=json)


def begin(gateway: Gateway, path: str, wishes: dict[str, Any], *, background: bool, json: bool) -> None:
    """Ask for a replay of many, and tell what became of it."""
    patience = 0.0
    if wishes.get("dry_run"):
        # It may take long to look at many events; whether anybody is there is known at once.
        gateway.readiness()
        patience = PATIENCE_SECONDS
    document = gateway.post(path, given(wishes), holds="events", wait_seconds=patience)
    while not background and document.get("status") == "running":
        time.sleep(ASK_SECONDS)
        document = gateway.get(f"/replays/{document['id']}", holds="status")
    show(document, json=json)


def given(wishes: dict[str, Any]) -> dict[str, Any]:
    """Return the wishes that were made."""
    return {name: value for name, value in wishes.items() if value is not None}


def show(document: dict[str, Any], *, json: bool) -> None:
    """Print the gateway's answer: what would start, what was made, or how far a replay is."""
    if json:
        print_json(document)
    elif document.get("dry_run"):
        _print_preview(document)
    elif "dispatches" in document and "of" not in document:
        _print_made(document["dispatches"])
    else:
        _print_progress(document)


def _print_preview(preview: dict[str, Any]) -> None:
    out = console()
    events = "1 event" if preview["events"] == 1 else f"{preview['events']} events"
    seen = events if preview["complete"] else f"the first {events}"
    out.print(f"A replay would look at {seen}; nothing was started.")
    for trigger, count in sorted(preview["would_start"].items()):
        out.print(f"  starts  {count:>7}  {trigger}")
    for trigger, count in sorted(preview["would_die"].items()):
        out.print(f"  dies    {count:>7}  {trigger}")
        reasons = (o["reason"] for o in preview["outcomes"] if o["dies"] and o["trigger"] == trigger)
        if reason := next(reasons, None):
            out.print(f"                   {reason}")
    for name, text in (
        ("without_match", "match no current trigger"),
        ("without_body", "have had their data pruned"),
    ):
        if preview[name]:
            out.print(f"          {preview[name]:>7}  {text}")
    kept_out = [o for o in preview["outcomes"] if not o["starts"] and not o["dies"]]
    # The first of each trigger: the events of one search are often filtered for the same reason.
    for trigger, reason in {o["trigger"]: o["reason"] for o in reversed(kept_out)}.items():
        out.print(f"                   {trigger}: {reason}")


def _print_made(dispatches: list[dict[str, Any]]) -> None:
    if not dispatches:
        console().print("No current trigger expects this event; nothing was started.")
        return
    print_table(
        ("DISPATCH", "REPLAY", "TRIGGER", "STATUS", "REASON"),
        [
            (each["id"], str(each["replay"]), each["trigger"], status(each["status"]), each["reason"] or "")
            for each in dispatches
        ],
    )


def _print_progress(document: dict[str, Any]) -> None:
    out = console()
    out.print(f"replay {document['id']}  ", status(document["status"]), sep="")
    out.print(f"  events      {document['events']}")
    out.print(f"  dispatches  {document['dispatches']}")
    for name in ("without_match", "without_body"):
        if document[name]:
            out.print(f"  {name.replace('_', ' '):<12}{document[name]}")
    if document["status"] == "running":
        out.print("It continues in the gateway.")
