"""A graph as a Mermaid flowchart. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: How each kind is drawn: an event as a stadium, a run as a box, and so on.
_SHAPES = {
    "event": ('(["', '"])'), "dispatch": ('{{"', '"}}'), "flow_run": ('["', '"]'),
    "task_run": ('("', '")'), "asset": ('[("', '")]'), "artifact": ('>"', '"]'),
}  # fmt: skip
_UNSAFE = re.compile(r'["<>&#;`\\\n\r]')


def flowchart(document: Mapping[str, Any]) -> str:
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
