"""The flows against a real Prefect server: what they load, leave behind, retry and send."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow, tags, task
from prefect.client.schemas.objects import State
from prefect.events import Event as PrefectEvent
from prefect.events import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOGGING_LEVEL,
    temporary_settings,
)
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from flows.catalogue import catalogue_table
from flows.ingest import ingest_resource
from flows.repository import record_push, summarise_day
from hookline import Event, sending
from hookline.event import new_id, now
from tasks.http import fetch
from tasks.resources import Resource
from tasks.settings import task_settings
from tasks.warehouse import objects, transaction
from tests.support.servers import PrefectServer

ORDERS = "id,name,amount\n1,a,1.5\n2,b,2.0\n"
TIMEOUT_SECONDS = 30


@dataclass
class Project:
    """A project whose flows run in this process, with its own data folder, files and gateway."""

    api_url: str
    web: HTTPServer
    sent: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.web.expect_request("/events", method="POST").respond_with_handler(self._accept)

    def _accept(self, request: Request) -> Response:
        self.sent.append(json.loads(request.data))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return Response(json.dumps({"id": new_id(), "status": "accepted"}), 202)

    def artifacts(self, state: State[Any]) -> dict[str, Any]:
        """Return the artifacts of a run, by key."""
        wanted = {"flow_run_id": {"any_": [str(state.state_details.flow_run_id)]}}
        found = httpx.post(f"{self.api_url}/artifacts/filter", json={"artifacts": wanted}).json()
        return {artifact["key"]: artifact for artifact in found}


@pytest.fixture
def project(
    prefect_server: PrefectServer, httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    monkeypatch.setenv("HOOKLINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOOKLINE_URL", httpserver.url_for(""))
    monkeypatch.setenv("TASKS_HOSTS", f"localhost:{httpserver.port}")
    task_settings.cache_clear()
    sending._settings.cache_clear()
    changes = {
        PREFECT_API_URL: prefect_server.api_url,
        PREFECT_HOME: tmp_path / "prefect",
        PREFECT_LOGGING_LEVEL: "CRITICAL",
        # The heartbeat of a sync flow would make each of these tests a second longer.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(changes):
        yield Project(prefect_server.api_url, httpserver)
        # The worker that emits events outlives the settings, so none may be left to other tests.
        EventsWorker.drain_all()
    task_settings.cache_clear()
    sending._settings.cache_clear()


def event(type: str, data: Any, **given: Any) -> Event:
    return Event(id=new_id(), type=type, source="test", time=now(), accepted=now(), data=data, **given)


def warehouse(query: str) -> list[dict[str, Any]]:
    with transaction() as db:
        return objects(db.execute(query))


@asynccontextmanager
async def events_of_prefect(*prefixes: str) -> AsyncIterator[Callable[[int, State[Any]], Any]]:
    """Follow Prefect's feed; gives a function that waits for a number of events of a run."""
    wanted = EventFilter(event=EventNameFilter(prefix=list(prefixes)))
    async with get_events_subscriber(filter=wanted) as feed:

        async def take(count: int, state: State[Any]) -> list[PrefectEvent]:
            run = f"prefect.flow-run.{state.state_details.flow_run_id}"
            taken: list[PrefectEvent] = []
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while len(taken) < count:
                    event = await anext(feed)
                    if run in [related.id for related in event.related]:
                        taken.append(event)
            return taken

        yield take


