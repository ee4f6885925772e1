"""The graph: exact attribution, in every direction, from the tables alone."""

from __future__ import annotations

import time

import pytest

from hookline.lineage import Direction, Kind, build_graph
from hookline.lineage.records import FlowRun, Input
from tests.unit.lineage.support import World, ids, links, some_id


def test_a_chain_is_walked_from_its_event_to_the_last_asset(world: World) -> None:
    """event -> dispatch -> run -> task -> asset, and on through the event that the run sent."""
    first = world.event("order.placed")
    run = world.run(first)
    task = world.task(run)
    world.write(run, "db://orders", task=task)
    second = world.event("orders.stored", by=run, task=task, cause_event=first)
    other = world.run(second)
    world.write(other, "db://prices", "db://orders")
    artifact = world.artifact(other, "figures")

    graph = world.graph(Kind.EVENT, first, Direction.DOWN)

    found = links(graph)
    assert ("ran", f"flow_run:{run}", f"task_run:{task}") in found
    assert ("wrote", f"task_run:{task}", "asset:db://orders") in found
    assert ("sent", f"task_run:{task}", f"event:{second}") in found
    assert ("read", "asset:db://orders", f"flow_run:{other}") in found
    assert ("wrote", f"flow_run:{other}", "asset:db://prices") in found
    assert ("made", f"flow_run:{other}", f"artifact:{artifact}") in found
    assert ids(graph, Kind.EVENT) == {first, second}
    assert ids(graph, Kind.FLOW_RUN) == {run, other}
    assert not graph.truncated


def test_upwards_leads_back_to_the_first_event(world: World) -> None:
    """From the last run, what led to it, and none of its siblings."""
    first = world.event()
    run = world.run(first)
    second = world.event(by=run, cause_event=first)
    sibling = world.event("other", by=run, cause_event=first)
    world.run(sibling)
    last = world.run(second)

    graph = world.graph(Kind.FLOW_RUN, last, Direction.UP)

    assert ids(graph, Kind.EVENT) == {first, second}
    assert ids(graph, Kind.FLOW_RUN) == {run, last}


def test_a_run_has_the_events_that_were_merged_into_it_and_no_others(world: World) -> None:
    """Three of four events were debounced into one run; the fourth has one of its own."""
    early, middle, late, other = (world.event() for _ in range(4))
    run, elsewhere = some_id(), some_id()
    leader = world.dispatch(late, run)
    world.dispatch(early, status="merged", merged_into=leader)
    world.dispatch(middle, status="merged", merged_into=leader)
    world.run(other, id=elsewhere)
    world.run(id=run)

    graph = world.graph(Kind.FLOW_RUN, run, Direction.UP)
    down = world.graph(Kind.EVENT, early, Direction.DOWN)

    assert ids(graph, Kind.EVENT) == {early, middle, late}
    assert sum(edge.link == "merged" for edge in graph.edges) == 2
    assert ids(down, Kind.FLOW_RUN) == {run}
    # Down from one event, the others that led to the same run are not its descendants.
    assert ids(down, Kind.EVENT) == {early}


def test_a_replay_is_a_dispatch_of_its_own(world: World) -> None:
    """Both runs of a replayed event are its descendants, each by its own dispatch."""
    event = world.event()
    first, again = world.run(event), some_id()
    world.dispatch(event, again, replay=1)
    world.run(id=again)

    graph = world.graph(Kind.EVENT, event)

    assert ids(graph, Kind.FLOW_RUN) == {first, again}
    assert sorted(n.facts["replay"] for n in graph.nodes.values() if n.kind is Kind.DISPATCH) == [0, 1]


def test_a_filtered_dispatch_is_no_part_of_what_happened(world: World) -> None:
    """`where` said no, so nothing came of it; a dead one is shown with its reason."""
    event = world.event()
    world.dispatch(event, status="filtered")
    dead = world.dispatch(event, trigger="flow/deployment/other", status="dead")

    assert ids(world.graph(Kind.EVENT, event), Kind.DISPATCH) == {dead}


def test_subflows_and_called_deployments_belong_to_the_trace(world: World) -> None:
    """A child is called by its parent's task run, and what it sends is part of the same history."""
    event = world.event()
    run = world.run(event)
    stands_for_child = world.task(run)
    child = world.run(parent_task_run_id=stands_for_child, parent_flow_run_id=run)
    sent = world.event(by=child)

    down = world.graph(Kind.EVENT, event, Direction.DOWN)
    up = world.graph(Kind.EVENT, sent, Direction.UP)

    assert ("called", f"task_run:{stands_for_child}", f"flow_run:{child}") in links(down)
    assert ("sent", f"flow_run:{child}", f"event:{sent}") in links(down)
    assert ids(up, Kind.EVENT) == {event, sent}
    assert down.nodes[f"flow_run:{child}"].facts["cause"]["kind"] == "parent"


