"""`hookline dead`: dispatches that gave up, and replaying them."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.text import Text

from hookline.cli.client import Gateway
from hookline.cli.events import point_in_time
from hookline.cli.ids import dead_letter_id
from hookline.cli.output import Json, clock, print_json, print_table
from hookline.cli.replay import HOLDS, Background, DryRun, Rate, begin, given, show
from hookline.cli.system import find_system
from hookline.errors import HooklineError

app = App(name="dead", help="List dead letters and replay them.\n\nExample: hookline dead ls")

Trigger = Annotated[str | None, Parameter(help="Only of this trigger, flow/deployment/name.")]


@app.command(name="ls")
def ls(
    *,
    trigger: Trigger = None,
    limit: Annotated[int, Parameter(help="Maximum number to list.")] = 20,
    json: Json = False,
) -> None:
    """List dispatches that failed for good and have not been replayed, newest first, with their reasons.

    Example: hookline dead ls --trigger record-push/on-push/push-to-main
    """
    with Gateway(find_system()) as gateway:
        found = list(gateway.pages("/dead", "dead", {"trigger": trigger}, limit))
    if json:
        print_json({"dead": found})
    else:
        print_table(("DISPATCH", "AT", "TRIGGER", "EVENT", "REASON"), [_row(each) for each in found])


@app.command(name="replay")
def replay(
    *ids: Annotated[str, Parameter(help="Ids of dead dispatches; or use the options.")],
    type: Annotated[str | None, Parameter(help="Events of this type; a trailing * matches the rest.")] = None,
    source: Annotated[str | None, Parameter(help="Events from this source.")] = None,
    subject: Annotated[str | None, Parameter(help="Events with this subject.")] = None,
    since: Annotated[str | None, Parameter(help="Made since a time, or an age such as 15m or 2d.")] = None,
    until: Annotated[str | None, Parameter(help="Made before a time, or an age.")] = None,
    trigger: Trigger = None,
    all: Annotated[bool, Parameter(negative="", help="All dead letters.")] = False,
    rate: Rate = None,
    dry_run: DryRun = False,
    background: Background = False,
    json: Json = False,
) -> None:
    """Replay dead letters, each with the current version of its own trigger.

    Example: hookline dead replay --trigger record-push/on-push/push-to-main --since 2h --rate 10
    """
    search = {
        "type": type,
        "source": source,
        "subject": subject,
        "since": point_in_time("--since", since),
        "until": point_in_time("--until", until),
        "trigger": trigger,
    }
    chosen = all or any(value is not None for value in search.values())
    if bool(ids) is chosen:
        raise HooklineError("Specify the dead letters: their ids, a filter such as --since 2h, or --all.")
    wishes = {"dry_run": dry_run or None}
    with Gateway(find_system()) as gateway:
        if not ids:
            begin(
                gateway, "/dead/replay", {**search, **wishes, "rate": rate}, background=background, json=json
            )
        for dispatch_id in ids:
            path = f"/dead/{dead_letter_id(gateway, dispatch_id)}/replay"
            show(gateway.post(path, given(wishes), holds=HOLDS[dry_run]), json=json)


def _row(letter: dict[str, Any]) -> tuple[str | Text, ...]:
    return (
        letter["id"],
        clock(letter["at"]),
        letter["trigger"],
        letter["event"],
        Text(letter["reason"] or "", style="red"),
    )
