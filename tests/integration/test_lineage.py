"""Lineage with everything real: flows that write down what they do, and a graph that must say the same.

The tests share one system and run in this order; each leaves it working.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from hookline.event import new_id
from tests.support.chain import LINKS, TERMINAL, Shop, facts, of_chain, running_shop
from tests.support.up import until
from tests.unit.lineage.test_openlineage import valid

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
#: Chains at the same time. `scripts/bench lineage` compares a hundred.
CHAINS = 8


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with running_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


def test_one_webhook_is_traced_through_three_flows_and_two_assets(shop: Shop) -> None:
    """Also when the Prefect server is killed in the middle, and all of its events are deleted at the end."""
    shop.close_gate(1)
    event = shop.deliver("order", 1, traceparent=TRACE, tracestate=STATE)
    until(lambda: len(shop.truth("started")) == 2, "the second flow runs", 60)
    os.kill(shop.up.pids["Prefect server"], signal.SIGKILL)
    shop.up.wait_for("Prefect server")
    until(lambda: _is_up(shop.up.api), "the Prefect server is there again", 60)
    shop.open_gate(1)

    def complete() -> dict[str, Any] | None:
        """What the run told Prefect while it was away is told late, after the run's end."""
        graph = shop.settled("event", event, events=3)
        subflow = {key for _, _, key in shop.truth("is")} & {node["key"] for node in graph["nodes"]}
        return graph if subflow and facts(graph, *LINKS) >= shop.truth(*LINKS) else None

    graph = until(complete, "all that the flows wrote down is in the graph", 60)

    assert facts(graph, *LINKS) == shop.truth(*LINKS)
    assert {node["id"] for node in graph["nodes"] if node["kind"] == "asset"} == {
        "memory://shop/orders/1",
        "memory://shop/prices/1",
    }
    kinds = [node["kind"] for node in graph["nodes"]]
    # Three flows and the last one's subflow; its tasks, and the one that stands for it in its parent.
    assert (kinds.count("flow_run"), kinds.count("task_run"), kinds.count("artifact")) == (4, 8, 1)
    _delete_prefects_events(shop)
    assert shop.lineage("event", event) == graph
    # The pages and the command line draw from the same document.
    traced = shop.up.run("trace", event, "--json")
    assert json.loads(traced.stdout) == graph


def test_the_trace_can_be_read_from_any_of_its_ends(shop: Shop) -> None:
    """By a run's id, by an asset's key; as a tree and as a flowchart."""
    event = next(iter(shop.truth("started")))[1].removeprefix("event:")
    graph = shop.lineage("event", event)
    last = shop.lineage("asset", "memory://shop/prices/1", direction="up")
    run = next(node["id"] for node in last["nodes"] if node["kind"] == "flow_run")

    assert {n["id"] for n in last["nodes"] if n["kind"] == "event"} <= {n["id"] for n in graph["nodes"]}
    tree = shop.up.run("trace", run).stdout
    assert "shop.order" in tree
    assert "sent orders.stored" in tree
    assert "wrote memory://shop/prices/1" in tree
    assert shop.up.run("trace", "memory://shop/orders/1", "--mermaid").stdout.startswith("flowchart LR")
    assert "There is no event, flow run or asset" in shop.up.run("trace", new_id()).stderr


def test_a_trace_context_is_carried_from_the_webhook_to_the_last_event(shop: Shop) -> None:
    """Into the runs, by label, and out of them with every event that they send."""
    last = next(e for _, _, e in shop.truth("sent")).removeprefix("event:")
    run = next(r for _, e, r in shop.truth("started") if e == f"event:{last}").removeprefix("flow_run:")

    stored = sqlite3.connect(f"file:{shop.up.data / 'inbox.db'}?mode=ro", uri=True)
    contexts = set(stored.execute("SELECT traceparent, tracestate FROM events"))
    stored.close()

    assert contexts == {(TRACE, STATE)}
    labels = shop.prefect.runs(id={"any_": [run]})[0]["labels"]
    assert (labels["hookline.traceparent"], labels["hookline.tracestate"]) == (TRACE, STATE)


def test_concurrent_chains_do_not_mix(shop: Shop) -> None:
    """Not one edge more or less than the flows themselves wrote down."""
    events = [shop.deliver("order", number) for number in range(100, 100 + CHAINS)]

    graphs = [shop.settled("event", event, events=3) for event in events]

    truth = shop.truth(*LINKS)
    for graph in graphs:
        assert facts(graph, *LINKS) == of_chain(graph, truth)
    found = set().union(*(facts(graph, *LINKS) for graph in graphs))
    assert len({fact for fact in truth if fact[0] == "started"} - found) == 3  # those of the first test
    tasks = shop.truth("ran")
    for graph in graphs:
        assert of_chain(graph, tasks) <= facts(graph, "ran")


def test_an_event_emitted_with_prefects_own_means_starts_its_flow_once(shop: Shop) -> None:
    """It comes in as source `prefect`, with the run that emitted it as its cause, and only once."""
    event = shop.deliver("emit", 1)

    graph = shop.settled("event", event, events=2)

    emitted = next(node for node in graph["nodes"] if node["kind"] == "event" and node["source"] == "prefect")
    assert (emitted["type"], emitted["subject"]) == ("legacy.finished", "legacy.1")
    assert [e for _, e, _ in shop.truth("heard")] == [emitted["key"]]
    assert shop.http.get(f"{shop.up.url}/events/{emitted['id']}").json()["cause"]["event"] == event


