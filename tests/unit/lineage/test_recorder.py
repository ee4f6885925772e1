"""The recorder against a Prefect of our own making, which forgets, drops and goes away when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hookline.errors import PrefectUnavailable
from hookline.event import Event, new_id, now
from hookline.feed import PrefectEvent, StreamLost
from hookline.inbox import Inbox, Search
from hookline.lineage import Graph, Kind, build_graph, recorder
from hookline.lineage.admitting import admit
from hookline.lineage.recorder import Recorder
from tests.unit.lineage.support import flow_run_event, related, some_id, task_run_event

WAIT_SECONDS = 10


@dataclass
class FakePrefect:
    """What the recorder asks of Prefect.

    Parameters
    ----------
    stored: what Prefect has on disk, whether the stream gave it or not.
    tables: rows that a filter of that path finds, by id.
    """

    stored: list[PrefectEvent] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)
    _streams: list[asyncio.Queue[PrefectEvent | None]] = field(default_factory=list)

    def happens(self, *events: PrefectEvent, streamed: bool = True) -> None:
        for event in events:
            self.stored.append(event)
            for stream in self._streams if streamed else ():
                stream.put_nowait(event)

    def restart(self) -> None:
        for stream in self._streams:
            stream.put_nowait(None)

    async def events(self) -> AsyncIterator[PrefectEvent]:
        stream: asyncio.Queue[PrefectEvent | None] = asyncio.Queue()
        self._streams.append(stream)
        try:
            while (event := await stream.get()) is not None:
                yield event
            raise StreamLost("restarted")
        finally:
            self._streams.remove(stream)

    async def streaming(self) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not self._streams:  # noqa: ASYNC110 (the recorder gives no sign of it)
                await asyncio.sleep(0.01)

    def _in(self, since: datetime, until: datetime) -> list[PrefectEvent]:
        if self.away:
            raise PrefectUnavailable("away")
        return sorted((e for e in self.stored if since <= e.occurred <= until), key=lambda e: e.occurred)

    async def count_events(self, since: datetime, until: datetime) -> int:
        return len(self._in(since, until))

    async def past_events(self, since: datetime, until: datetime) -> AsyncIterator[list[PrefectEvent]]:
        found = self._in(since, until)
        self.asked.append(f"past_events {len(found)}")
        for start in range(0, len(found), 50):
            yield found[start : start + 50]

    async def rows(self, path: str, body: dict[str, Any], *, pages: int) -> list[dict[str, Any]]:
        if self.away:
            raise PrefectUnavailable("away")
        self.asked.append(path)
        kind = path.split("/")[1]
        wanted = body.get(kind, {}).get("id", {}).get("any_")
        rows = self.tables.get(path, [])
        return [row for row in rows if wanted is None or row["id"] in wanted]

    async def count(self, path: str, body: dict[str, Any]) -> int:
        return len(self.tables.get(path.replace("count", "filter"), []))


@dataclass
class Recording:
    inbox: Inbox
    prefect: FakePrefect
    offered: list[Event] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Recorder]:
        async def take(event: PrefectEvent) -> None:
            await admit(self.inbox, event, offer=self.offered.append)

        recording = Recorder(
            self.inbox,
            self.prefect,
            admit=take,
            export=False,
            retention=timedelta(days=30),  # type: ignore[arg-type]
        )
        task = asyncio.create_task(recording.run())
        await self.prefect.streaming()
        try:
            yield recording
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[Graph], bool], run_id: str) -> Graph:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                graph = await self.inbox.read(lambda c: build_graph(c, Kind.FLOW_RUN, run_id))
                if graph is not None and condition(graph):
                    return graph
                await asyncio.sleep(0.02)  # the tables give no sign

    async def admitted(self, number: int) -> list[str]:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.offered) < number:  # noqa: ASYNC110 (a list)
                await asyncio.sleep(0.02)
        assert len(await self.inbox.search(Search())) == len(self.offered)
        return [event.type for event in self.offered]


@pytest.fixture
async def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Recording]:
    for name, value in {
        "GATHER_SECONDS": 0.01, "SWEEP_SECONDS": 0.1, "EAGER_SWEEP_SECONDS": 0.1, "ASK_NEW_SECONDS": 0.02,
        "ASK_FINISHED_SECONDS": 0.0, "STORED_AFTER": timedelta(0), "LATE": timedelta(seconds=60),
    }.items():  # fmt: skip
        monkeypatch.setattr(recorder, name, value)
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        yield Recording(inbox, FakePrefect())


def is_completed(run_id: str) -> Callable[[Graph], bool]:
    return lambda graph: graph.nodes[f"flow_run:{run_id}"].state == "COMPLETED"


def emitted(name: str, at: datetime | None = None, *more: dict[str, str]) -> PrefectEvent:
    return PrefectEvent(some_id(), name, at or now(), {"prefect.resource.id": "thing.1"}, more, {"number": 1})


async def test_the_stream_is_recorded_as_it_comes(recording: Recording) -> None:
    """Run and task states, within moments."""
    run, task = some_id(), some_id()
    async with recording.running():
        recording.prefect.happens(
            flow_run_event(run, "RUNNING", now()),
            task_run_event(task, run, "RUNNING", now()),
            task_run_event(task, run, "COMPLETED", now()),
            flow_run_event(run, "COMPLETED", now()),
        )
        graph = await recording.until(is_completed(run), run)

    assert graph.nodes[f"task_run:{task}"].state == "COMPLETED"


async def test_what_the_stream_dropped_is_read_from_what_prefect_has_stored(recording: Recording) -> None:
    """Prefect's stream drops events when a subscriber is slow, and says nothing of it."""
    run, task = some_id(), some_id()
    async with recording.running():
        recording.prefect.happens(flow_run_event(run, "COMPLETED", now()))
        recording.prefect.happens(task_run_event(task, run, "COMPLETED", now()), streamed=False)
        graph = await recording.until(lambda graph: f"task_run:{task}" in graph.nodes, run)

    assert ("flow_run:" + run) in graph.nodes


