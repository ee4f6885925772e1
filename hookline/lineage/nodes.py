"""What a graph is made of: nodes and the edges between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from hookline.inbox.records import optional_moment
from hookline.lineage.records import FlowRun


class Kind(StrEnum):
    """What a node is."""

    EVENT = "event"
    DISPATCH = "dispatch"
    FLOW_RUN = "flow_run"
    TASK_RUN = "task_run"
    ASSET = "asset"
    ARTIFACT = "artifact"


class Link(StrEnum):
    """What an edge says: an event matched a dispatch, a dispatch started a run, and so on."""

    MATCHED = "matched"
    MERGED = "merged"
    STARTED = "started"
    RAN = "ran"
    CALLED = "called"
    FED = "fed"
    SENT = "sent"
    WROTE = "wrote"
    READ = "read"
    MADE = "made"


class Direction(StrEnum):
    """Where to walk: to what led to the root, to what came of it, or both."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the graph.

    Parameters
    ----------
    id: the tracking id, Prefect's id, or an asset's key.
    state: a run's state or an event's or dispatch's status.
    started, finished: as far as known.
    facts: what else there is to say of a node of its kind.
    """

    kind: Kind
    id: str
    name: str
    state: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return what edges name it by."""
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class Edge:
    """From what came first to what came of it, by the nodes' keys."""

    source: str
    target: str
    link: Link


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes and edges around a root.

    Parameters
    ----------
    truncated: it has more nodes than were asked for; the nearest are there.
    """

    root: str
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    truncated: bool = False


def run_node(run_id: str, run: FlowRun | None, row: Row[Any] | None, cause: dict[str, Any]) -> Node:
    """Return a flow run's node from what the recorder and its dispatch know, the newer state first."""
    facts: dict[str, Any] = {"cause": cause, "flow": None, "deployment": None, "message": None}
    name, state, started, finished, state_us = "", None, None, None, -1
    if run is not None:
        name, state, started, finished = run.name, run.state, run.started, run.finished
        state_us = -1 if run.state_at is None else int(run.state_at.timestamp() * 1e6)
        facts |= {"flow": run.flow_name, "deployment": run.deployment_name, "message": run.message}
    if row is not None:
        flow, _, deployment = row.lane.partition("/")
        facts |= {"flow": flow, "deployment": deployment}
        started = started or optional_moment(row.run_started_us)
        if run is None or (row.state_as_of_us or 0) > state_us:
            state, finished = row.state, optional_moment(row.finished_us)
            name = row.flow_run_name or name
    return Node(Kind.FLOW_RUN, run_id, name, state, started, finished, facts)
