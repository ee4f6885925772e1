"""What a flow run is given, and what it leaves in Prefect, is the same with a warm worker and a stock one."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookline.testing import make_event
from tests.support.servers import PrefectServer
from tests.support.told import SECRET, Telling, Treasure
from tests.support.waiting import eventually
from tests.support.workers import Pool, working

PROJECT = Path(__file__).parent.parent / "support" / "warm_project"

#: Prefect's process worker says where it starts its interpreters, and makes a name for itself.
PROCESS_WORKERS_OWN = re.compile(r"^(Worker '|Flow run '.*' submitted to infrastructure)")
#: The type of the worker, and which of the two runs was the first to use an artifact's key.
DIFFERING = re.compile(r"(?<=prefect\.worker\.)(warm|process)|(?<=artifact-collection\.)(created|updated)")
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")


class Traces:
    """What one flow run has left, with all that must differ taken out."""

    def __init__(self, pool: Pool, run_id: str) -> None:
        self._pool = pool
        self._run_id = run_id
        self._run = pool.read(run_id)

    def run(self) -> dict[str, Any]:
        keys = (
            "parameters",
            "tags",
            "flow_version",
            "empirical_policy",
            "run_count",
            "state_name",
            "work_queue_name",
        )
        return {key: self._run[key] for key in keys} | {
            "infrastructure_pid": self._run["infrastructure_pid"] != ""
        }

    def states(self) -> list[tuple[str, str]]:
        return self._pool.states(self._run_id)

    def labels(self) -> set[str]:
        return set(self._run["labels"])

    def task_runs(self) -> list[Any]:
        body = {"task_runs": {"flow_run_id": {"any_": [self._run_id]}}}
        tasks = self._pool.prefect.post("/task_runs/filter", body)
        names = {task["id"]: re.sub(r"-[0-9a-f]+$", "", task["name"]) for task in tasks}

        def inputs(task: dict[str, Any]) -> Any:
            return sorted(
                (key, sorted(json.dumps(names.get(i.get("id"), i.get("input_type"))) for i in value))
                for key, value in task["task_inputs"].items()
            )

        keys = ("task_key", "state_name", "run_count", "tags", "empirical_policy", "flow_run_run_count")
        return sorted(
            json.dumps([names[task["id"]], inputs(task), [task[key] for key in keys]], sort_keys=True)
            for task in tasks
        )

    def logs(self) -> Counter[str]:
        """Count the messages; their order differs from run to run, since tasks run side by side."""
        messages = self._pool.logs(self._run_id)
        return Counter(self._without_names(m) for m in messages if not PROCESS_WORKERS_OWN.match(m))

    def artifacts(self) -> list[Any]:
        found = self._pool.prefect.post(
            "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [self._run_id]}}}
        )
        return sorted(
            (a["key"] or "", a["type"] or "", self._without_names(json.dumps(a["data"]))) for a in found
        )

    def events(self) -> Counter[str]:
        """Count the events about the run and its tasks, each with the kinds of its related resources."""
        counted: Counter[str] = Counter()
        page = self._pool.prefect.post(
            "/events/filter",
            {"filter": {"any_resource": {"id": [f"prefect.flow-run.{self._run_id}"]}}, "limit": 50},
        )
        while True:
            for event in page["events"]:
                roles = sorted(related["prefect.resource.role"] for related in event["related"])
                kind = event["resource"]["prefect.resource.id"].rsplit(".", 1)[0]
                told = f"{event['event']} of {kind} with {roles} keys {sorted(event['payload'])}"
                counted[DIFFERING.sub("<>", told)] += 1
            if not page["next_page"]:
                return counted
            page = self._pool.prefect.get(page["next_page"].split("/api", 1)[1])

    def _without_names(self, text: str) -> str:
        for name in (self._run["name"], self._run["deployment_id"], self._pool.name):
            text = text.replace(name, "<>")
        text = re.sub(r"'[a-z]+-[a-z]+'", "'<name>'", text)  # a subflow's generated name
        text = re.sub(r"0x[0-9a-f]+|line \d+|\d+\.\d+ seconds", "<>", text)
        return IDS.sub("<id>", text)


@pytest.fixture(scope="module")
def both(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pool, Pool]]:
    """Give a pool with a warm worker and one with Prefect's process worker."""
    folder = tmp_path_factory.mktemp("same")
    warm, stock = Pool(prefect_server, "same-warm"), Pool(prefect_server, "same-stock", "process")
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    with working(prefect_server, warm.name, folder), working(prefect_server, stock.name, folder, **quick):
        yield warm, stock