async def test_a_recorder_goes_on_where_the_last_one_stopped(recording: Recording) -> None:
    """What happened while the gateway was down is read when it is up again."""
    before, meanwhile = some_id(), some_id()
    async with recording.running():
        recording.prefect.happens(flow_run_event(before, "COMPLETED", now()))
        await recording.until(is_completed(before), before)
    recording.prefect.happens(flow_run_event(meanwhile, "COMPLETED", now()), streamed=False)
    async with recording.running():
        await recording.until(is_completed(meanwhile), meanwhile)


async def test_a_server_that_restarts_loses_nothing(recording: Recording) -> None:
    """The stream is opened again, and what was said in between is read."""
    run = some_id()
    async with recording.running():
        recording.prefect.happens(flow_run_event(run, "RUNNING", now()))
        recording.prefect.away = True
        recording.prefect.restart()
        recording.prefect.happens(flow_run_event(run, "COMPLETED", now()), streamed=False)
        recording.prefect.away = False
        await recording.until(is_completed(run), run)


async def test_a_run_whose_events_are_all_lost_is_found_by_asking(recording: Recording) -> None:
    """Prefect's broker is in memory: what it had not stored when it died is gone, but the run is not."""
    run, task = some_id(), some_id()
    stamp = now().isoformat()
    recording.prefect.tables = {
        "/flow_runs/filter": [
            {"id": run, "name": "lost", "flow_id": "f-1", "state_type": "COMPLETED", "run_count": 1,
             "start_time": stamp, "state": {"type": "COMPLETED", "timestamp": stamp}},
        ],
        "/flows/filter": [{"id": "f-1", "name": "load"}],
        "/task_runs/filter": [
            {"id": task, "flow_run_id": run, "name": "fetch-0", "state_type": "COMPLETED",
             "state": {"type": "COMPLETED", "timestamp": stamp}},
        ],
    }  # fmt: skip
    async with recording.running():
        graph = await recording.until(lambda graph: f"task_run:{task}" in graph.nodes, run)

    assert graph.nodes[f"flow_run:{run}"].facts["flow"] == "load"


