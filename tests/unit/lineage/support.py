"""A world for lineage's tests: events, dispatches and runs put into the tables, and Prefect's events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert

from hookline.event import new_id
from hookline.feed import PrefectEvent
from hookline.inbox.engine import inbox_url, migrate, open_engine
from hookline.inbox.records import to_micros
from hookline.inbox.schema import dispatches, events
from hookline.lineage import Direction, Graph, Kind, build_graph, store
from hookline.lineage.records import Artifact, Asset, FlowRun, Input, TaskRun, Write

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def some_id() -> str:
    return str(uuid.uuid4())


@dataclass
class World:
    """Tables to put things into; each thing happens a second after the one before."""

    connection: Connection
    clock: datetime = START

    def tick(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    def event(self, type: str = "thing.done", *, by: str | None = None, task: str | None = None,
              cause_event: str | None = None, status: str = "dispatched") -> str:  # fmt: skip
        """Put an event into the inbox; `by` is the flow run that sent it."""
        event_id, at = new_id(), to_micros(self.tick())
        self.connection.execute(
            insert(events),
            {
                **_required(events),
                "id": event_id, "door": "test", "source": "shop", "source_id": event_id, "type": type,
                "time_us": at, "accepted_us": at, "status": status, "digest": b"", "size": 0,
                "cause_event": cause_event, "cause_flow_run": by, "cause_task_run": task,
            },
        )  # fmt: skip
        return event_id

    def dispatch(
        self,
        event_id: str,
        run_id: str | None = None,
        *,
        trigger: str | None = None,
        status: str = "started",
        merged_into: str | None = None,
        replay: int = 0,
    ) -> str:
        dispatch_id, at = new_id(), to_micros(self.tick())
        trigger = trigger or f"flow/deployment/{dispatch_id}"
        self.connection.execute(
            insert(dispatches),
            {
                **_required(dispatches),
                "id": dispatch_id, "event_id": event_id, "trigger_id": trigger, "replay": replay,
                "trigger_set": 1, "lane": trigger.rpartition("/")[0], "status": status, "attempts": 1,
                "created_us": at, "flow_run_id": run_id, "merged_into": merged_into,
                "flow_run_name": "from-dispatch" if run_id else None,
                "state": "SCHEDULED" if run_id else None, "state_as_of_us": at if run_id else None,
            },
        )  # fmt: skip
        return dispatch_id

    def run(self, event_id: str | None = None, **known: Any) -> str:
        """Record a finished flow run; with an event, also the dispatch that started it."""
        run_id = known.pop("id", None) or some_id()
        if event_id is not None:
            self.dispatch(event_id, run_id)
        started = self.tick()
        self.record(
            FlowRun(
                **{
                    "id": run_id, "name": f"run-{run_id[:4]}", "flow_name": "flow", "state": "COMPLETED",
                    "state_name": "Completed", "started": started, "finished": self.tick(),
                    "state_at": self.clock, "auto_scheduled": False, **known,
                }
            )
        )  # fmt: skip
        return run_id

    def task(self, run_id: str, *inputs: Input, **known: Any) -> str:
        task_id = some_id()
        at = self.tick()
        self.record(
            TaskRun(
                id=task_id, flow_run_id=run_id, name=f"task-{task_id[:4]}", state="COMPLETED", started=at,
                finished=self.tick(), state_at=self.clock, inputs=inputs, **known,
            )
        )  # fmt: skip
        return task_id

    def write(self, run_id: str, key: str, *reads: str, task: str | None = None, **known: Any) -> str:
        at = self.tick()
        write_id = some_id()
        self.record(
            Write(
                **{
                    "id": write_id, "asset": Asset(key=key, at=at), "flow_run_id": run_id,
                    "task_run_id": task, "at": at, "succeeded": True, "reads": reads, **known,
                }
            )
        )  # fmt: skip
        return write_id

    def artifact(self, run_id: str, key: str, task: str | None = None) -> str:
        artifact_id = some_id()
        self.record(
            Artifact(
                id=artifact_id, key=key, type="markdown", flow_run_id=run_id, task_run_id=task,
                created=self.tick(),
            )
        )  # fmt: skip
        return artifact_id

    def record(self, *seen: Any, export: bool = False) -> store.Applied:
        return store.apply(self.connection, seen, at=self.clock, export=export)

    def graph(self, kind: Kind, id: str, direction: Direction = Direction.BOTH, **more: Any) -> Graph:
        graph = build_graph(self.connection, kind, id, direction=direction, **more)
        assert graph is not None
        return graph


def _required(table: Table) -> dict[str, Any]:
    """Return a value for each column that wants one; lineage looks at few of them."""
    return {column.name: "" for column in table.c if not column.nullable and column.server_default is None}


@contextmanager
def a_world(folder: Path) -> Iterator[World]:
    engine = open_engine(inbox_url(f"sqlite:///{folder / 'inbox.db'}"), writing=True)
    migrate(engine)
    with engine.begin() as connection:
        yield World(connection)
    engine.dispose()


def links(graph: Graph) -> set[tuple[str, str, str]]:
    """Return a graph's edges as (link, source, target)."""
    return {(edge.link.value, edge.source, edge.target) for edge in graph.edges}


def ids(graph: Graph, kind: Kind) -> set[str]:
    return {node.id for node in graph.nodes.values() if node.kind is kind}


# Prefect's events ------------------------------------------------------------------------------------


def related(role: str, resource_id: str, name: str | None = None) -> dict[str, str]:
    labels = {"prefect.resource.id": resource_id, "prefect.resource.role": role}
    return labels | ({"prefect.resource.name": name} if name else {})


def flow_run_event(run_id: str, state: str, at: datetime, *more: dict[str, str], name: str = "calm-otter",
                   message: str | None = None) -> PrefectEvent:  # fmt: skip
    """Return the event of a flow run's state change, of the shape that Prefect's server sends."""
    return PrefectEvent(
        id=some_id(),
        name=f"prefect.flow-run.{state.title()}",
        occurred=at,
        resource={
            "prefect.resource.id": f"prefect.flow-run.{run_id}",
            "prefect.resource.name": name,
            "prefect.run-count": "1",
            "prefect.state-name": state.title(),
            "prefect.state-type": state,
        },
        related=(related("flow", "prefect.flow.f-1", "load"), *more),
        payload={"validated_state": {"type": state, "name": state.title(), "message": message}},
    )


def task_run_event(task_id: str, run_id: str, state: str, at: datetime, **task_run: Any) -> PrefectEvent:
    """Return the event of a task run's state change, of the shape that Prefect's task engine sends."""
    return PrefectEvent(
        id=some_id(),
        name=f"prefect.task-run.{state.title()}",
        occurred=at,
        resource={"prefect.resource.id": f"prefect.task-run.{task_id}", "prefect.resource.name": "fetch-0"},
        related=(related("flow-run", f"prefect.flow-run.{run_id}", "calm-otter"),),
        payload={
            "validated_state": {"type": state, "name": state.title(), "message": ""},
            "task_run": {"name": "fetch-0", "run_count": 1, "task_inputs": {}, **task_run},
        },
    )
