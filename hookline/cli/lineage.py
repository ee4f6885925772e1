"""Lineage on the command line: asking the gateway for a graph, waiting for it to end, and drawing it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from urllib.parse import quote

from rich.text import Text
from rich.tree import Tree

from hookline.cli.client import Gateway, GatewayError
from hookline.cli.ids import WHOLE, event_id
from hookline.cli.output import between, clock, duration, moment, status

Document = dict[str, Any]

TERMINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED", "GONE"})
#: How often a graph that still grows is asked for.
LOOK_SECONDS = 0.5
#: Lines of one tree; the rest is in the gateway's pages, and in --json.
LINES = 2_000

#: Edges that a tree does not grow along: an input is named at what it went into.
_SIDEWAYS = ("fed", "read")


def find(gateway: Gateway, id: str, **query: Any) -> Document:
    """Return the graph around an event, a flow run or an asset, whichever has this id.

    Raises
    ------
    GatewayError: none has, or the gateway cannot be asked.
    """
    id = event_id(gateway, id)
    # Prefect's ids and ours have the same form, so both are looked for.
    kinds = ("event", "run") if WHOLE.fullmatch(id.lower()) else ("asset",)
    shown = id.lower() if kinds[0] == "event" else id
    for kind in kinds:
        try:
            found: Document = gateway.get(f"/lineage/{kind}/{quote(shown, safe=':/')}", query, holds="nodes")
        except GatewayError as refused:
            if refused.status != 404:
                raise
        else:
            return found
    raise GatewayError(
        f"There is no event, flow run or asset {id}. An event's id is what `send` and `events ls` print;"
        " an asset's key is an address such as duckdb://warehouse/raw/orders.",
        404,
    )


def follow(gateway: Gateway, id: str, patience: timedelta | None, **query: Any) -> Iterator[Document]:
    """Yield a graph, again and again while it grows.

    Parameters
    ----------
    patience: for how long at most; None is until it has ended.
    """
    id = event_id(gateway, id)
    deadline = None if patience is None else time.monotonic() + patience.total_seconds()
    ended_before: Document | None = None
    while True:
        document = find(gateway, id, **query)
        yield document
        ended = document if is_final(document) else None
        # What a run did last may be heard of just after its end, so the end has to be seen twice.
        if ended is not None and ended == ended_before:
            return
        if deadline is not None and time.monotonic() >= deadline:
            return
        ended_before = ended
        Event().wait(LOOK_SECONDS)


def is_final(document: Document) -> bool:
    """Return whether nothing more will happen by itself."""
    for node in document["nodes"]:
        if node["kind"] == "flow_run" and node["state"] not in TERMINAL:
            return False
        if node["kind"] == "event" and node["state"] in ("accepted", "pending"):
            return False
    return True


def draw(document: Document, reasons: Mapping[str, str]) -> list[Tree]:
    """Return a graph as trees, one for each node that nothing in it led to.

    Parameters
    ----------
    reasons: what is to be said beside an event, by its node's key.
    """
    return _Drawing(document, reasons).trees()


class _Drawing:
    """Draws a graph as trees; what is reached twice is drawn once and named the second time."""

    def __init__(self, document: Document, reasons: Mapping[str, str]) -> None:
        self._reasons = reasons
        self._root = document["root"]
        self._nodes = {node["key"]: node for node in document["nodes"]}
        self._children: dict[str, list[str]] = defaultdict(list)
        self._parents: dict[str, list[str]] = defaultdict(list)
        self._inputs: dict[str, list[str]] = defaultdict(list)
        self._readers: dict[str, list[str]] = defaultdict(list)
        self._link: dict[tuple[str, str], str] = {}
        self._drawn: set[str] = set()
        for edge in document["edges"]:
            self._take(edge["source"], edge["target"], edge["link"])
        self._let_assets_lead_to_their_readers()

    def _take(self, source: str, target: str, link: str) -> None:
        self._link[source, target] = link
        if link == "read":
            self._inputs[target].append(source)
            self._readers[source].append(target)
        elif link not in _SIDEWAYS:
            self._children[source].append(target)
            self._parents[target].append(source)

    def _let_assets_lead_to_their_readers(self) -> None:
        """Hang runs that are here only because they read an asset below that asset."""
        for asset, readers in self._readers.items():
            # An asset that nothing here has written is an input and leads nowhere, unless it was asked for.
            if asset != self._root and not self._parents[asset]:
                continue
            for run in dict.fromkeys(self._run_of(reader) for reader in readers):
                if not self._parents[run]:
                    self._children[asset].append(run)
                    self._link[asset, run] = "read by"
        for asset, children in self._children.items():
            for run in children:
                if self._link[asset, run] == "read by":
                    self._parents[run].append(asset)

    def _run_of(self, key: str) -> str:
        seen: set[str] = set()
        while key.startswith("task_run:") and self._parents[key] and key not in seen:
            seen.add(key)
            key = self._parents[key][0]
        return key

    def trees(self) -> list[Tree]:
        trees = []
        for key in self._origins():
            tree = Tree(self._line(key), guide_style="dim")
            self._grow(tree, key)
            trees.append(tree)
        return trees

    def _origins(self) -> Iterable[str]:
        """Return where the root's history begins, and whatever else nothing led to."""
        begun = [key for key in self._nodes if not self._parents[key] and not self._is_input_only(key)]
        return begun or [self._root]

    def _is_input_only(self, key: str) -> bool:
        return key.startswith("asset:") and key != self._root and not self._children[key]

    def _grow(self, tree: Tree, top: str) -> None:
        """Grow a tree without recursion: chains may be longer than Python's stack."""
        waiting: list[tuple[Tree, str]] = [(tree, top)]
        self._drawn.add(top)
        while waiting:
            branch, key = waiting.pop()
            for line in self._details(key):
                branch.add(line)
            grown: list[tuple[Tree, str]] = []
            for child in sorted(self._children[key], key=self._when):
                label = Text(_verb(self._link[key, child]))
                label.append_text(self._line(child))
                if child in self._drawn:
                    branch.add(label.append("  (shown above)", style="dim"))
                elif len(self._drawn) >= LINES:
                    branch.add(Text("... more; --json gives all", style="dim"))
                    break
                else:
                    self._drawn.add(child)
                    grown.append((branch.add(label), child))
            waiting += reversed(grown)

    def _when(self, key: str) -> tuple[str, str]:
        node = self._nodes[key]
        return (node["started"] or node["finished"] or "~", key)

    def _line(self, key: str) -> Text:
        node = self._nodes[key]
        line = _LINES[node["kind"]](node)
        return line.append("  <--", style="bold cyan") if key == self._root and self._parents[key] else line

    def _details(self, key: str) -> Iterator[Text]:
        node = self._nodes[key]
        if node["kind"] == "event":
            yield Text(f"accepted {clock(node['started'])} from {node['source']}", style="dim")
            if reason := self._reasons.get(key):
                yield Text(f"because {reason}", style="yellow")
        if node["kind"] == "flow_run":
            yield Text(node["url"], style=f"blue link {node['url']}")
        if node["kind"] in ("flow_run", "task_run") and node.get("message") and node["state"] != "COMPLETED":
            yield Text(node["message"].splitlines()[0][:200], style="red")
        for asset in self._inputs[key]:
            yield Text("read ").append(self._nodes[asset]["id"], style="cyan")


