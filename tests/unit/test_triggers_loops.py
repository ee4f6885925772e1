"""A trigger that stays with Prefect must not be fired by the runs that it starts, unless that is meant."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

from hookline.triggers.own_runs import KEY, Runs, own_event, rings
from hookline.triggers.reading import loop_fault

RUNS = Runs(deployment="on-failure", flow="tell", work_pool="warm", tags=["ops"])
FAILED = {"expect": ["prefect.flow-run.Failed"]}
ANOTHER = "prefect.flow.0198c0de-0000-7000-8000-000000000000"


def related(role: str, **labels: Any) -> dict[str, Any]:
    return {
        "prefect.resource.role": role,
        **{f"prefect.resource.{key}": value for key, value in labels.items()},
    }


LOOPS: list[dict[str, Any]] = [
    {},
    {"expect": []},
    {"expect": ["*"]},
    {"expect": ["p*"]},
    {"expect": ["prefect.*"]},
    {"expect": ["prefect.flow-run.*"]},
    {"expect": ["prefect.flow-run.Completed"]},
    {"expect": ["prefect.flow-run.A state of mine"]},
    {"expect": ["prefect.flow-run.[CF]*"]},
    {"expect": ["order.paid", "prefect.task-run.Failed"]},
    {"expect": ["prefect.worker.executed-flow-run"]},
    {"expect": ["prefect.automation.triggered"]},
    {"expect": ["{{ prefect.variables.expected }}"]},
    {"expect": ["prefect.flow-run.{{ prefect.variables.state }}"]},
    {"match": {}},
    {"match": {}, "match_related": {}, "for_each": ["prefect.resource.id"]},
    {"expect": [], "for_each": ["prefect.resource.id"], "threshold": 5, "within": 60},
    {"expect": ["prefect.flow-run.*"], "match": {"prefect.resource.id": "prefect.flow-run.*"}},
    {"expect": ["prefect.flow-run.*"], "match": {"prefect.resource.name": "*"}},
    {"expect": ["prefect.flow-run.*"], "match": {"prefect.state-type": ["FAILED", "CRASHED"]}},
    {"expect": ["prefect.flow-run.*"], "match_related": related("flow", name="tell")},
    {"expect": ["prefect.flow-run.*"], "match_related": related("flow", name="!pay")},
    {"expect": ["prefect.flow-run.*"], "match_related": related("deployment", name="on-*")},
    {"expect": ["prefect.flow-run.*"], "match_related": related("work-pool", name="warm")},
    {"expect": ["prefect.flow-run.*"], "match_related": {"prefect.resource.id": "prefect.tag.ops"}},
    {"expect": ["prefect.flow-run.*"], "match_related": [related("flow", name="*"), {}]},
    {"posture": "Proactive", "expect": ["prefect.flow-run.Completed"], "within": 60},
    {"posture": "Proactive", "expect": ["order.paid"], "after": ["prefect.flow-run.Running"], "within": 60},
    {"type": "compound", "require": "any", "triggers": [{"expect": ["order.paid"]}, {"expect": []}]},
    {"type": "sequence", "triggers": [{"expect": ["prefect.flow-run.*"]}, {"expect": ["a"]}]},
    {"require": "all", "triggers": [{"triggers": [{"type": "event"}]}]},
]

FINE: list[dict[str, Any]] = [
    {"expect": ["order.paid"], "threshold": 3},
    {"expect": ["hookline.order.*"]},
    {"expect": ["prefect.work-pool.not-ready"]},
    {"expect": ["prefect.block.*"]},
    {"expect": ["prefect.deployment.created"]},
    {"expect": ["prefect.worker.started"]},
    {"expect": ["!order.paid"]},
    {**FAILED, "match_related": related("flow", name="pay")},
    {**FAILED, "match_related": related("flow", name="!tell")},
    {**FAILED, "match_related": related("deployment", name=["pay", "book"])},
    {**FAILED, "match_related": {"prefect.resource.id": "prefect.tag.money"}},
    {**FAILED, "match_related": {"prefect.resource.id": ANOTHER}},
    {**FAILED, "match_related": [related("flow", name="pay"), related("work-pool")]},
    {"match": {"hookline.source": "shop"}},
    {"expect": [], "match": {"prefect.resource.id": "prefect.work-pool.*"}},
    {"expect": ["prefect.asset.materialization.*"], "match": {"prefect.resource.id": "s3://lake/*"}},
    {"after": ["prefect.flow-run.Running"], "expect": ["order.paid"]},
    {"type": "metric", "metric": {}},
    {"type": "compound", "require": "all", "triggers": [{"expect": ["a"]}, {"expect": ["b.*"]}]},
]  # fmt: skip


@pytest.mark.parametrize("trigger", LOOPS, ids=str)
def test_one_that_its_own_runs_would_fire_is_refused(trigger: dict[str, Any]) -> None:
    """One event, and runs without end."""
    reason = loop_fault(trigger, RUNS)
    assert reason is not None
    assert "runs without end" in reason
    assert f"`{KEY}: true`" in reason


def test_the_event_that_would_fire_it_is_named() -> None:
    """Which it expects by name, waits for after another, or expects within another trigger."""
    after = {"posture": "Proactive", "expect": ["order.paid"], "after": ["prefect.flow-run.Running"]}
    within = {"type": "compound", "require": "any", "triggers": [FAILED]}
    for trigger, event in ((FAILED, "Failed"), (after, "Running"), (within, "Failed")):
        reason = loop_fault(trigger, RUNS)
        assert reason is not None
        assert reason.startswith(f"prefect.flow-run.{event} of the runs that it starts would fire it")
    assert (loop_fault({"expect": []}, RUNS) or "").startswith(
        "it expects no event by name, so any will do: "
    )


@pytest.mark.parametrize("trigger", LOOPS, ids=str)
def test_it_may_say_that_this_is_meant(trigger: dict[str, Any]) -> None:
    """With a key of its own, and nothing but `true` will do."""
    assert loop_fault({**trigger, KEY: True}, RUNS) is None
    assert loop_fault({**trigger, KEY: False}, RUNS) is not None


@pytest.mark.parametrize("trigger", FINE, ids=str)
def test_one_that_its_own_runs_cannot_fire_is_not(trigger: dict[str, Any]) -> None:
    """Names, labels or related resources leave its own runs out."""
    assert loop_fault(trigger, RUNS) is None


STOCK = [each for each in (*LOOPS, *FINE) if "{{" not in str(each) and each.get("type", "event") == "event"]


@pytest.mark.parametrize("trigger", [each for each in STOCK if "triggers" not in each], ids=str)
@pytest.mark.parametrize("state", ["Completed", "Failed", "Running", "A state of mine"])
def test_prefect_would_say_the_same_of_a_run_of_its_own(trigger: dict[str, Any], state: str) -> None:
    """What Prefect's matching says to a flow run's event is never missed."""
    types = {"Completed": "COMPLETED", "Failed": "FAILED", "Running": "RUNNING"}
    event = ReceivedEvent.model_validate(
        {
            "occurred": datetime.now(UTC),
            "event": f"prefect.flow-run.{state}",
            "id": uuid.uuid4(),
            "resource": {
                "prefect.resource.id": f"prefect.flow-run.{uuid.uuid4()}",
                "prefect.resource.name": "brave-otter",
                "prefect.state-name": state,
                "prefect.state-type": types.get(state, "COMPLETED"),
            },
            "related": [
                related("flow", id=f"prefect.flow.{uuid.uuid4()}", name="tell"),
                related("deployment", id=f"prefect.deployment.{uuid.uuid4()}", name="on-failure"),
                related("work-queue", id=f"prefect.work-queue.{uuid.uuid4()}", name="default"),
                related("work-pool", id=f"prefect.work-pool.{uuid.uuid4()}", name="warm"),
                related("tag", id="prefect.tag.ops"),
            ],
        }
    )
    prefects = EventTrigger.model_validate({"posture": "Reactive", "threshold": 1, "within": 0, **trigger})
    if prefects.covers(event) and prefects.expects(event.event):
        assert own_event(trigger, RUNS) is not None


def test_a_flow_whose_name_nobody_knows_yet_is_judged_by_the_rest() -> None:
    """Deploying asks again, with its name."""
    unknown = Runs(deployment="on-failure", flow=None)
    names = {"expect": ["prefect.flow-run.*"]}
    assert own_event(names, unknown)
    assert not own_event({**names, "match_related": related("flow", name="pay")}, unknown)


def on(flow: str, state: str = "Completed", **keys: Any) -> dict[str, Any]:
    return {"expect": [f"prefect.flow-run.{state}"], "match_related": related("flow", name=flow), **keys}


@pytest.mark.parametrize(
    ("triggers", "found"),
    [
        ({"a": [on("b")], "b": [on("a")]}, [["a", "b"]]),
        ({"a": [on("c")], "b": [on("a")], "c": [on("b")]}, [["a", "b", "c"]]),
        ({"a": [on("!a", "Failed")], "b": [on("!b", "Failed")]}, [["a", "b"]]),
        ({"a": [on("b")], "b": [on("a", may_start_itself=True)]}, []),
        ({"a": [], "b": [on("a")], "c": [on("b"), on("a")]}, []),
        ({"a": [on("!a", "Failed")], "b": [], "c": []}, []),
        (
            {"a": [on("b")], "b": [on("a")], "c": [on("d")], "d": [on("c")], "e": [on("a")]},
            [["a", "b"], ["c", "d"]],
        ),
    ],
)  # fmt: skip
def test_deployments_that_start_each_other_are_found(
    triggers: dict[str, list[dict[str, Any]]], found: list[list[str]]
) -> None:
    """Each ring once; it is a warning, since it may end by itself."""
    assert rings([(Runs(name, name), left) for name, left in triggers.items()]) == found
