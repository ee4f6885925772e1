"""A graph as a JSON document, and as a Mermaid flowchart. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from hookline.event import rfc3339
from hookline.lineage.nodes import Graph, Kind, Node

#: How each kind is drawn: an event as a stadium, a run as a box, and so on.
_SHAPES = {
    "event": ('(["', '"])'), "dispatch": ('{{"', '"}}'), "flow_run": ('["', '"]'),
    "task_run": ('("', '")'), "asset": ('[("', '")]'), "artifact": ('>"', '"]'),
}  # fmt: skip
_UNSAFE = re.compile(r'["<>&#;`\\\n\r]')


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


def mermaid(document: Mapping[str, Any]) -> str:
    """Return a graph's document as a Mermaid flowchart."""
    names = {node["key"]: f"n{number}" for number, node in enumerate(document["nodes"])}
    lines = ["flowchart LR"]
    for node in document["nodes"]:
        before, after = _SHAPES[node["kind"]]
        state = f"<br/>{_safe(node['state'])}" if node["state"] else ""
        lines.append(f"  {names[node['key']]}{before}{_safe(node['name'] or node['id'])}{state}{after}")
    lines += [
        f"  {names[edge['source']]} -->|{edge['link']}| {names[edge['target']]}" for edge in document["edges"]
    ]
    return "\n".join(lines)


def _safe(text: str) -> str:
    """Write what Mermaid would take for its own syntax or for HTML as character codes."""
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", text)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