@pytest.mark.parametrize(
    ("known", "kind", "claimed"),
    [
        ({"auto_scheduled": True, "creator_kind": "SCHEDULE"}, "schedule", False),
        (
            {"auto_scheduled": False, "creator_kind": "AUTOMATION", "creator_name": "on-failure"},
            "automation",
            True,
        ),
        ({"auto_scheduled": False, "creator_kind": "SCHEDULE"}, "schedule", True),
        ({"auto_scheduled": False}, "manual", False),
        ({"auto_scheduled": None}, "unknown", False),
        ({"auto_scheduled": False, "parent_task_run_id": some_id()}, "parent", False),
    ],
)
def test_every_run_is_a_node_that_says_why_it_exists(
    world: World, known: dict[str, object], kind: str, claimed: bool
) -> None:
    """What rests on `created_by`, which anybody can write, is marked as claimed."""
    run = world.run(**known)

    cause = world.graph(Kind.FLOW_RUN, run).nodes[f"flow_run:{run}"].facts["cause"]

    assert (cause["kind"], cause["claimed"]) == (kind, claimed)


def test_what_a_run_claims_does_not_outweigh_its_dispatch(world: World) -> None:
    """A dispatch is our own record; a `created_by` beside it changes nothing."""
    run = world.run(world.event(), creator_kind="AUTOMATION", creator_name="somebody")

    cause = world.graph(Kind.FLOW_RUN, run).nodes[f"flow_run:{run}"].facts["cause"]

    assert cause == {"kind": "event", "claimed": False, "by": None}


def test_tags_do_not_make_an_edge(world: World) -> None:
    """A run that merely carries an event's tag was not started by it."""
    event = world.event()
    run = world.run(tags=(f"event:{event}",))

    assert ids(world.graph(Kind.EVENT, event), Kind.FLOW_RUN) == set()
    assert ids(world.graph(Kind.FLOW_RUN, run), Kind.EVENT) == set()


def test_a_run_that_the_recorder_has_not_seen_is_known_from_its_dispatch(world: World) -> None:
    """Between the start of a run and the first news of it, the inbox already knows it."""
    event, run = world.event(), some_id()
    world.dispatch(event, run)

    node = world.graph(Kind.EVENT, event).nodes[f"flow_run:{run}"]

    assert (node.name, node.state) == ("from-dispatch", "SCHEDULED")


def test_tasks_are_linked_to_what_they_were_given(world: World) -> None:
    """By the results that they got, and a task inside a task by that one."""
    run = world.run(world.event())
    first = world.task(run)
    second = world.task(run, Input(first, "task_run"))
    inner = world.task(run, Input(second, "parent"))

    found = links(world.graph(Kind.FLOW_RUN, run, Direction.DOWN))

    assert ("fed", f"task_run:{first}", f"task_run:{second}") in found
    assert ("ran", f"task_run:{second}", f"task_run:{inner}") in found
    assert ("ran", f"flow_run:{run}", f"task_run:{inner}") not in found


# Assets ----------------------------------------------------------------------------------------------


def test_a_trace_does_not_follow_assets_into_other_peoples_runs(world: World) -> None:
    """Two chains read and write one catalogue; each trace holds its own runs alone."""
    one, two = world.event(), world.event()
    first, second = world.run(one), world.run(two)
    world.write(first, "db://catalogue")
    world.write(second, "db://catalogue", "db://catalogue")

    graph = world.graph(Kind.EVENT, one)

    assert ids(graph, Kind.FLOW_RUN) == {first}
    assert ids(graph, Kind.ASSET) == {"db://catalogue"}


def test_impact_follows_assets_to_the_runs_that_read_them_later(world: World) -> None:
    """A scheduled run that read the table after the bad event is spoiled; one before it is not."""
    world.write(before := world.run(auto_scheduled=True), "db://report", "db://orders")
    bad = world.event()
    world.write(spoiler := world.run(bad), "db://orders")
    world.write(after := world.run(auto_scheduled=True), "db://report", "db://orders")
    world.write(further := world.run(auto_scheduled=True), "db://board", "db://report")

    graph = world.graph(Kind.EVENT, bad, Direction.DOWN, through_assets=True)

    assert ids(graph, Kind.FLOW_RUN) == {spoiler, after, further}
    assert before not in ids(graph, Kind.FLOW_RUN)
    assert ids(graph, Kind.ASSET) == {"db://orders", "db://report", "db://board"}


def test_where_a_table_comes_from(world: World) -> None:
    """Upwards from an asset: the runs that wrote it, the newest writes of what those read, their events."""
    stale = world.event()
    world.write(world.run(stale), "db://orders")
    fresh = world.event()
    world.write(loader := world.run(fresh), "db://orders")
    unrelated = world.run(world.event())
    world.write(unrelated, "db://other")
    world.write(reporter := world.run(auto_scheduled=True), "db://report", "db://orders")

    graph = world.graph(Kind.ASSET, "db://report", Direction.UP)

    assert ids(graph, Kind.FLOW_RUN) == {loader, reporter}
    assert ids(graph, Kind.EVENT) == {fresh}


