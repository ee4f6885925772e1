"""`hookline send`: send an event from a terminal or a script."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from hookline.cli.client import Gateway
from hookline.cli.lineage import is_final
from hookline.cli.output import Json, print_json
from hookline.cli.reasons import reasons
from hookline.cli.system import find_system
from hookline.cli.trace import await_final, print_trees
from hookline.errors import HooklineError

GOOD = ("COMPLETED", "CANCELLED")


def send(
    type: Annotated[str, Parameter(help="What happened, such as order.paid.")],
    *,
    data: Annotated[str | None, Parameter(help="The payload: JSON, @FILE, or - for standard input.")] = None,
    subject: Annotated[str | None, Parameter(help="What it happened to.")] = None,
    source: Annotated[str | None, Parameter(help="Where it comes from.")] = None,
    id: Annotated[str | None, Parameter(help="Your id for the event; each id is accepted once.")] = None,
    wait: Annotated[bool, Parameter(help="Wait for the runs and show the trace.", negative="")] = False,
    timeout: Annotated[float, Parameter(help="Maximum number of seconds to wait.")] = 60,
    json: Json = False,
) -> int:
    """Send an event and print its tracking id.

    With --wait, show the trace and exit 1 if a run failed or did not finish in time.

    Example: hookline send order.paid --subject order-17 --data '{"amount": 12.5}' --wait
    """
    given = {"type": type, "subject": subject, "source": source, "id": id, "data": read_data(data)}
    event = {name: value for name, value in given.items() if value is not None}
    with Gateway(find_system()) as gateway:
        accepted = gateway.post("/events", event, holds="id")
        if not wait:
            print_json(accepted) if json else print(accepted["id"])
            return 0
        graph = await_final(gateway, accepted["id"], timedelta(seconds=timeout), direction="down")
        document = gateway.get(f"/events/{accepted['id']}", holds="dispatches")
        why = reasons(gateway, graph)
    if json:
        print_json(document)
    else:
        print_trees(graph, why)
    return 0 if is_final(graph) and went_well(document) else 1


def read_data(given: str | None) -> Any:
    """Return the payload that an argument stands for.

    Raises
    ------
    HooklineError: the file cannot be read, or it is not JSON.
    """
    if given is None:
        return None
    try:
        if given == "-":
            text, name = sys.stdin.buffer.read(), "Standard input"
        elif given.startswith("@"):
            text, name = Path(given[1:]).read_bytes(), given[1:]
        else:
            text, name = given.encode(), "--data"
        return orjson.loads(text)
    except OSError as wrong:
        raise HooklineError(f"{given[1:]} cannot be read: {wrong.strerror}.") from None
    except orjson.JSONDecodeError as wrong:
        raise HooklineError(
            f"{name} is not JSON ({wrong}). Text needs its own quotes: --data '\"text\"'."
        ) from None


def went_well(document: dict[str, Any]) -> bool:
    """Return whether no dispatch is dead and no run failed."""
    runs = [dispatch["flow_run"] for dispatch in document["dispatches"] if dispatch.get("flow_run")]
    return document["status"] != "dead" and all(run["state"] in GOOD for run in runs)
