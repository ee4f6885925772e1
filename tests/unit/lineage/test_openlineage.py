"""OpenLineage events: what each run exports, once, and that it keeps to the specification.

The official schemas are not part of this project. `SCHEMA` below says in our own words what version 2-0-2 of
the specification, and the versions of the facets that we name, ask for; formats are asserted.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from hookline.backoff import Backoff
from hookline.inbox import Inbox
from hookline.lineage import exporting, outbox, store
from hookline.lineage.causes import RunCause
from hookline.lineage.exporting import ATTEMPTS, Targets, Undelivered, export_for_ever, export_once
from hookline.lineage.facts import collect_facts
from hookline.lineage.openlineage import CausingEvent, Dataset, RunFacts, dataset_name, run_event
from hookline.lineage.records import FlowRun
from tests.unit.lineage.support import START, World, some_id

URI = {"type": "string", "format": "uri"}
TIME = {"type": "string", "format": "date-time"}
UUID = {"type": "string", "format": "uuid"}
TEXT = {"type": "string"}
COUNT = {"type": "integer"}


def thing(required: dict[str, Any], optional: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        **more,
    }


def facet(name: str, number: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> Any:
    """Return what a facet of this name and version must be; it says itself which version it is."""
    url = f"https://openlineage.io/spec/facets/{number}/{name}.json#/$defs/{name}"
    return thing({"_producer": URI, "_schemaURL": {**URI, "const": url}, **required}, optional)


JOB = {"namespace": TEXT, "name": TEXT}
RUN = thing({"runId": UUID})
ANY_FACET = thing({"_producer": URI, "_schemaURL": URI})
DATASET = {"namespace": {**TEXT, "minLength": 1}, "name": {**TEXT, "minLength": 1}}
DATASET_FACETS = {
    "facets": {
        "type": "object",
        "properties": {
            "documentation": facet("DocumentationDatasetFacet", "1-0-1", {"description": TEXT}),
            "ownership": facet(
                "OwnershipDatasetFacet", "1-0-1", {}, {"owners": {"items": thing({"name": TEXT})}}
            ),
        },
        "additionalProperties": ANY_FACET,
    }
}
TAG = thing({"key": TEXT, "value": TEXT}, {"source": TEXT}, additionalProperties=False)
SCHEMA: dict[str, Any] = thing(
    {
        "eventType": {"enum": ["START", "COMPLETE", "FAIL", "ABORT"]},
        "eventTime": TIME,
        "producer": URI,
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "run": thing(
            {"runId": UUID},
            {
                "facets": {
                    "type": "object",
                    "properties": {
                        "parent": facet(
                            "ParentRunFacet",
                            "1-2-0",
                            {"run": RUN, "job": thing(JOB)},
                            {"root": thing({"run": RUN, "job": thing(JOB)})},
                        ),
                        "nominalTime": facet("NominalTimeRunFacet", "1-0-1", {"nominalStartTime": TIME}),
                        "errorMessage": facet(
                            "ErrorMessageRunFacet", "1-0-1", {"message": TEXT, "programmingLanguage": TEXT}
                        ),
                        "processing_engine": facet(
                            "ProcessingEngineRunFacet",
                            "1-1-1",
                            {"version": TEXT},
                            {"name": TEXT, "openlineageAdapterVersion": TEXT},
                        ),
                        "tags": facet("TagsRunFacet", "1-0-0", {}, {"tags": {"items": TAG}}),
                    },
                    "additionalProperties": ANY_FACET,
                }
            },
        ),
        "job": thing(
            JOB,
            {
                "facets": {
                    "type": "object",
                    "properties": {
                        "jobType": facet(
                            "JobTypeJobFacet",
                            "2-0-4",
                            {"processingType": {"enum": ["BATCH", "STREAMING"]}, "integration": TEXT},
                            {"jobType": TEXT},
                        )
                    },
                    "additionalProperties": ANY_FACET,
                }
            },
        ),
        "inputs": {"type": "array", "items": thing(DATASET, DATASET_FACETS)},
        "outputs": {
            "type": "array",
            "items": thing(
                DATASET,
                {
                    **DATASET_FACETS,
                    "outputFacets": {
                        "type": "object",
                        "properties": {
                            "outputStatistics": facet(
                                "OutputStatisticsOutputDatasetFacet",
                                "1-0-2",
                                {"rowCount": COUNT},
                                {"size": COUNT},
                            )
                        },
                        "additionalProperties": ANY_FACET,
                    },
                },
            ),
        },
    },
    additionalProperties=False,
)
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)


def valid(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event that keeps to the schema, as JSON gives it."""
    document: dict[str, Any] = json.loads(json.dumps(event))
    VALIDATOR.validate(document)
    return document