async def test_a_ready_file_becomes_a_table_an_asset_an_artifact_and_an_event(project: Project) -> None:
    """The asset comes from the file's, and the event tells where the rows are."""
    project.web.expect_request("/in/orders.csv").respond_with_data(ORDERS)
    url = project.web.url_for("/in/orders.csv")
    ready = event(
        "resource.ready", {"url": f"{url}?sig=secret", "sha256": hashlib.sha256(ORDERS.encode()).hexdigest()}
    )
    async with events_of_prefect("prefect.asset.materialization") as take:
        with tags(f"event:{ready.id}", "source:test"):
            state = await asyncio.to_thread(ingest_resource, ready, return_state=True)
        assert state.is_completed()
        [materialized] = await take(1, state)

    assert warehouse("SELECT id, amount, _resource FROM raw.orders ORDER BY id") == [
        {"id": 1, "amount": 1.5, "_resource": url},
        {"id": 2, "amount": 2.0, "_resource": url},
    ]
    assert materialized.event == "prefect.asset.materialization.succeeded"
    assert materialized.resource.id == "duckdb://warehouse/raw/orders"
    assert [related.id for related in materialized.related if related.role == "asset"] == [url]
    assert materialized.payload["rows"] == 2

    figures = json.loads(project.artifacts(state)["quality-orders"]["data"])
    assert [(row["column"], row["type"], row["nulls"]) for row in figures] == [
        ("id", "BIGINT", 0), ("name", "VARCHAR", 0), ("amount", "DOUBLE", 0),
    ]  # fmt: skip
    [loaded] = project.sent
    assert (loaded["type"], loaded["subject"]) == ("dataset.loaded", "orders")
    assert loaded["data"]["asset"] == "duckdb://warehouse/raw/orders"
    assert loaded["cause"]["event"] == ready.id
    assert loaded["cause"]["flow_run"] == str(state.state_details.flow_run_id)
    assert not list((task_settings().data / "staging").iterdir())


async def test_the_graph_of_a_run_tells_what_waited_for_what(project: Project) -> None:
    """Loading and profiling stand side by side after the check, and the artifact takes all the profiles."""
    wide = ",".join(f"c{n}" for n in range(20))
    project.web.expect_request("/wide.csv").respond_with_data(f"{wide}\n{wide}\n")
    async with events_of_prefect("prefect.task-run.Completed") as take:
        resource = Resource(url=project.web.url_for("/wide.csv"))
        state = await asyncio.to_thread(ingest_resource, resource=resource, return_state=True)
        assert state.is_completed()
        runs = [
            done.payload["task_run"] | {"id": done.resource.id.rpartition(".")[2]}
            for done in await take(9, state)
        ]

    kinds = {run["id"]: run["name"].rpartition("-")[0] for run in runs}
    edges = {
        (kinds[source["id"]], kinds[run["id"]])
        for run in runs
        for sources in run["task_inputs"].values()
        for source in sources
        if source["input_type"] == "task_run"
    }
    assert sorted(kinds.values()).count("profile") == 3
    assert edges == {
        ("describe", "fetch"), ("describe", "validate"), ("describe", "load"), ("describe", "announce"),
        ("fetch", "validate"),
        ("validate", "load"), ("fetch", "load"), ("validate", "profile"),
        ("profile", "publish table"), ("load", "announce"),
    }  # fmt: skip


def test_a_second_run_for_the_same_file_duplicates_nothing(project: Project) -> None:
    project.web.expect_request("/orders.csv").respond_with_data(ORDERS)
    for _ in range(2):
        ingest_resource(event("resource.ready", {"url": project.web.url_for("/orders.csv")}))
    assert warehouse("SELECT count(*) AS rows FROM raw.orders") == [{"rows": 2}]
    first, second = project.sent
    assert first["id"] != second["id"]


def test_a_broken_file_fails_the_run_with_its_line_and_loads_nothing(project: Project) -> None:
    project.web.expect_request("/orders.csv").respond_with_data("id,name\n1\n")
    state = ingest_resource(
        event("resource.ready", {"url": project.web.url_for("/orders.csv")}), return_state=True
    )
    assert state.is_failed()
    assert "line 2: 1 fields where the header has 2" in str(state.message)
    assert not task_settings().warehouse.exists()
    assert not project.sent


@pytest.mark.parametrize(
    ("answers", "fetched"),
    [([503, 500, 200], True), ([404, 200], False)],
    ids=["what is transient is retried", "what stays is not"],
)
def test_fetching_is_retried_by_prefect(
    project: Project, answers: list[int], fetched: bool, tmp_path: Path
) -> None:
    asked = iter(answers)
    project.web.expect_request("/a.csv").respond_with_handler(lambda _: Response(ORDERS, next(asked)))

    @flow
    def fetch_it() -> None:
        fetch.with_options(retry_delay_seconds=0)(Resource(url=project.web.url_for("/a.csv")), tmp_path)

    assert fetch_it(return_state=True).is_completed() is fetched
    assert list(asked) == ([] if fetched else [200])