def _verb(link: str) -> str:
    return {
        "sent": "sent ",
        "wrote": "wrote ",
        "made": "made ",
        "read by": "read by ",
        "merged": "merged into ",
    }.get(link, "")


def _event(node: Document) -> Text:
    line = Text(node["type"], style="bold")
    if node["subject"]:
        line.append(f"  {node['subject']}", style="default not bold")
    return (
        line.append("  ").append_text(status(node["state"])).append(f"  {node['id']}", style="dim not bold")
    )


def _dispatch(node: Document) -> Text:
    line = Text(node["trigger"]).append("  ").append_text(status(node["state"]))
    if node["replay"]:
        line.append(f"  replay {node['replay']}")
    if node["reason"]:
        line.append(f"  {node['reason']}")
    return line


def _flow_run(node: Document) -> Text:
    line = Text(f"run {node['name'] or node['id']}  ").append_text(status(node["state"] or "unknown"))
    cause = node["cause"]
    if cause["kind"] not in ("event", "parent"):
        by = f" {cause['by']}" if cause["by"] else ""
        line.append(f"  by {cause['kind']}{by}{' (claimed)' if cause['claimed'] else ''}")
    return line.append_text(_took(node))


def _task_run(node: Document) -> Text:
    line = Text(f"task {node['name']}")
    if node["state"] != "COMPLETED":
        line.append("  ").append_text(status(node["state"] or "unknown"))
    elif node["state_name"] != "Completed":
        line.append(f"  {node['state_name']}", style="dim")
    return line.append_text(_took(node))


def _asset(node: Document) -> Text:
    return Text(node["id"], style="cyan").append(
        f"  {node['label']}" if node["label"] else "", style="default"
    )


def _artifact(node: Document) -> Text:
    return Text(f"artifact {node['name']}")


_LINES = {
    "event": _event, "dispatch": _dispatch, "flow_run": _flow_run, "task_run": _task_run, "asset": _asset,
    "artifact": _artifact,
}  # fmt: skip


def _took(node: Document) -> Text:
    if node["started"] is None:
        return Text("")
    if node["finished"] is None:
        since = moment(node["started"])
        return Text(f"  for {duration(datetime.now(UTC) - since)}" if since else "", style="dim")
    took = between(node["started"], node["finished"])
    return Text(f"  {duration(took)}" if took is not None else "", style="dim")