def test_who_reads_a_table(world: World) -> None:
    """Downwards from an asset: every run that read it, and what came of that."""
    world.write(world.run(), "db://orders")
    world.write(reader := world.run(), "db://report", "db://orders")
    world.write(last := world.run(), "db://board", "db://report")

    graph = world.graph(Kind.ASSET, "db://orders", Direction.DOWN)

    assert ids(graph, Kind.FLOW_RUN) == {reader, last}


def test_a_loop_of_assets_ends(world: World) -> None:
    """Runs that read what they write are walked once."""
    event = world.event()
    world.write(first := world.run(event), "db://a", "db://b")
    world.write(second := world.run(), "db://b", "db://a")

    graph = world.graph(Kind.EVENT, event, through_assets=True)

    assert ids(graph, Kind.FLOW_RUN) == {first, second}


# Bounds ----------------------------------------------------------------------------------------------


def test_depth_counts_events_runs_and_assets(world: World) -> None:
    """From an event, one step is its runs, two steps the events that they sent."""
    first = world.event()
    run = world.run(first)
    second = world.event(by=run)
    further = world.run(second)

    one = world.graph(Kind.EVENT, first, Direction.DOWN, depth=1)
    two = world.graph(Kind.EVENT, first, Direction.DOWN, depth=2)

    assert (ids(one, Kind.FLOW_RUN), ids(one, Kind.EVENT)) == ({run}, {first})
    assert (ids(two, Kind.FLOW_RUN), ids(two, Kind.EVENT)) == ({run}, {first, second})
    assert further in ids(world.graph(Kind.EVENT, first, Direction.DOWN, depth=3), Kind.FLOW_RUN)


def test_a_graph_is_bounded_and_says_so(world: World) -> None:
    """Beyond the limit the nearest nodes are there, every edge has both its ends, and `truncated` is set."""
    event = world.event()
    run = world.run(event)
    for _ in range(40):
        world.event(by=run)

    graph = world.graph(Kind.EVENT, event, Direction.DOWN, limit=20)

    assert graph.truncated
    assert len(graph.nodes) == 20
    assert {f"event:{event}", f"flow_run:{run}"} <= graph.nodes.keys()
    assert all(edge.source in graph.nodes and edge.target in graph.nodes for edge in graph.edges)


def test_without_tasks_their_deeds_count_for_their_run(world: World) -> None:
    """A smaller graph, and not one connection less."""
    event = world.event()
    run = world.run(event)
    task = world.task(run)
    world.write(run, "db://a", "db://b", task=task)
    sent = world.event(by=run, task=task)

    found = links(world.graph(Kind.EVENT, event, tasks=False))

    assert ("wrote", f"flow_run:{run}", "asset:db://a") in found
    assert ("read", "asset:db://b", f"flow_run:{run}") in found
    assert ("sent", f"flow_run:{run}", f"event:{sent}") in found
    assert not any("task_run" in source + target for _, source, target in found)


def test_what_is_not_there_has_no_graph(world: World) -> None:
    """An unknown id is none of the three kinds."""
    for kind in (Kind.EVENT, Kind.FLOW_RUN, Kind.ASSET):
        assert build_graph(world.connection, kind, some_id()) is None


def test_five_hundred_descendants_take_less_than_half_a_second(world: World) -> None:
    """A tree of events and runs, 8 deep in the end, each run with three tasks and an asset."""
    root = world.event()
    waiting, runs = [root], 0
    while runs < 500:
        event = waiting.pop(0)
        run = world.run(event)
        runs += 1
        tasks = [world.task(run) for _ in range(3)]
        world.write(run, f"db://table/{runs}", task=tasks[-1])
        waiting += [world.event(by=run, task=tasks[0]) for _ in range(2)]

    # Time of this process alone, and the best of three: neither what else runs on the machine is measured
    # here, nor a collection of all that the tests before have left.
    times = []
    for _ in range(3):
        begun = time.process_time()
        graph = world.graph(Kind.EVENT, root, Direction.DOWN)
        times.append(time.process_time() - begun)

    assert len(ids(graph, Kind.FLOW_RUN)) == 500
    assert not graph.truncated
    assert min(times) < 0.5, f"{times} s"


def test_a_chain_of_the_greatest_depth_is_walked_to_its_end(world: World) -> None:
    """32 events after the first, and a run after each."""
    event = first = world.event()
    for _ in range(32):
        event = world.event(by=world.run(event))
    last = world.run(event)

    assert last in ids(world.graph(Kind.EVENT, first, Direction.DOWN), Kind.FLOW_RUN)
    assert first in ids(world.graph(Kind.FLOW_RUN, last, Direction.UP), Kind.EVENT)


def test_a_run_is_known_once_however_often_it_was_seen(world: World) -> None:
    """The newest state wins, whatever the order of news."""
    event = world.event()
    run = world.run(event)
    world.record(FlowRun(id=run, state="RUNNING", state_at=world.clock.replace(year=2025)))

    assert world.graph(Kind.EVENT, event).nodes[f"flow_run:{run}"].state == "COMPLETED"
