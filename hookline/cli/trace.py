"""`hookline trace`: what became of an event, from the door to the events that its runs sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text
from rich.tree import Tree

from hookline.cli.client import Gateway
from hookline.cli.output import Json, between, clock, console, duration, print_json, status
from hookline.settings import load_settings

#: A trace shows at most this many events; a wide fan-out is read better in the gateway's pages.
LIMIT = 200

Document = dict[str, Any]


def trace(
    id: Annotated[str, Parameter(help="The tracking id.")],
    *,
    wait: Annotated[float, Parameter(help="Seconds to wait for the event's runs to finish.")] = 0,
    json: Json = False,
) -> None:
    """Show what became of an event, as a tree: dispatches, flow runs, and the events that they sent.

    Example: hookline trace 01975a0e-5f6c-7d1e-9c57-2f4f3b8f0a11 --wait 30
    """
    with Gateway(load_settings()) as gateway:
        documents = follow(gateway, id, timedelta(seconds=wait))
    if json:
        print_json({"events": list(documents.values())})
    else:
        print_tree(tree(id, documents))


def print_tree(root: Tree) -> None:
    """Print a trace; on a narrow terminal its lines wrap within their branch."""
    console().print(root, soft_wrap=False)


def follow(gateway: Gateway, event_id: str, patience: timedelta) -> dict[str, Document]:
    """Return the documents of an event and of all that followed from it, by id.

    Parameters
    ----------
    patience: how long to wait for the runs to finish, all events together.
    """
    deadline = time.monotonic() + patience.total_seconds()

    def fetch(wanted: str) -> Document:
        return await_final(gateway, wanted, timedelta(seconds=deadline - time.monotonic()))

    return collect(fetch(event_id), fetch)


def await_final(gateway: Gateway, event_id: str, wait: timedelta) -> Document:
    """Return an event's tracking document, once its runs are final or the wait is over."""
    seconds = max(0, round(wait.total_seconds()))
    # The gateway holds an answer for a minute at most.
    while seconds > 60:
        document: Document = gateway.get(f"/events/{event_id}", {"wait": 60}, wait_seconds=60)
        if is_final(document):
            return document
        seconds -= 60
    held: Document = gateway.get(f"/events/{event_id}", {"wait": seconds or None}, wait_seconds=seconds)
    return held


def is_final(document: Document) -> bool:
    """Return whether nothing more will happen to an event by itself."""
    if document["status"] in ("ignored", "dead"):
        return True
    return document["status"] == "dispatched" and (document.get("receipt") or {}).get("finished") is not None


def collect(document: Document, fetch: Callable[[str], Document]) -> dict[str, Document]:
    """Return an event's document and those of all its effects, by id, in the order of their discovery."""
    documents = {document["id"]: document}
    waiting = list(document.get("effects") or [])
    while waiting and len(documents) < LIMIT:
        event_id = waiting.pop(0)
        if event_id not in documents:
            documents[event_id] = fetch(event_id)
            waiting += documents[event_id].get("effects") or []
    return documents


def tree(event_id: str, documents: dict[str, Document]) -> Tree:
    """Return the tree of an event.

    Parameters
    ----------
    event_id: the root.
    documents: tracking documents by id; effects that are not among them are named only.
    """
    root = Tree(_event_line(documents[event_id]), guide_style="dim")
    _grow(root, documents[event_id], documents, {event_id})
    return root


def _grow(branch: Tree, document: Document, documents: dict[str, Document], seen: set[str]) -> None:
    accepted = (document.get("receipt") or {}).get("accepted")
    branch.add(_arrival_line(document))
    effects = [effect for effect in document.get("effects") or [] if effect not in seen]
    for dispatch in document.get("dispatches") or []:
        twig = branch.add(_dispatch_line(dispatch))
        run = dispatch.get("flow_run")
        if run is None:
            continue
        leaf = twig.add(_run_line(run, document, accepted))
        leaf.add(Text(run["url"], style=f"blue link {run['url']}"))
        for effect in [effect for effect in effects if _sender(documents.get(effect)) == run["id"]]:
            effects.remove(effect)
            _effect(leaf, effect, documents, seen)
    for effect in effects:
        _effect(branch, effect, documents, seen)


def _effect(branch: Tree, event_id: str, documents: dict[str, Document], seen: set[str]) -> None:
    seen.add(event_id)
    document = documents.get(event_id)
    if document is None:
        branch.add(f"sent {event_id}")
        return
    _grow(branch.add(Text("sent ").append_text(_event_line(document))), document, documents, seen)


def _sender(document: Document | None) -> str | None:
    return ((document or {}).get("cause") or {}).get("flow_run")


def _event_line(document: Document) -> Text:
    line = Text(document["type"], style="bold")
    if document.get("subject"):
        line.append(f"  {document['subject']}", style="default not bold")
    line.append("  ").append_text(status(document["status"]))
    return line.append(f"  {document['id']}", style="dim not bold")


def _arrival_line(document: Document) -> Text:
    receipt = document.get("receipt") or {}
    line = Text(f"accepted {clock(receipt.get('accepted'))} from {document['source']}")
    if document.get("duplicates"):
        line.append(f", sent again {document['duplicates']} times")
    if (took := between(receipt.get("accepted"), receipt.get("routed"))) is not None:
        line.append(f", routed after {duration(took)}", style="dim")
    return line


def _dispatch_line(dispatch: Document) -> Text:
    line = Text(dispatch["trigger"]).append("  ").append_text(status(dispatch["status"]))
    if dispatch.get("replay"):
        line.append(f"  replay {dispatch['replay']}")
    if dispatch.get("merged_into"):
        line.append(f"  into {dispatch['merged_into']}")
    if dispatch.get("reason"):
        line.append(f"  {dispatch['reason']}")
    return line


def _run_line(run: Document, document: Document, accepted: str | None) -> Text:
    line = Text(f"run {run['name']}  ").append_text(status(run["state"] or "unknown"))
    if len(document["dispatches"]) > 1:
        # The receipt is the event's; with several runs its times cannot be told apart.
        return line
    receipt = document["receipt"]
    for label, end in (("first task", "first_task"), ("finished", "finished")):
        if (took := between(accepted, receipt.get(end))) is not None:
            line.append(f"  {label} after {duration(took)}", style="dim")
    return line