def test_every_run_says_why_it_exists(shop: Shop) -> None:
    """Called by a run, made by a schedule, by an automation, by hand; what can be forged is marked so."""
    deployment = shop.prefect.get("/deployments/name/other-answer/answer")["id"]
    called = shop.deliver("call", 1)
    shop.prefect.post(f"/deployments/{deployment}/create_flow_run", {"name": "by-hand"})
    # Prefect's scheduler looks at once after a deployment was changed; the first run is due soon after.
    (schedule,) = shop.prefect.post(
        f"/deployments/{deployment}/schedules", [{"active": True, "schedule": {"interval": 8}}]
    )
    shop.prefect.patch(f"/deployments/{deployment}", {"description": "changed"})
    shop.prefect.post("/automations/", _automation(deployment))
    shop.prefect.post(
        "/events",
        [{"id": new_id(), "event": "test.alarm", "occurred": datetime.now(UTC).isoformat(),
          "resource": {"prefect.resource.id": "test"}, "payload": {}}],
    )  # fmt: skip

    def causes() -> dict[str, bool] | None:
        found: dict[str, bool] = {}
        for run in shop.prefect.runs(
            deployment_id={"any_": [deployment]}, state={"type": {"any_": ["COMPLETED"]}}
        ):
            answer = shop.http.get(f"{shop.up.url}/lineage/run/{run['id']}")
            if answer.status_code == 200:
                node = next(n for n in answer.json()["nodes"] if n["id"] == run["id"])
                # One that has just ended may not have been asked for yet.
                if node["cause"]["kind"] != "unknown":
                    found[node["cause"]["kind"]] = node["cause"]["claimed"]
        return found if len(found) == 4 else None

    assert until(causes, "all four runs are known", 60) == {
        "parent": False,
        "schedule": False,
        "automation": True,
        "manual": False,
    }
    shop.http.delete(f"{shop.up.api}/deployments/{deployment}/schedules/{schedule['id']}").raise_for_status()
    # What the called deployment sent belongs to the trace of the event that began it all.
    graph = shop.settled("event", called, events=2)
    assert {n["type"] for n in graph["nodes"] if n["kind"] == "event"} == {"shop.call", "answer.given"}
    assert len(shop.http.get(f"{shop.up.url}/events/{called}").json()["effects"]) == 1


def test_impact_lists_every_run_and_asset_below_an_event(shop: Shop) -> None:
    """The whole chain of that event and nothing of the others."""
    event = next(e for _, e, _ in shop.truth("started")).removeprefix("event:")
    first = shop.lineage("event", event, direction="up")["nodes"]
    root = next(n["id"] for n in first if n["kind"] == "event" and n["type"] == "shop.order")

    listed = json.loads(shop.up.run("impact", root, "--json").stdout)

    assert (len(listed["runs"]), len(listed["assets"]), len(listed["events"])) == (4, 2, 2)
    printed = shop.up.run("impact", root).stdout
    assert "4 runs, 2 assets, 2 events" in printed
    assert "wrote memory://shop/orders/" in shop.up.run("impact", root, "--tree").stdout


def test_every_run_is_exported_to_openlineage_once(shop: Shop) -> None:
    """One START and one end for each run, each valid, with parents, roots and datasets."""
    ended = {run["id"] for run in shop.prefect.runs(state={"type": {"any_": list(TERMINAL)}})}

    def exported() -> list[dict[str, Any]] | None:
        lines = (shop.folder / "openlineage.jsonl").read_text().splitlines()
        events = [valid(json.loads(line)) for line in lines]
        ends = {e["run"]["runId"] for e in events if e["eventType"] != "START"}
        return events if ended <= ends else None

    events: list[dict[str, Any]] = until(exported, "all runs are exported", 60)

    steps = [(event["run"]["runId"], event["eventType"] == "START") for event in events]
    assert len(steps) == len(set(steps))
    assert {(run_id, start) for run_id in ended for start in (True, False)} <= set(steps)
    summary = next(e for e in events if e["job"]["name"] == "chain-summary" and e["eventType"] != "START")
    assert summary["run"]["facets"]["parent"]["job"]["name"] == "chain-report/report"
    assert summary["run"]["facets"]["parent"]["root"]["job"]["name"] == "chain-orders/orders"
    ends = [e for e in events if e["job"]["name"] == "chain-prices/prices" and e["eventType"] == "COMPLETE"]
    # But for the run whose server was killed: what it wrote was heard of when its end had been sent.
    datasets = [(len(event["inputs"]), len(event["outputs"])) for event in ends]
    assert datasets.count((1, 1)) >= CHAINS


def _is_up(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _delete_prefects_events(shop: Shop) -> None:
    """Do what Prefect does after seven days."""
    database = sqlite3.connect(shop.up.data / "prefect" / "prefect.db", timeout=30)
    with database:
        for table in ("event_resources", "events"):
            database.execute(f"DELETE FROM {table}")  # noqa: S608 (two names of ours)
    database.close()


def _automation(deployment: str) -> dict[str, Any]:
    return {
        "name": "on-alarm",
        "trigger": {
            "type": "event",
            "expect": ["test.alarm"],
            "posture": "Reactive",
            "threshold": 1,
            "within": 0,
        },
        "actions": [{"type": "run-deployment", "source": "selected", "deployment_id": deployment}],
    }
