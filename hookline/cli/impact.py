"""`hookline impact`: every run and asset downstream of an event, to know what a bad one has spoiled."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from hookline.cli import lineage
from hookline.cli.client import Gateway
from hookline.cli.output import Json, clock, console, print_json, print_table, status
from hookline.cli.system import find_system
from hookline.cli.trace import print_trees

#: What is asked for: also the runs that read an asset after it was written.
QUERY = {"direction": "down", "through_assets": "true", "nodes": 20_000}


def impact(
    event: Annotated[str, Parameter(help="A tracking id or its end, a flow run's id, an asset's key.")],
    *,
    tree: Annotated[bool, Parameter(negative="", help="Print a tree instead.")] = False,
    json: Json = False,
) -> None:
    """List every run and asset downstream of an event, through the assets that its runs wrote too.

    Example: hookline impact 01975a0e-5f6c-7d1e-9c57-2f4f3b8f0a11 --tree
    """
    with Gateway(find_system()) as gateway:
        document = lineage.find(gateway, event, **QUERY, tasks=None if tree else "false")
    if json:
        print_json(summary(document))
    elif tree:
        print_trees(document, {})
    else:
        _print_list(document)
    if document["truncated"] and not json:
        console().print(
            "This list is incomplete: the graph is larger than the gateway returns at once.", style="red"
        )


def summary(document: lineage.Document) -> dict[str, Any]:
    """Return what is downstream of the root, by kind and in order of time.

    An asset that runs only read is not among them: it was there before.
    """
    written = {edge["target"] for edge in document["edges"] if edge["link"] == "wrote"}
    nodes = sorted(
        document["nodes"], key=lambda node: (node["started"] or node["finished"] or "", node["id"])
    )
    below = [node for node in nodes if node["key"] != document["root"]]
    return {
        "root": document["root"],
        "runs": [node for node in below if node["kind"] == "flow_run"],
        "assets": [node for node in below if node["kind"] == "asset" and node["key"] in written],
        "events": [node for node in below if node["kind"] == "event"],
        "truncated": document["truncated"],
    }


def _print_list(document: lineage.Document) -> None:
    found = summary(document)
    print_table(
        ("KIND", "NAME", "STATE", "AT", "ID"),
        [
            *(
                ("run", node["name"], status(node["state"] or ""), clock(node["started"]), node["id"])
                for node in found["runs"]
            ),
            *(
                ("asset", node["label"] or "", "", clock(node["finished"]), node["id"])
                for node in found["assets"]
            ),
        ],
    )
    counts = [
        f"{len(found[kind])} {kind if len(found[kind]) != 1 else kind[:-1]}"
        for kind in ("runs", "assets", "events")
    ]
    console().print(", ".join(counts), style="bold")
