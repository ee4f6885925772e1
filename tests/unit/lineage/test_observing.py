"""What Prefect's events and rows say, and how news is merged that comes in any order."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from hookline.feed import PrefectEvent
from hookline.lineage.observing import DETAILS_BYTES, flow_run_row, is_foreign, observe, task_run_row
from hookline.lineage.records import (
    Artifact,
    Asset,
    FlowRun,
    Input,
    TaskRun,
    Write,
    merge_flow_run,
    merge_task_run,
)
from tests.unit.lineage.support import START, flow_run_event, related, some_id, task_run_event

RUN, TASK = some_id(), some_id()
FLOW_RUN_ROLE = related("flow-run", f"prefect.flow-run.{RUN}", "calm-otter")
TASK_RUN_ROLE = related("task-run", f"prefect.task-run.{TASK}", "write-0")


def test_a_flow_runs_event_says_what_runs_and_where() -> None:
    """Flow, deployment, tags, parent and creator come as related resources."""
    seen = observe(
        flow_run_event(
            RUN, "RUNNING", START,
            related("deployment", "prefect.deployment.d-1", "nightly"),
            related("task-run", f"prefect.task-run.{TASK}"),
            related("tag", "prefect.tag.event:e-1"),
            related("creator", "prefect.automation.a-1", "on-failure"),
        )
    )  # fmt: skip

    assert isinstance(seen, FlowRun)
    assert (seen.id, seen.name, seen.flow_name) == (RUN, "calm-otter", "load")
    assert (seen.deployment_id, seen.deployment_name) == ("d-1", "nightly")
    assert (seen.parent_task_run_id, seen.tags) == (TASK, ("event:e-1",))
    assert (seen.creator_kind, seen.creator_name) == ("AUTOMATION", "on-failure")
    assert (seen.state, seen.started, seen.state_at) == ("RUNNING", START, START)


def test_a_task_runs_event_says_what_it_was_given() -> None:
    """The results of other runs count; parameters and constants do not. A parent is a parent only."""
    seen = observe(
        task_run_event(
            TASK, RUN, "COMPLETED", START,
            start_time="2026-11-24T02:59:59Z",
            task_inputs={
                "rows": [{"input_type": "task_run", "id": "t-1"}, {"input_type": "task_run", "id": "t-2"}],
                "state": [{"input_type": "flow_run", "id": "f-1"}],
                "limit": [{"input_type": "parameter", "name": "limit"}],
                "__parents__": [{"input_type": "task_run", "id": "t-2"}],
            },
        )
    )  # fmt: skip

    assert isinstance(seen, TaskRun)
    assert seen.started == START - timedelta(seconds=1)
    assert set(seen.inputs) == {
        Input("t-1", "task_run"),
        Input("t-2", "parent"),
        Input("f-1", "flow_run"),
    }


def test_a_materialization_is_a_write_with_what_went_into_it() -> None:
    """Upstream assets, the tool, and the metadata that the flow gave."""
    seen = observe(
        PrefectEvent(
            id="w-1",
            name="prefect.asset.materialization.failed",
            occurred=START,
            resource={
                "prefect.resource.id": "db://prices",
                "prefect.resource.name": "Prices",
                "prefect.asset.owners": '["ann"]',
            },
            related=(
                FLOW_RUN_ROLE,
                TASK_RUN_ROLE,
                related("asset", "db://orders"),
                related("asset-materialized-by", "dbt"),
            ),
            payload={"rows": 3},
        )
    )

    assert isinstance(seen, Write)
    assert (seen.asset.key, seen.asset.name, seen.asset.owners) == ("db://prices", "Prices", ("ann",))
    assert (seen.flow_run_id, seen.task_run_id, seen.succeeded) == (RUN, TASK, False)
    assert (seen.reads, seen.made_by, seen.details) == (("db://orders",), "dbt", {"rows": 3})


def test_metadata_without_bounds_is_left_out() -> None:
    """A write is kept whatever a flow attaches to it, but not the attachment of a megabyte."""
    payload = {"note": "x" * DETAILS_BYTES}
    event = PrefectEvent(
        "w-1", "prefect.asset.materialization.succeeded", START,
        {"prefect.resource.id": "db://a"}, (FLOW_RUN_ROLE,), payload,
    )  # fmt: skip

    seen = observe(event)

    assert isinstance(seen, Write)
    assert "bytes of metadata" in seen.details["left_out"]


def test_an_artifact_is_kept_by_its_key_and_our_own_is_not() -> None:
    """The link back to the trace, which Hookline puts on each run, is none of the run's."""

    def artifact(key: str) -> PrefectEvent:
        return PrefectEvent(
            "e-1", "prefect.artifact.created", START, {"prefect.resource.id": "prefect.artifact.a-1"},
            (FLOW_RUN_ROLE, TASK_RUN_ROLE), {"key": key, "type": "table"},
        )  # fmt: skip

    seen = observe(artifact("quality"))

    assert isinstance(seen, Artifact)
    assert (seen.id, seen.key, seen.type, seen.task_run_id) == ("a-1", "quality", "table", TASK)
    assert observe(artifact("hookline-0197")) is None


def test_a_referenced_asset_is_known_before_it_was_written() -> None:
    """An asset that others write has a name and a description too."""
    labels = {"prefect.resource.id": "s3://raw/orders", "prefect.asset.description": "as delivered"}
    event = PrefectEvent("e-1", "prefect.asset.referenced", START, labels, (FLOW_RUN_ROLE,))

    assert observe(event) == Asset(key="s3://raw/orders", description="as delivered", at=START)