def a_run(**known: Any) -> FlowRun:
    return FlowRun(
        **{
            "id": some_id(), "name": "calm-otter", "flow_name": "load", "deployment_name": "nightly",
            "state": "COMPLETED", "state_name": "Completed", "state_at": START + timedelta(seconds=5),
            "started": START, "finished": START + timedelta(seconds=5), "expected": START, **known,
        }
    )  # fmt: skip


def facts(run: FlowRun | None = None, **more: Any) -> RunFacts:
    return RunFacts(run or a_run(), **{"cause": RunCause("event"), **more})


def test_the_schema_refuses_what_the_specification_refuses() -> None:
    """A check that lets everything pass would prove nothing."""
    event = valid(run_event("start", facts(), "prefect"))
    for spoiled in (
        {**event, "run": {"runId": "not-a-uuid"}},
        {**event, "eventTime": "2026-11-24 03:00"},
        {**event, "producer": "not a uri"},
        {**event, "job": {"namespace": "prefect"}},
        {**event, "run": {**event["run"], "facets": {"custom": {"no": "producer"}}}},
    ):
        assert not VALIDATOR.is_valid(spoiled)


def test_a_run_has_a_start_and_an_end() -> None:
    """Both of one run and one job, at the times of the run."""
    run = a_run()
    start, end = (valid(run_event(step, facts(run), "prefect")) for step in ("start", "end"))

    assert (start["eventType"], start["eventTime"]) == ("START", "2026-11-24T03:00:00Z")
    assert (end["eventType"], end["eventTime"]) == ("COMPLETE", "2026-11-24T03:00:05Z")
    assert start["run"]["runId"] == end["run"]["runId"] == run.id
    assert start["job"]["name"] == end["job"]["name"] == "load/nightly"
    assert start["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-11-24T03:00:00Z"


@pytest.mark.parametrize(
    ("state", "type"), [("FAILED", "FAIL"), ("CRASHED", "FAIL"), ("CANCELLED", "ABORT"), ("GONE", "ABORT")]
)
def test_what_went_wrong_is_told(state: str, type: str) -> None:
    """The error's message, where there is one, and at least what state it is."""
    told = valid(run_event("end", facts(a_run(state=state, message="no rows")), "prefect"))
    silent = valid(run_event("end", facts(a_run(state=state, state_name=state.title())), "prefect"))

    assert (told["eventType"], told["run"]["facets"]["errorMessage"]["message"]) == (type, "no rows")
    assert silent["run"]["facets"]["errorMessage"]["message"] == state.title()


def test_a_run_that_never_ran_is_still_told_of_in_full() -> None:
    """It was cancelled while it waited, so its start is its end."""
    run = a_run(started=None, state="CANCELLED")
    start = valid(run_event("start", facts(run), "prefect"))

    assert start["eventTime"] == "2026-11-24T03:00:05Z"


def test_parent_and_root_are_the_runs_that_led_to_it() -> None:
    """With the job of each; the parent is its own root where nothing is above it."""
    parent, root = a_run(flow_name="parent"), a_run(flow_name="root", deployment_name=None)
    deep = valid(run_event("start", facts(parent=parent, root=root), "prefect"))["run"]["facets"]["parent"]
    flat = valid(run_event("start", facts(parent=parent), "prefect"))["run"]["facets"]["parent"]

    assert (deep["run"]["runId"], deep["job"]["name"]) == (parent.id, "parent/nightly")
    assert (deep["root"]["run"]["runId"], deep["root"]["job"]["name"]) == (root.id, "root")
    assert flat["root"]["run"]["runId"] == parent.id


def test_assets_are_datasets_with_what_is_known_of_them() -> None:
    """Description, owners, and the number of rows where the flow said one."""
    event = valid(
        run_event(
            "end",
            facts(
                inputs=[Dataset("s3://raw/orders.csv")],
                outputs=[
                    Dataset("db://shop/prices", "Prices", "of today", ("ann",), {"rows": 3, "bytes": 99})
                ],
            ),
            "prefect",
        )
    )

    assert (event["inputs"][0]["namespace"], event["inputs"][0]["name"]) == ("s3://raw", "orders.csv")
    output = event["outputs"][0]
    assert output["facets"]["documentation"]["description"] == "of today"
    assert output["facets"]["ownership"]["owners"] == [{"name": "ann"}]
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (3, 99)


@pytest.mark.parametrize("rows", [True, -1, "3", 2.5, None])
def test_metadata_that_is_no_count_is_no_count(rows: object) -> None:
    """Flows may attach what they like under any name."""
    event = valid(run_event("end", facts(outputs=[Dataset("db://a/b", details={"rows": rows})]), "prefect"))

    assert "outputFacets" not in event["outputs"][0]


@pytest.mark.parametrize(
    ("key", "namespace", "name"),
    [
        ("s3://bucket/raw/orders", "s3://bucket", "raw/orders"),
        ("postgres://host:5432/shop/orders", "postgres://host:5432", "shop/orders"),
        ("file:///srv/data/x.csv", "file", "/srv/data/x.csv"),
        ("duckdb://warehouse", "duckdb", "warehouse"),
        ("warehouse", "prefect", "warehouse"),
    ],
)
def test_an_asset_is_named_by_its_system_and_its_path(key: str, namespace: str, name: str) -> None:
    """As OpenLineage names datasets: scheme and authority, then the path."""
    assert dataset_name(key) == (namespace, name)


def test_the_events_that_started_a_run_are_its_tags() -> None:
    """Ten of them, however many were merged."""
    events = [CausingEvent(some_id(), "order.placed", "shop") for _ in range(12)]
    tags = valid(run_event("start", facts(events=events), "prefect"))["run"]["facets"]["tags"]["tags"]

    assert [tag["value"] for tag in tags if tag["key"] == "hookline.event"] == [e.id for e in events[:10]]
    assert {"key": "hookline.cause", "value": "event", "source": "HOOKLINE"} in tags


# From the tables -------------------------------------------------------------------------------------


def test_facts_are_collected_from_the_tables(world: World) -> None:
    """A chain by an event and a call below it: parent, root, events, inputs and outputs."""
    first = world.event("order.placed")
    root = world.run(first)
    world.write(root, "db://orders")
    second = world.event("orders.stored", by=root)
    middle = world.run(second)
    child = world.run(parent_flow_run_id=middle, parent_task_run_id=some_id())
    world.write(child, "db://prices", "db://orders", details={"rows": 7})
    world.write(child, "db://spoiled", succeeded=False)

    found = collect_facts(world.connection, child)
    above = collect_facts(world.connection, middle)

    assert found is not None
    assert above is not None
    assert (found.parent and found.parent.id, found.root and found.root.id) == (middle, root)
    assert [dataset.key for dataset in found.outputs] == ["db://prices"]
    assert [dataset.key for dataset in found.inputs] == ["db://orders"]
    assert found.cause.kind == "parent"
    assert [event.id for event in above.events] == [second]
    valid(run_event("end", found, "prefect"))


def seen(world: World, run: FlowRun) -> list[tuple[str, str, int]]:
    world.record(run, export=True)
    return outbox.waiting_exports(world.connection, limit=100)


def test_a_run_is_exported_once_however_often_it_is_seen(world: World) -> None:
    """START at its first start, the end only after Prefect was asked about it, neither of them twice."""
    run = a_run()
    pending = replace(
        run, state="PENDING", started=None, finished=None, state_at=START - timedelta(seconds=1)
    )

    assert seen(world, pending) == []
    assert seen(world, replace(run, state="RUNNING", finished=None, state_at=START)) == [(run.id, "start", 0)]
    assert seen(world, run) == [(run.id, "start", 0)]
    assert seen(world, replace(run, settled=True)) == [(run.id, "start", 0), (run.id, "end", 0)]
    outbox.forget_exports(world.connection, [(run.id, "start"), (run.id, "end")], counted="openlineage_sent")
    again = replace(run, state="RUNNING", finished=None, state_at=START + timedelta(minutes=1))
    assert seen(world, again) == []
    assert seen(world, replace(run, settled=True, state_at=START + timedelta(minutes=2))) == []


def test_the_outbox_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the endpoint away for long the oldest events are given up, and counted."""
    monkeypatch.setattr(outbox, "WAITING", 5)
    for _ in range(6):
        world.tick()
        world.record(a_run(settled=True), export=True)

    assert len(outbox.waiting_exports(world.connection, limit=100)) == 5


# Sending ---------------------------------------------------------------------------------------------


async def an_inbox_with(tmp_path: Path, inbox: Inbox, runs: int) -> list[str]:
    recorded = [a_run(settled=True) for _ in range(runs)]
    for number, run in enumerate(recorded):
        at = START + timedelta(seconds=number)
        await inbox.write(lambda c, run=run, at=at: store.apply(c, [run], at=at, export=True))  # type: ignore[misc]
    return [run.id for run in recorded]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(exporting, "BACKOFF", Backoff(ceiling=timedelta(milliseconds=50)))


async def drained(inbox: Inbox) -> None:
    async with asyncio.timeout(30):
        while await inbox.read(lambda c: outbox.waiting_exports(c, limit=1)):  # noqa: ASYNC110 (a table)
            await asyncio.sleep(0.02)  # the outbox is a table and gives no sign


async def test_events_reach_endpoint_and_file_in_order(tmp_path: Path, httpserver: HTTPServer) -> None:
    """Each run's START before its end, in the order of the runs, and through failures of the endpoint."""
    got: list[dict[str, Any]] = []
    failures = iter([503, 429])

    def take(request: Request) -> Response:
        assert request.headers["Authorization"] == "Bearer made-up-key"
        if (status := next(failures, None)) is not None:
            return Response(status=status)
        got.append(valid(json.loads(request.data)))
        return Response(status=201)

    httpserver.expect_request("/api/v1/lineage", method="POST").respond_with_handler(take)
    file = tmp_path / "exports" / "lineage.jsonl"
    targets = Targets(httpserver.url_for("/api/v1/lineage"), "made-up-key", file, "prefect")
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        run_ids = await an_inbox_with(tmp_path, inbox, 3)
        sending = asyncio.create_task(export_for_ever(inbox, targets))
        try:
            await drained(inbox)
        finally:
            sending.cancel()
        totals = await inbox.totals()

    assert [(e["run"]["runId"], e["eventType"]) for e in got] == [
        (run_id, type) for run_id in run_ids for type in ("START", "COMPLETE")
    ]
    assert [json.loads(line) for line in file.read_text().splitlines()] == got
    assert totals["openlineage_sent"] == 6


async def test_an_event_that_is_refused_does_not_hold_up_the_others(
    tmp_path: Path, httpserver: HTTPServer
) -> None:
    """A 400 will not become better; it is counted, and the next one goes."""
    answers = iter([400, 201])
    httpserver.expect_request("/").respond_with_handler(lambda _: Response(status=next(answers)))
    targets = Targets(httpserver.url_for("/"), "", None, "prefect")
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        await an_inbox_with(tmp_path, inbox, 1)
        sending = asyncio.create_task(export_for_ever(inbox, targets))
        try:
            await drained(inbox)
        finally:
            sending.cancel()
        totals = await inbox.totals()

    assert (totals["openlineage_refused"], totals["openlineage_sent"]) == (1, 1)


async def test_an_event_that_an_endpoint_chokes_on_is_given_up(tmp_path: Path) -> None:
    """Errors of the server count against the event that met them; silence counts against nobody."""

    async def choke(event: dict[str, Any]) -> None:
        raise Undelivered("500", answered=True)

    async def away(event: dict[str, Any]) -> None:
        raise Undelivered("away", answered=False)

    targets = Targets("http://127.0.0.1:9", "", None, "prefect")
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        await an_inbox_with(tmp_path, inbox, 1)
        for _ in range(ATTEMPTS + 5):
            with pytest.raises(Undelivered):
                await export_once(inbox, targets, away)
        assert len(await inbox.read(lambda c: outbox.waiting_exports(c, limit=9))) == 2
        for _ in range(ATTEMPTS):
            with pytest.raises(Undelivered):
                await export_once(inbox, targets, choke)
        waiting = await inbox.read(lambda c: outbox.waiting_exports(c, limit=9))

    assert [step for _, step, _ in waiting] == ["end"]


def test_the_key_is_not_shown() -> None:
    """Neither in an error nor in a log."""
    assert "made-up-key" not in repr(Targets("http://x", "made-up-key", None, "prefect"))