def test_the_trace_of_the_event_goes_on_to_the_file_server_and_the_gateway(project: Project) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    project.web.expect_request("/a.csv").respond_with_data(ORDERS)
    given = {"traceparent": trace, "tracestate": "rojo=1,congo=2"}
    ingest_resource(event("resource.ready", {"url": project.web.url_for("/a.csv")}, **given))
    [fetched] = [request for request, _ in project.web.log if request.path == "/a.csv"]
    for headers in (fetched.headers, project.headers[0]):
        assert {name: headers[name] for name in given} == given


def push(*commits: tuple[str, str, str], delivery: str, ref: str = "refs/heads/main") -> Event:
    """Return a push as GitHub documents it, with commits of (sha, author, time)."""
    return event(
        "github.push",
        {
            "ref": ref,
            "compare": "https://github.com/acme/shop/compare/1...2",
            "repository": {"id": 1, "full_name": "acme/shop"},
            "commits": [
                {"id": sha * 40, "message": "Fix it\n\nat last", "timestamp": at,
                 "modified": ["a.py", "b.py"],
                 "author": {"name": author.title(), "email": "x@example.com", "username": author}}
                for sha, author, at in commits
            ],
        },
        source_id=delivery,
    )  # fmt: skip


async def test_a_push_becomes_rows_and_activity_once_however_often_it_comes(project: Project) -> None:
    """Deliveries are counted once, and so is a commit that two pushes bring."""
    first = push(
        ("a", "ann", "2026-11-23T23:30:00-05:00"), ("b", "bob", "2026-11-24T09:00:00Z"), delivery="d-1"
    )
    again = push(("b", "bob", "2026-11-24T09:00:00Z"), ("c", "ann", "2026-11-24T10:00:00Z"), delivery="d-2")
    async with events_of_prefect("prefect.asset.materialization") as take:
        states = [
            await asyncio.to_thread(record_push, each, return_state=True) for each in (first, first, again)
        ]
        [recorded] = await take(1, states[0])
    assert [await state.result() for state in states] == [2, 0, 1]
    assert warehouse("SELECT delivery, commit_count FROM pushes ORDER BY ALL") == [
        {"delivery": "d-1", "commit_count": 2}, {"delivery": "d-2", "commit_count": 2},
    ]  # fmt: skip
    assert recorded.resource.id == "duckdb://warehouse/commits"
    assert "https://github.com/acme/shop" in [related.id for related in recorded.related]

    artifacts = project.artifacts(states[-1])
    assert json.loads(artifacts["activity-acme-shop"]["data"]) == [
        {"day": "2026-11-24", "author": "ann", "commits": 1, "files": 2},
        {"day": "2026-11-24", "author": "bob", "commits": 1, "files": 2},
        {"day": "2026-11-23", "author": "ann", "commits": 1, "files": 2},
    ]  # fmt: skip
    assert "compare/1...2" in artifacts["changes-acme-shop"]["data"]


def test_a_push_that_deletes_a_branch_brings_no_commits(project: Project) -> None:
    assert record_push(push(delivery="d-1", ref="refs/heads/old")) == 0


def test_what_is_no_push_fails_the_run_with_what_is_wrong(project: Project) -> None:
    state = record_push(event("github.push", {"ref": "refs/heads/main"}), return_state=True)
    assert state.is_failed()
    assert "repository" in str(state.message)


def test_a_day_is_summed_up_anew_in_its_timezone(project: Project) -> None:
    """Berlin's 24 November begins an hour before that of UTC; a second run replaces the first one's rows."""
    record_push(
        push(
            ("a", "ann", "2026-11-23T22:30:00Z"), ("b", "ann", "2026-11-23T23:30:00Z"),
            ("c", "bob", "2026-11-24T22:30:00Z"), ("d", "bob", "2026-11-24T23:30:00Z"), delivery="d-1",
        )
    )  # fmt: skip
    for _ in range(2):
        state = summarise_day(date(2026, 11, 24), days=2, timezone="Europe/Berlin", return_state=True)
        assert state.is_completed()
    assert warehouse("SELECT day, author, commit_count FROM daily_summary ORDER BY ALL") == [
        {"day": "2026-11-23", "author": "ann", "commit_count": 1},
        {"day": "2026-11-24", "author": "ann", "commit_count": 1},
        {"day": "2026-11-24", "author": "bob", "commit_count": 1},
    ]
    assert len(json.loads(project.artifacts(state)["daily-summary"]["data"])) == 3


