"""The graph: what led to an event, a run or an asset, and what came of it. From our own tables alone.

It is walked a generation at a time, from an event to its runs and from a run to the events it sent, the runs
it called and the assets it wrote; each generation takes a few statements, however many nodes it has.
Dispatches, task runs and artifacts belong to the generation of their event or run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, Row

from hookline.inbox.records import from_micros, optional_moment
from hookline.lineage import reading
from hookline.lineage.causes import cause_of
from hookline.lineage.nodes import Direction, Edge, Graph, Kind, Link, Node, run_node
from hookline.lineage.records import FlowRun
from hookline.lineage.rows import flow_run_from_row

#: Nodes of a graph, unless another number is asked for; and the most that can be.
NODES = 5_000
MOST_NODES = 20_000
#: Generations: a chain of events ends after 32, with a run after each.
GENERATIONS = 128
#: How many of its newest writes the history of an asset begins with.
WRITES_SHOWN = 20


@dataclass(slots=True)
class _Generation:
    """What is to be walked on from: events, runs, and assets with the time from which on, in microseconds."""

    events: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    assets: dict[str, int] = field(default_factory=dict)
    #: Upwards, an asset leads to single writes of it.
    writes: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.events or self.runs or self.assets or self.writes)


def build_graph(
    connection: Connection,
    kind: Kind,
    id: str,
    *,
    direction: Direction = Direction.BOTH,
    depth: int = GENERATIONS,
    through_assets: bool = False,
    tasks: bool = True,
    limit: int = NODES,
) -> Graph | None:
    """Return the graph around an event, a flow run or an asset; None where there is none of that id.

    Parameters
    ----------
    connection: reads, at one moment.
    kind: `EVENT`, `FLOW_RUN` or `ASSET`.
    depth: generations to walk in each direction.
    through_assets: walk on from an asset to the runs that read it after it was written, and from a run to
        those that had written what it read. From an asset as the root this is always so.
    tasks: with task runs; else what they did counts for their flow run.
    limit: at most this many nodes, the nearest.
    """
    walk = _Walk(connection, through_assets=through_assets or kind is Kind.ASSET, tasks=tasks, limit=limit)
    start = walk.place(kind, id)
    if start is None:
        return None
    if direction is not Direction.DOWN:
        walk.go(start, depth, walk.up)
    if direction is not Direction.UP:
        walk.go(start, depth, walk.down)
    return walk.graph(f"{kind}:{id}")


class _Walk:
    """Collects a graph."""

    def __init__(self, connection: Connection, *, through_assets: bool, tasks: bool, limit: int) -> None:
        self._connection = connection
        self._through_assets = through_assets
        self._tasks = tasks
        self._limit = limit
        self._nodes: dict[str, Node] = {}
        self._edges: dict[Edge, None] = {}
        self._truncated = False
        # What of a run its dispatch knows: the recorder may not have seen it yet.
        self._runs: dict[str, FlowRun] = {}
        self._from_dispatch: dict[str, Row[Any]] = {}
        self._asset_keys: set[str] = set()

    def place(self, kind: Kind, id: str) -> _Generation | None:
        """Return the generation that a walk from this root begins with, None where there is no such root."""
        if kind is Kind.EVENT:
            found = reading.events_by_id(self._connection, [id])
            self._add_events(found)
            return _Generation(events={id}) if found else None
        if kind is Kind.FLOW_RUN:
            known = reading.flow_runs_by_id(self._connection, [id])
            started = reading.dispatches_of_runs(self._connection, [id])
            if not known and not started:
                return None
            self._know_dispatches(started)
            self._add_runs([id])
            return _Generation(runs={id})
        if not reading.assets_by_key(self._connection, [id]):
            return None
        self._add_assets([id])
        return _Generation(assets={id: -1})

    def go(self, start: _Generation, depth: int, step: Callable[[_Generation], _Generation]) -> None:
        """Walk generation after generation, visiting nothing twice."""
        seen = _Generation(set(start.events), set(start.runs), dict(start.assets), set())
        current = start
        for _ in range(depth):
            found = step(current)
            current = _Generation(
                found.events - seen.events,
                found.runs - seen.runs,
                # An asset is walked on from again where an earlier write of it turns up.
                {k: at for k, at in found.assets.items() if k not in seen.assets or at < seen.assets[k]},
                found.writes - seen.writes,
            )
            if not current or self._truncated:
                return
            seen.events |= current.events
            seen.runs |= current.runs
            seen.assets |= current.assets
            seen.writes |= current.writes

    # Down -----------------------------------------------------------------------------------------

    def down(self, current: _Generation) -> _Generation:
        """Return what came of a generation."""
        found = _Generation()
        self._start_runs(current.events, found)
        self._unfold_runs(current.runs, found)
        if current.assets and self._through_assets:
            for row in reading.readers_since(self._connection, current.assets, limit=self._room):
                found.runs.add(row.flow_run_id)
                self._add_runs([row.flow_run_id])
                if not self._tasks:
                    self._link(Kind.ASSET, row.asset_key, Kind.FLOW_RUN, row.flow_run_id, Link.READ)
        return found

    def _start_runs(self, event_ids: Iterable[str], found: _Generation) -> None:
        made = reading.dispatches_of_events(self._connection, event_ids, limit=self._room)
        leaders = reading.dispatches_by_id(
            self._connection, {row.merged_into for row in made if row.merged_into}
        )
        self._add_dispatches([*made, *leaders])
        for row in made:
            self._link(Kind.EVENT, row.event_id, Kind.DISPATCH, row.id, Link.MATCHED)
        found.runs |= {row.flow_run_id for row in (*made, *leaders) if row.flow_run_id}

    def _unfold_runs(self, run_ids: Iterable[str], found: _Generation) -> None:
        """Add what runs consist of, what they did, and what they led to."""
        ids = list(run_ids)
        if not ids:
            return
        if self._tasks:
            self._add_tasks(reading.task_runs_of(self._connection, ids, limit=self._room))
            self._link_inputs(ids)
        written = reading.writes_of(self._connection, ids, limit=self._limit)
        self._add_writes(written)
        for row in written:
            found.assets[row.asset_key] = min(row.at_us, found.assets.get(row.asset_key, row.at_us))
        for row in reading.artifacts_of(self._connection, ids, limit=self._room):
            created, facts = from_micros(row.created_us), {"type": row.type}
            self._add(Node(Kind.ARTIFACT, row.id, row.key or row.type or "", started=created, facts=facts))
            self._link(*self._maker(row), Kind.ARTIFACT, row.id, Link.MADE)
        called = reading.flow_runs_called_by(self._connection, ids, limit=self._room)
        self._know_runs(called)
        self._add_runs([row.id for row in called])
        for row in called:
            maker = self._maker_of(row.parent_flow_run_id, row.parent_task_run_id)
            self._link(*maker, Kind.FLOW_RUN, row.id, Link.CALLED)
            found.runs.add(row.id)
        sent = reading.events_sent_by(self._connection, ids, limit=self._room)
        self._add_events(sent)
        for row in sent:
            self._link(*self._maker_of(row.cause_flow_run, row.cause_task_run), Kind.EVENT, row.id, Link.SENT)
            found.events.add(row.id)

    # Up -------------------------------------------------------------------------------------------

    def up(self, current: _Generation) -> _Generation:
        """Return what led to a generation."""
        found = _Generation()
        self._find_senders(current.events, found)
        self._find_causes(current.runs, found)
        if current.runs:
            self._find_inputs(reading.writes_of(self._connection, current.runs, limit=self._limit), found)
        if current.writes:
            self._find_writers(reading.writes_by_id(self._connection, current.writes), found)
        for key in current.assets:
            self._find_writers(reading.newest_writes(self._connection, key, limit=WRITES_SHOWN), found)
            self._truncated |= reading.count_writes(self._connection, key) > WRITES_SHOWN
        return found

    def _find_senders(self, event_ids: Iterable[str], found: _Generation) -> None:
        rows = [row for row in reading.events_by_id(self._connection, event_ids) if row.cause_flow_run]
        self._add_makers({(row.cause_flow_run, row.cause_task_run) for row in rows})
        for row in rows:
            self._link(*self._maker_of(row.cause_flow_run, row.cause_task_run), Kind.EVENT, row.id, Link.SENT)
            found.runs.add(row.cause_flow_run)

    def _find_causes(self, run_ids: Iterable[str], found: _Generation) -> None:
        """Find the events that started runs, merged ones included, and the runs that called them."""
        ids = list(run_ids)
        started = reading.dispatches_of_runs(self._connection, ids)
        merged = reading.dispatches_merged_into(
            self._connection, [row.id for row in started], limit=self._room
        )
        made = [*started, *merged]
        self._add_events(reading.events_by_id(self._connection, {row.event_id for row in made}))
        self._add_dispatches(made)
        for row in made:
            self._link(Kind.EVENT, row.event_id, Kind.DISPATCH, row.id, Link.MATCHED)
            found.events.add(row.event_id)
        called = [row for row in reading.flow_runs_by_id(self._connection, ids) if row.parent_flow_run_id]
        self._add_makers({(row.parent_flow_run_id, row.parent_task_run_id) for row in called})
        for row in called:
            maker = self._maker_of(row.parent_flow_run_id, row.parent_task_run_id)
            self._link(*maker, Kind.FLOW_RUN, row.id, Link.CALLED)
            found.runs.add(row.parent_flow_run_id)

    def _find_inputs(self, written: list[Row[Any]], found: _Generation) -> None:
        """Find the assets that went into writes, and the writes that had made them."""
        self._add_makers({(row.flow_run_id, row.task_run_id) for row in written})
        self._link_reads(written)
        if self._through_assets:
            found.writes |= set(reading.writes_behind(self._connection, {row.id for row in written}))

    def _find_writers(self, written: list[Row[Any]], found: _Generation) -> None:
        self._add_makers({(row.flow_run_id, row.task_run_id) for row in written})
        self._add_writes(written)
        found.writes |= set(reading.writes_behind(self._connection, {row.id for row in written}))
        # Of the run only what led to it: its other writes have nothing to do with this asset.
        above = _Generation()
        self._find_causes({row.flow_run_id for row in written}, above)
        found.events |= above.events
        found.runs |= above.runs

    # Nodes ----------------------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        """Return how many nodes are asked for at once: one more than fit tells that there are more."""
        return self._limit - len(self._nodes) + 1

    def _add(self, node: Node) -> None:
        if node.key in self._nodes:
            return
        if len(self._nodes) >= self._limit:
            self._truncated = True
            return
        self._nodes[node.key] = node

    def _link(self, kind: Kind, id: str, other_kind: Kind, other_id: str, link: Link) -> None:
        self._edges[Edge(f"{kind}:{id}", f"{other_kind}:{other_id}", link)] = None

    def _add_events(self, rows: Iterable[Row[Any]]) -> None:
        for row in rows:
            facts = {"type": row.type, "source": row.source, "subject": row.subject}
            self._add(
                Node(
                    Kind.EVENT,
                    row.id,
                    row.type,
                    row.status,
                    started=from_micros(row.accepted_us),
                    facts=facts,
                )
            )

    def _add_dispatches(self, rows: Iterable[Row[Any]]) -> None:
        rows = list(rows)
        self._know_dispatches(rows)
        self._add_runs([row.flow_run_id for row in rows if row.flow_run_id])
        for row in rows:
            self._add(
                Node(
                    Kind.DISPATCH,
                    row.id,
                    row.trigger_id,
                    row.status,
                    started=from_micros(row.created_us),
                    finished=optional_moment(row.run_created_us),
                    facts={"trigger": row.trigger_id, "replay": row.replay, "reason": row.reason},
                )
            )
            if row.flow_run_id:
                self._link(Kind.DISPATCH, row.id, Kind.FLOW_RUN, row.flow_run_id, Link.STARTED)
            if row.merged_into:
                self._link(Kind.DISPATCH, row.id, Kind.DISPATCH, row.merged_into, Link.MERGED)

    def _know_dispatches(self, rows: Iterable[Row[Any]]) -> None:
        self._from_dispatch |= {row.flow_run_id: row for row in rows if row.flow_run_id}

    def _know_runs(self, rows: Iterable[Row[Any]]) -> None:
        self._runs |= {row.id: flow_run_from_row(row) for row in rows}

    def _add_runs(self, ids: Iterable[str]) -> None:
        """Give runs a place; what is known of them is filled in at the end, all at once."""
        for run_id in ids:
            self._add(Node(Kind.FLOW_RUN, run_id, ""))

    def _add_tasks(self, rows: Iterable[Row[Any]]) -> None:
        for row in rows:
            self._add(
                Node(
                    Kind.TASK_RUN,
                    row.id,
                    row.name,
                    row.state,
                    started=optional_moment(row.started_us),
                    finished=optional_moment(row.finished_us),
                    facts={"state_name": row.state_name, "message": row.message, "run_count": row.run_count},
                )
            )
            self._link(Kind.FLOW_RUN, row.flow_run_id, Kind.TASK_RUN, row.id, Link.RAN)

    def _link_inputs(self, run_ids: Iterable[str]) -> None:
        for row in reading.inputs_of(self._connection, run_ids, limit=4 * self._limit):
            if row.kind == "parent":
                self._edges.pop(
                    Edge(f"flow_run:{row.flow_run_id}", f"task_run:{row.task_run_id}", Link.RAN), None
                )
                self._link(Kind.TASK_RUN, row.source_id, Kind.TASK_RUN, row.task_run_id, Link.RAN)
            else:
                self._link(Kind(row.kind), row.source_id, Kind.TASK_RUN, row.task_run_id, Link.FED)

    def _add_writes(self, rows: list[Row[Any]]) -> None:
        self._add_assets({row.asset_key for row in rows})
        for row in rows:
            self._link(*self._maker(row), Kind.ASSET, row.asset_key, Link.WROTE)
        self._link_reads(rows)

    def _link_reads(self, written: list[Row[Any]]) -> None:
        maker_of = {row.id: self._maker(row) for row in written}
        found = reading.reads_of(self._connection, maker_of, limit=4 * self._limit)
        self._add_assets({row.asset_key for row in found})
        for row in found:
            self._link(Kind.ASSET, row.asset_key, *maker_of[row.write_id], Link.READ)

    def _add_assets(self, keys: Iterable[str]) -> None:
        for key in sorted(keys):
            self._asset_keys.add(key)
            self._add(Node(Kind.ASSET, key, key))

    def _add_makers(self, makers: Iterable[tuple[str, str | None]]) -> None:
        """Add runs on the way up, each with the one task that matters."""
        pairs = sorted(makers, key=str)
        self._add_runs([run_id for run_id, _ in pairs])
        if self._tasks:
            self._add_tasks(
                reading.task_runs_by_id(self._connection, {task for _, task in pairs if task is not None})
            )

    def _maker(self, row: Row[Any]) -> tuple[Kind, str]:
        return self._maker_of(row.flow_run_id, row.task_run_id)

    def _maker_of(self, flow_run_id: str, task_run_id: str | None) -> tuple[Kind, str]:
        """Return what did something: the task run, where the graph has it, else the flow run."""
        if task_run_id is not None and f"{Kind.TASK_RUN}:{task_run_id}" in self._nodes:
            return Kind.TASK_RUN, task_run_id
        return Kind.FLOW_RUN, flow_run_id

    # ----------------------------------------------------------------------------------------------

    def graph(self, root: str) -> Graph:
        """Return what was collected, with what is known of runs and assets."""
        self._fill_in_runs()
        self._fill_in_assets()
        edges = tuple(e for e in self._edges if e.source in self._nodes and e.target in self._nodes)
        return Graph(root, self._nodes, edges, self._truncated)

    def _fill_in_runs(self) -> None:
        ids = {node.id for node in self._nodes.values() if node.kind is Kind.FLOW_RUN}
        self._know_runs(reading.flow_runs_by_id(self._connection, ids - self._runs.keys()))
        dispatched = reading.dispatched_runs(self._connection, ids)
        # The inbox follows the runs of its dispatches by itself, and may be ahead.
        self._know_dispatches(reading.dispatches_of_runs(self._connection, ids & dispatched))
        for run_id in ids:
            run, row = self._runs.get(run_id), self._from_dispatch.get(run_id)
            cause = cause_of(run, dispatched=run_id in dispatched)
            self._nodes[f"{Kind.FLOW_RUN}:{run_id}"] = run_node(
                run_id, run, row, {"kind": cause.kind, "claimed": cause.claimed, "by": cause.by}
            )

    def _fill_in_assets(self) -> None:
        for row in reading.assets_by_key(self._connection, self._asset_keys):
            key = f"{Kind.ASSET}:{row.key}"
            if key in self._nodes:
                facts = {
                    "name": row.name,
                    "description": row.description,
                    "url": row.url,
                    "owners": orjson.loads(row.owners),
                }
                self._nodes[key] = Node(
                    Kind.ASSET, row.key, row.key, finished=from_micros(row.last_us), facts=facts
                )
