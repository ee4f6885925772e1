"""`hookline trace`: what led to an event, a run or an asset, and what came of it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group
from rich.live import Live
from rich.tree import Tree

from hookline.cli import lineage
from hookline.cli.client import Gateway
from hookline.cli.mermaid import flowchart
from hookline.cli.output import Json, console, harmless, print_json
from hookline.cli.reasons import reasons
from hookline.cli.system import find_system
from hookline.errors import HooklineError

DIRECTIONS = ("both", "up", "down")


def trace(
    id: Annotated[str, Parameter(help="A tracking id or its end, a flow run's id, an asset's key.")],
    *,
    wait: Annotated[
        float | None,
        Parameter(help="Seconds to wait until it has finished; a terminal shows it live by default."),
    ] = None,
    direction: Annotated[str, Parameter(help="up, down, or both.")] = "both",
    depth: Annotated[int | None, Parameter(help="Maximum distance in events, runs and assets.")] = None,
    tasks: Annotated[bool, Parameter(help="Include task runs.")] = True,
    json: Json = False,
    mermaid: Annotated[bool, Parameter(negative="", help="Print a Mermaid flowchart instead.")] = False,
) -> None:
    """Show what led to an event, run or asset, and what followed from it: a tree with states and durations.

    Example: hookline trace 01975a0e-5f6c-7d1e-9c57-2f4f3b8f0a11 --wait 30
    """
    if direction not in DIRECTIONS:
        raise HooklineError(f"--direction {direction!r} is none of {', '.join(DIRECTIONS)}.")
    query = {"direction": direction, "depth": depth, "tasks": None if tasks else "false"}
    with Gateway(find_system()) as gateway:
        if sys.stdout.isatty() and wait is None and not (json or mermaid):
            show_live(gateway, id, query)
            return
        document = await_final(gateway, id, timedelta(seconds=wait or 0), **query)
        why = reasons(gateway, document)
    if json:
        print_json(document)
    elif mermaid:
        print(harmless(flowchart(document)))
    else:
        print_trees(document, why)


def show_live(gateway: Gateway, id: str, query: dict[str, Any]) -> None:
    """Show a trace on the terminal while it grows, until it has ended or the person stops it."""
    with Live(console=console(), auto_refresh=False, vertical_overflow="visible") as live:
        for document in lineage.follow(gateway, id, None, **query):
            live.update(Group(*lineage.draw(document, reasons(gateway, document))), refresh=True)


def await_final(gateway: Gateway, id: str, patience: timedelta, **query: Any) -> lineage.Document:
    """Return a graph once nothing more will happen by itself, or time is over."""
    # The last of those that it yields.
    return deque(lineage.follow(gateway, id, patience, **query), maxlen=1)[0]


def print_trees(document: lineage.Document, reasons: Mapping[str, str]) -> None:
    """Print a trace; on a narrow terminal its lines wrap within their branch.

    Parameters
    ----------
    reasons: see `lineage.draw`.
    """
    for tree in lineage.draw(document, reasons):
        print_tree(tree)


def print_tree(root: Tree) -> None:
    """Print one tree of a trace."""
    console().print(root, soft_wrap=False)