def test_the_catalogue_tells_once_how_a_table_changed(project: Project) -> None:
    """A run that is repeated for the same event finds, and sends, the same change."""

    def load(content: str) -> Event:
        files = task_settings().data / "files"
        files.mkdir(parents=True, exist_ok=True)
        (files / "orders.csv").write_text(content)
        ingest_resource(resource=Resource(url=(files / "orders.csv").as_uri()))
        return event("dataset.loaded", project.sent[-1]["data"])

    assert not catalogue_table(load("id\n1\n"))
    changed = load("id,colour\n1,red\n")
    for _ in range(2):
        assert catalogue_table(changed).added == {"colour": "VARCHAR"}
    assert not catalogue_table(load("id\n1\n"))
    told = [sent["data"] for sent in project.sent if sent["type"] == "dataset.changed"]
    assert told == [{"table": "orders", "added": {"colour": "VARCHAR"}, "removed": {}, "retyped": {}}] * 2


def test_a_retried_task_sends_the_same_event_again(project: Project) -> None:
    """Its calls are counted anew in each attempt, for each type; the gateway takes each id once.

    Of several events that were merged into one run, the last one is the cause.
    """
    attempts = iter([RuntimeError("after sending"), None])

    @task(retries=1)
    def work() -> None:
        for type in ("a.done", "a.done", "b.done"):
            sending.send(type)
        if wrong := next(attempts):
            raise wrong

    @flow
    def work_flow() -> None:
        work()

    with tags("event:e-1", "event:e-2"):
        state = work_flow(return_state=True)
    assert state.is_completed()
    ids = [sent["id"] for sent in project.sent]
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3
    assert {sent["cause"]["event"] for sent in project.sent} == {"e-2"}
    assert {sent["cause"]["flow_run"] for sent in project.sent} == {str(state.state_details.flow_run_id)}
    assert len({sent["cause"]["task_run"] for sent in project.sent}) == 1


def test_a_key_names_an_event_through_a_retry_of_the_whole_flow(project: Project) -> None:
    """The tasks of the second attempt are other task runs, so calls without a key are other events."""
    attempts = iter([RuntimeError("once more"), None])

    @task
    def work() -> None:
        sending.send("a.done", key="first")
        sending.send("a.done")

    @flow(retries=1)
    def work_flow() -> None:
        work()
        sending.send("flow.done")
        if wrong := next(attempts):
            raise wrong

    work_flow()
    keyed, unkeyed, of_the_flow = ([sent["id"] for sent in project.sent[start::3]] for start in range(3))
    assert keyed[0] == keyed[1]
    assert unkeyed[0] != unkeyed[1]
    assert of_the_flow[0] == of_the_flow[1]


def test_sends_side_by_side_are_told_apart(project: Project) -> None:
    """In threads and in coroutines of one task, which all share the task's counter."""

    @task
    async def work() -> None:
        await asyncio.gather(*(sending.asend("a.done") for _ in range(8)))
        await asyncio.gather(*(asyncio.to_thread(sending.send, "a.done") for _ in range(8)))

    @flow
    async def work_flow() -> None:
        await work()

    asyncio.run(work_flow())
    assert len({sent["id"] for sent in project.sent}) == 16
    assert len({sent["cause"]["task_run"] for sent in project.sent}) == 1


def test_a_subflow_sends_as_itself_with_the_event_that_started_it_all(project: Project) -> None:
    """Also where a task calls it: that task is not the one that sends."""

    @flow
    def inner() -> None:
        sending.send("inner.done")

    @task
    def calls_inner() -> None:
        inner()

    @flow
    def outer() -> None:
        calls_inner()
        sending.send("outer.done")

    with tags("event:e-1"):
        outer_run = outer(return_state=True).state_details.flow_run_id
    inner_sent, outer_sent = project.sent
    assert outer_sent["cause"] == {"event": "e-1", "flow_run": str(outer_run), "task_run": None}
    assert inner_sent["cause"]["event"] == "e-1"
    assert inner_sent["cause"]["task_run"] is None
    assert inner_sent["cause"]["flow_run"] != str(outer_run)