@pytest.mark.parametrize("flow", ["watched", "watched_soon", "watched_failing"])
def test_a_run_leaves_the_same_traces_as_with_a_stock_worker(both: tuple[Pool, Pool], flow: str) -> None:
    """State history, labels, task runs and their inputs, logs, artifacts, events: all that Prefect keeps."""
    runs = [pool.run(pool.deploy(PROJECT, f"jobs.watched.{flow}")) for pool in both]
    for pool, run in zip(both, runs, strict=True):
        pool.await_state(run, timeout_seconds=90)
    warm, stock = (Traces(pool, run) for pool, run in zip(both, runs, strict=True))

    assert warm.states() == stock.states()
    assert warm.run() == stock.run()
    assert warm.artifacts() == stock.artifacts()

    def same(of_warm: Any, of_stock: Any) -> bool:
        assert of_warm() == of_stock()
        return True

    # Task runs, logs and events arrive a little later than the run's end.
    eventually(lambda: same(warm.labels, stock.labels), "the labels are the same")
    eventually(lambda: same(warm.task_runs, stock.task_runs), "the task runs are the same")
    eventually(lambda: same(warm.logs, stock.logs), "the logs are the same")
    eventually(lambda: same(warm.events, stock.events), "the events are the same")


def test_a_sender_reaches_no_secret(both: tuple[Pool, Pool], tmp_path: Path) -> None:
    """What a sender wrote reaches the flow as it is, and nothing of it is followed or filled in on the way.

    By templates and as the event, typed and not, validated and not, and in what the flow calls. The author's
    own reference to the same block is followed meanwhile. And where Hookline is not there to open what is
    sealed, the flow does not start, and the run's log says what to do.
    """
    treasure = Treasure.hide(both[0].prefect)
    payload = treasure.payload()
    event = make_event("order.paid", payload)
    templates = {
        "untyped": "{{ event.payload }}",
        "typed": {"whole": ["{{ event.payload }}"], "plain": "{{ event.payload.number }}"},
        "order": "{{ event.payload }}",
        "texts": ["{{ event.payload.templates[0] }}", "n {{ event.payload.parsed.value }}"],
        "block": {"$ref": {"block_document_id": treasure.block}},
    }
    whole = {"untyped": "{{ event.payload }}"}

    def start(pool: Pool, entrypoint: str, parameters: Any = None, **more: Any) -> Telling:
        deployment = pool.deploy(PROJECT, entrypoint, enforce_parameter_schema=True)
        return Telling.start(pool, deployment, tmp_path, event, parameters, **more)

    runs = [
        (
            start(pool, "jobs.told.told", templates),
            start(pool, "jobs.told.told_unchecked", whole),
            start(pool, "jobs.told_event.told_event"),
        )
        for pool in both
    ]
    # `-S` reads no .pth file, so that nothing there imports Hookline.
    bare = {
        "command": f"{sys.executable} -S -m prefect.engine",
        "env": {"PYTHONPATH": os.pathsep.join(sys.path)},
    }
    unopened = start(both[1], "jobs.told.told", templates, job_variables=bare)

    for by_templates, unchecked, by_event in runs:
        assert by_templates.told() == {
            "untyped": payload,
            "typed": {"whole": [payload], "plain": 17},
            "order": {"number": 17, "$ref": treasure.block, "more": {}},
            "texts": [payload["templates"][0], f"n {payload['parsed']['value']}"],
            "block": SECRET,
        }
        assert unchecked.told() == {"untyped": payload}
        assert by_event.told() == {
            "data": payload,
            "in a task": payload,
            "in a subflow": payload,
            "data in a subflow": payload,
            "data in a subflow without validation": payload,
            "copied data in a subflow": {"copied": payload},
        }
    assert both[1].await_state(unopened.id)["state_type"] == "FAILED"
    assert not unopened.into.exists()
    both[1].await_log(unopened.id, "install it there")