async def test_the_end_of_a_task_that_prefect_hears_of_late_is_waited_for(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy Prefect has the flow's end before those of its tasks, and the event of one may be lost."""
    monkeypatch.setattr(recorder, "LONGEST_ASK_SECONDS", 0.05)
    run, task = some_id(), some_id()
    row = {"id": task, "flow_run_id": run, "state_type": "RUNNING",
           "state": {"type": "RUNNING", "timestamp": now().isoformat()}}  # fmt: skip
    recording.prefect.tables = {"/task_runs/filter": [row]}
    async with recording.running():
        recording.prefect.happens(
            task_run_event(task, run, "RUNNING", now()),
            flow_run_event(run, "COMPLETED", now(), related("tag", "prefect.tag.event:0197")),
        )
        await recording.until(is_completed(run), run)
        row["state_type"] = "COMPLETED"
        row["state"] = {"type": "COMPLETED", "timestamp": now().isoformat()}
        graph = await recording.until(lambda graph: graph.nodes[f"task_run:{task}"].state == "COMPLETED", run)

    assert graph.nodes[f"task_run:{task}"].finished is not None


async def test_the_parent_of_a_subflow_is_asked_for(recording: Recording) -> None:
    """The task run that stands for a subflow in its parent has no events of its own."""
    parent, stand_in, child = some_id(), some_id(), some_id()
    stamp = now().isoformat()
    recording.prefect.tables = {
        "/flow_runs/filter": [
            {"id": child, "name": "child", "parent_task_run_id": stand_in, "state_type": "COMPLETED",
             "state": {"type": "COMPLETED", "timestamp": stamp}},
        ],
        "/task_runs/filter": [{"id": stand_in, "flow_run_id": parent, "name": "child-0"}],
    }  # fmt: skip
    async with recording.running():
        recording.prefect.happens(
            flow_run_event(parent, "RUNNING", now()),
            flow_run_event(child, "COMPLETED", now(), related("task-run", f"prefect.task-run.{stand_in}")),
        )
        graph = await recording.until(lambda graph: f"flow_run:{child}" in graph.nodes, parent)

    called = [(edge.source, edge.target) for edge in graph.edges if edge.link == "called"]
    assert called == [(f"task_run:{stand_in}", f"flow_run:{child}")]


async def test_a_run_that_was_deleted_before_its_end_is_gone(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing will be heard of it again."""
    monkeypatch.setattr("hookline.lineage.looking.GONE_AFTER", timedelta(0))
    run = some_id()
    async with recording.running():
        recording.prefect.happens(flow_run_event(run, "RUNNING", now()))
        graph = await recording.until(lambda graph: graph.nodes[f"flow_run:{run}"].state == "GONE", run)

    assert graph.nodes[f"flow_run:{run}"].finished is not None


# Events of others ------------------------------------------------------------------------------------


async def test_events_of_others_come_into_the_inbox_once(recording: Recording) -> None:
    """Deduplicated by Prefect's id, however often they are read, with the emitting run as their cause."""
    run, cause = some_id(), new_id()
    async with recording.running():
        event = emitted(
            "order.paid", None, related("flow-run", f"prefect.flow-run.{run}"),
            related("tag", f"prefect.tag.event:{cause}"),
        )  # fmt: skip
        recording.prefect.happens(event, event)
        await recording.admitted(1)
    async with recording.running():
        recording.prefect.happens(event, emitted("order.sent"))
        types = await recording.admitted(2)

    assert sorted(types) == ["order.paid", "order.sent"]
    paid = recording.offered[0]
    assert (paid.source, paid.source_id, paid.subject, paid.data) == (
        "prefect",
        event.id,
        "thing.1",
        {"number": 1},
    )
    assert paid.cause is not None
    assert (paid.cause.event, paid.cause.flow_run) == (cause, run)


async def test_what_was_emitted_before_hookline_was_there_starts_nothing(recording: Recording) -> None:
    """A stream that is opened gives the last minute again."""
    async with recording.running():
        recording.prefect.happens(emitted("old.news", now() - timedelta(minutes=1)), emitted("news"))
        assert await recording.admitted(1) == ["news"]


async def test_an_event_that_can_be_none_of_ours_is_passed_over(recording: Recording) -> None:
    """Prefect lets names be of any length; an index does not."""
    async with recording.running():
        recording.prefect.happens(emitted("x" * 2000), emitted("news"))
        assert await recording.admitted(1) == ["news"]


# Bounds ----------------------------------------------------------------------------------------------


async def test_only_the_part_of_a_window_that_differs_is_read_again(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event of many was dropped; Prefect is not asked for all of them again."""
    monkeypatch.setattr(recorder, "PARTED", 10)
    began = now()
    busy = some_id()
    async with recording.running():
        tasks = [
            task_run_event(some_id(), busy, "RUNNING", began + timedelta(milliseconds=number))
            for number in range(200)
        ]
        recording.prefect.happens(*tasks)
        recording.prefect.happens(flow_run_event(busy, "RUNNING", began))
        await recording.until(lambda graph: len(graph.nodes) == 201, busy)
        recording.prefect.asked.clear()
        run = some_id()
        recording.prefect.happens(
            flow_run_event(run, "COMPLETED", began + timedelta(milliseconds=100)), streamed=False
        )
        await recording.until(is_completed(run), run)

    read = [int(asked.split()[1]) for asked in recording.prefect.asked if asked.startswith("past_events")]
    assert read
    assert read[0] < 100
