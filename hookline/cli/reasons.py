"""Why nothing came of an event, or nothing yet: what the gateway knows, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hookline.cli.client import Gateway

#: So many ignored events of one trace are asked about.
MOST = 10


def reasons(gateway: Gateway, graph: Mapping[str, Any]) -> dict[str, str]:
    """Return why events of a trace are ignored or wait, by their node's key."""
    found: dict[str, str] = {}
    waiting: str | None = None
    for node in graph["nodes"]:
        if node["kind"] != "event":
            continue
        if node["state"] == "ignored" and len(found) < MOST:
            document = gateway.get(f"/events/{node['id']}", holds="dispatches")
            found[node["key"]] = document.get("explanation") or ""
        elif node["state"] in ("accepted", "pending"):
            waiting = why_waiting(gateway) if waiting is None else waiting
            found[node["key"]] = waiting
    return {key: reason for key, reason in found.items() if reason}


def reason(gateway: Gateway, document: Mapping[str, Any]) -> str:
    """Return why an event is ignored or waits, by its tracking document; empty where nobody knows."""
    if document["status"] in ("accepted", "pending"):
        return why_waiting(gateway)
    return document.get("explanation") or ""


def why_waiting(gateway: Gateway) -> str:
    """Return what every event waits for just now, or nothing."""
    ready = gateway.readiness()
    if ready["prefect"] != "ok":
        return f"Prefect is {ready['prefect']}"
    if str(ready.get("triggers") or "").startswith("none"):
        return f"of the project's triggers there are {ready['triggers']}"
    return ""