def test_other_news_is_not_kept() -> None:
    """Heartbeats, tasks outside of a flow, and what others emit."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{RUN}"}
    assert observe(PrefectEvent("e", "prefect.flow-run.heartbeat", START, resource)) is None
    outside = task_run_event(TASK, RUN, "RUNNING", START)
    assert (
        observe(PrefectEvent(outside.id, outside.name, START, outside.resource, (), outside.payload)) is None
    )
    assert observe(PrefectEvent("e", "order.paid", START, {"prefect.resource.id": "order"})) is None


def test_foreign_events_are_those_of_others() -> None:
    """Neither Prefect's own nor our mirror's may come back as events of the source `prefect`."""
    names = ("prefect.flow-run.Running", "prefect-cloud.webhook.called", "hookline.github.push", "order.paid")
    found = [
        name for name in names if is_foreign(PrefectEvent("e", name, START, {"prefect.resource.id": "r"}))
    ]
    assert found == ["order.paid"]


def test_a_row_of_a_run_says_what_no_event_does() -> None:
    """Who made it: Prefect's scheduler, or what `created_by` says."""
    row = {
        "id": RUN, "name": "calm-otter", "deployment_id": "d-1", "tags": ["nightly"],
        "auto_scheduled": True, "expected_start_time": "2026-11-24T03:00:00Z",
        "start_time": "2026-11-24T03:00:01Z", "end_time": "2026-11-24T03:00:02Z", "run_count": 1,
        "state_type": "COMPLETED", "state_name": "Completed",
        "state": {"type": "COMPLETED", "name": "Completed", "timestamp": "2026-11-24T03:00:02Z"},
        "created_by": {"id": "d-1", "type": "SCHEDULE", "display_value": "CronSchedule"},
    }  # fmt: skip

    run = flow_run_row(row, "load", "nightly")

    assert (run.auto_scheduled, run.creator_kind, run.creator_name) == (True, "SCHEDULE", "CronSchedule")
    assert (run.expected, run.started) == (START, START + timedelta(seconds=1))
    assert (run.is_final, run.finished) == (True, START + timedelta(seconds=2))


def test_a_run_that_crashed_before_it_ran_has_not_started() -> None:
    """Prefect writes the time of the crash as its start; nothing ran."""
    row = {"id": RUN, "run_count": 0, "state_type": "CRASHED", "start_time": "2026-11-24T03:00:02Z"}

    assert flow_run_row(row).started is None


def test_a_task_run_without_a_flow_run_is_not_kept() -> None:
    """Background tasks are outside of any flow run."""
    assert task_run_row({"id": TASK, "flow_run_id": None}) is None


# Merging ---------------------------------------------------------------------------------------------

NEWS = [
    observe(flow_run_event(RUN, "PENDING", START)),
    observe(flow_run_event(RUN, "RUNNING", START + timedelta(seconds=1))),
    observe(flow_run_event(RUN, "COMPLETED", START + timedelta(seconds=5))),
    FlowRun(
        id=RUN, name="calm-otter", auto_scheduled=False, state="COMPLETED", state_name="Completed",
        state_at=START + timedelta(seconds=5), started=START + timedelta(seconds=1),
        finished=START + timedelta(seconds=5), settled=True, run_count=1,
    ),
]  # fmt: skip


def test_news_of_a_run_gives_the_same_picture_in_any_order_and_number() -> None:
    """The stream, the stored events and the answers to questions overlap, and arrive as they like."""
    pictures = set()
    for order in permutations(NEWS):
        known = None
        for seen in (*order, order[0]):
            assert isinstance(seen, FlowRun)
            known = merge_flow_run(known, seen)
        assert known is not None
        pictures.add((known.state, known.started, known.finished, known.settled, known.auto_scheduled))

    assert pictures == {
        ("COMPLETED", START + timedelta(seconds=1), START + timedelta(seconds=5), True, False)
    }


def test_a_run_that_is_retried_by_hand_has_not_ended() -> None:
    """It goes on after its end, keeps its first start, and is asked for again after its second end."""
    known = None
    for seen in NEWS:
        assert isinstance(seen, FlowRun)
        known = merge_flow_run(known, seen)
    again = observe(flow_run_event(RUN, "RUNNING", START + timedelta(minutes=1)))
    assert isinstance(again, FlowRun)

    known = merge_flow_run(known, again)

    assert (known.state, known.finished, known.settled) == ("RUNNING", None, False)
    assert known.started == START + timedelta(seconds=1)


@given(st.permutations(["PENDING", "RUNNING", "COMPLETED"]))
def test_news_of_a_task_gives_the_same_picture_in_any_order(order: list[str]) -> None:
    """Tasks' events come from the process that runs them, and are not ordered with the flow's."""
    at = {"PENDING": 0, "RUNNING": 1, "COMPLETED": 2}
    known = None
    for state in order:
        seen = observe(task_run_event(TASK, RUN, state, START + timedelta(seconds=at[state])))
        assert isinstance(seen, TaskRun)
        known = merge_task_run(known, seen)
    assert known is not None
    assert (known.state, known.finished) == ("COMPLETED", START + timedelta(seconds=2))
    assert known.started == START + timedelta(seconds=1)


def test_two_states_of_one_moment_leave_the_run_at_its_end() -> None:
    """Clocks have a resolution; an end is not undone within it."""
    end = FlowRun(id=RUN, state="COMPLETED", state_at=START)
    running = FlowRun(id=RUN, state="RUNNING", state_at=START)

    assert merge_flow_run(merge_flow_run(None, end), running).state == "COMPLETED"
    assert merge_flow_run(merge_flow_run(None, running), end).state == "COMPLETED"
