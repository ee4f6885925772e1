"""A lineage graph made fit to be looked at: dispatches become edges, many alike become one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.lineage import Edge, Graph, Kind, Link, Node

#: So many nodes that are alike and have the same origin become one.
FOLD_FROM = 5

_WORDS = {
    Link.MATCHED: "matched",
    Link.STARTED: "started",
    Link.MERGED: "merged into",
    Link.CALLED: "called",
    Link.SENT: "sent",
    Link.WROTE: "wrote",
    Link.READ: "read by",
    Link.RAN: "ran",
    Link.FED: "fed",
    Link.MADE: "made",
}


@dataclass(frozen=True, slots=True)
class Member:
    """What stands in one place of the picture: a node, or several that are alike.

    Parameters
    ----------
    nodes: at least one.
    states: their states with how many have each, the most frequent first.
    """

    nodes: tuple[Node, ...]
    states: tuple[tuple[str, int], ...]

    @property
    def first(self) -> Node:
        """Return the first of them."""
        return self.nodes[0]

    @property
    def key(self) -> str:
        """Return what edges name it by."""
        return self.first.key

    @property
    def title(self) -> str:
        """Return what it is called: an event's type, a run's flow, an asset's key."""
        return title(self.first)


@dataclass(frozen=True, slots=True)
class Family:
    """The graph as it is drawn.

    Parameters
    ----------
    members: in the order in which they came about.
    edges: from member to member, with what they say.
    root: key of the member that holds what was asked for.
    """

    members: tuple[Member, ...]
    edges: tuple[tuple[str, str, str], ...]
    root: str


def title(node: Node) -> str:
    """Return what a node is called."""
    if node.kind is Kind.FLOW_RUN:
        return str(node.facts.get("deployment") or node.facts.get("flow") or node.name or "flow run")
    return node.name or node.id


def length(node: Node) -> timedelta | None:
    """Return how long a node took, where it has an end."""
    if node.kind is Kind.EVENT or node.started is None or node.finished is None:
        return None
    return node.finished - node.started


def family(graph: Graph, *, fold: bool = True) -> Family:
    """Return a graph as it is drawn.

    Parameters
    ----------
    fold: show nodes that are alike, with the same origin, as one.
    """
    nodes, edges = _without_dispatches(graph)
    place = _folded(nodes, edges, graph.root) if fold else {node.key: node.key for node in nodes}
    together: dict[str, list[Node]] = {}
    for node in nodes:
        together.setdefault(place[node.key], []).append(node)
    members = tuple(Member(tuple(alike), _states(alike)) for alike in together.values())
    # A place is named by its first node, as the member is.
    joined = dict.fromkeys(
        (place[edge.source], place[edge.target], _WORDS[edge.link])
        for edge in edges
        if place[edge.source] != place[edge.target]
    )
    return Family(members, tuple(joined), place.get(graph.root, graph.root))


def _states(nodes: Sequence[Node]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(node.state.lower() for node in nodes if node.state).most_common())


def _without_dispatches(graph: Graph) -> tuple[list[Node], list[Edge]]:
    """Return the graph with each dispatch that led to a run turned into an edge from event to run."""
    runs: dict[str, str] = {}
    merged: dict[str, str] = {}
    for edge in graph.edges:
        if edge.link is Link.STARTED:
            runs[edge.source] = edge.target
        elif edge.link is Link.MERGED:
            merged[edge.source] = edge.target
    reached = {
        key: runs[leader]
        for key in (*runs, *merged)
        if (leader := key if key in runs else merged[key]) in runs
    }
    fed = {edge.target for edge in graph.edges if edge.link is Link.FED}
    edges: dict[Edge, None] = {}
    for edge in graph.edges:
        # A task that waits for another one is its flow run's by way of that one.
        if edge.source in reached or (edge.link is Link.RAN and edge.target in fed):
            continue
        if edge.target in reached:
            link = Link.MERGED if edge.target in merged else Link.STARTED
            edges[Edge(edge.source, reached[edge.target], link)] = None
        else:
            edges[edge] = None
    kept = [node for node in graph.nodes.values() if node.key not in reached]
    kept.sort(key=_order)
    return kept, list(edges)


def _order(node: Node) -> tuple[bool, datetime | None, str]:
    # An asset has no beginning of its own; it comes after what has one.
    return (node.started is None, node.started, node.key) if node.started else (True, None, node.key)


def _folded(nodes: Sequence[Node], edges: Iterable[Edge], root: str) -> dict[str, str]:
    """Return, for each node, the key of the node in whose place it stands.

    Nodes are alike that are of one kind and title and whose origins stand in the same places. Decided from
    the origins on, so that five hundred chains of one shape become one chain.
    """
    origins: dict[str, set[str]] = {node.key: set() for node in nodes}
    for edge in edges:
        origins[edge.target].add(edge.source)
    place: dict[str, str] = {}
    waiting = list(nodes)
    while waiting:
        ready = [node for node in waiting if origins[node.key] <= place.keys()]
        # In a circle nobody is ready: the first goes on without.
        ready = ready or waiting[:1]
        alike: dict[tuple[str, str, frozenset[str]], list[Node]] = {}
        for node in ready:
            came_from = frozenset(place[origin] for origin in origins[node.key] if origin in place)
            own = node.key if node.key == root or not came_from else ""
            alike.setdefault((node.kind, own or title(node), came_from), []).append(node)
        for group in alike.values():
            together = len(group) >= FOLD_FROM
            place |= {node.key: group[0].key if together else node.key for node in group}
        done = {node.key for node in ready}
        waiting = [node for node in waiting if node.key not in done]
    return place
