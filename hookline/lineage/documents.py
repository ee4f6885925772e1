"""A graph as a JSON document. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from hookline.event import rfc3339
from hookline.lineage.nodes import Graph, Kind, Node


def graph_document(graph: Graph, run_url: Callable[[str], str]) -> dict[str, Any]:
    """Return a graph as a JSON document.

    Parameters
    ----------
    run_url: gives the address of a flow run's page in the Prefect UI.
    """
    return {
        "root": graph.root,
        "truncated": graph.truncated,
        "nodes": [_node(node, run_url) for node in graph.nodes.values()],
        "edges": [
            {"source": edge.source, "target": edge.target, "link": edge.link.value} for edge in graph.edges
        ],
    }


def _node(node: Node, run_url: Callable[[str], str]) -> dict[str, Any]:
    document = {
        "key": node.key,
        "kind": node.kind.value,
        "id": node.id,
        "name": node.name,
        "state": node.state,
        "started": _text(node.started),
        "finished": _text(node.finished),
        **node.facts,
    }
    if node.kind is Kind.FLOW_RUN:
        document["url"] = run_url(node.id)
    if node.kind is Kind.ASSET:
        # An asset's own name is one of its facts; what edges and people go by is its key.
        document["label"], document["name"] = node.facts.get("name"), node.id
    return document


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
