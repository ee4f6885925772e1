"""Pictures: the waterfall of an event and the layered drawing of a lineage graph, as numbers."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hookline.gateway.pages.family import family
from hookline.gateway.pages.layout import Size, lay_out
from hookline.gateway.pages.picture import draw
from hookline.gateway.pages.waterfall import Step, waterfalls
from hookline.inbox import Dispatch, DispatchStatus, EventStatus, StoredEvent, Tracked
from hookline.inbox.browsing import Work
from hookline.lineage import Edge, Graph, Kind, Link, Node

AT = datetime(2026, 11, 24, 3, tzinfo=UTC)
SIZE = Size()


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


# The waterfall ----------------------------------------------------------------------------------------

EVENT = StoredEvent(
    id="e", door="events/local", source="shop", source_id=None, type="t", subject=None, time=AT, accepted=AT,
    status=EventStatus.DISPATCHED, routed=after(0.01), trigger_set=1, size=0, duplicates=0, conflicts=0,
    by_reference=False, cause=None, depth=0, traceparent=None, tracestate=None, verdict="", remote="",
)  # fmt: skip
DISPATCH = Dispatch(
    id="d", event_id="e", trigger_id="f/d/t", replay=0, trigger_set=1, lane="f/d", place="p",
    status=DispatchStatus.STARTED, created=after(0.01), run_created=after(0.1), run_started=after(0.4),
    first_task=after(0.5), finished=after(1), flow_run_id="r",
)  # fmt: skip


def tracked(*dispatches: Dispatch, event: StoredEvent = EVENT) -> Tracked:
    return Tracked(event, dispatches, {}, ())


def phases(step: Step) -> list[tuple[str, float, float]]:
    return [(bar.phase, round(bar.x, 1), round(bar.x + bar.width, 1)) for bar in step.bars]


def test_a_run_is_drawn_from_accepted_to_finished_without_a_gap() -> None:
    """Each stretch begins where the one before ends, and the last ends at the right."""
    [waterfall] = waterfalls(tracked(DISPATCH), after(99))
    assert (waterfall.length, waterfall.under_way) == (timedelta(seconds=1), False)
    matched, run = waterfall.steps
    assert phases(matched) == [("route", 0.0, 1.0)]
    assert phases(run) == [
        ("wait", 1.0, 10.0),
        ("schedule", 10.0, 40.0),
        ("start", 40.0, 50.0),
        ("run", 50.0, 100.0),
    ]


def test_what_is_under_way_reaches_to_now() -> None:
    """A run that has not ended, and a dispatch that waits, grow with the clock."""
    running = replace(DISPATCH, finished=None)
    held = replace(DISPATCH, id="h", status=DispatchStatus.HELD, flow_run_id=None, run_created=None,
                   run_started=None, first_task=None, finished=None)  # fmt: skip
    [waterfall] = waterfalls(tracked(running, held), after(2))
    assert waterfall.under_way
    assert waterfall.length == timedelta(seconds=2)
    assert [step.ended for step in waterfall.steps[1:]] == [None, None]
    assert phases(waterfall.steps[2]) == [("wait", 0.5, 100.0)]


def test_a_run_without_tasks_ran_all_the_same() -> None:
    """Where no task ever started, what the flow itself did is drawn as running."""
    [waterfall] = waterfalls(tracked(replace(DISPATCH, first_task=None)), after(9))
    assert [phase for phase, _, _ in phases(waterfall.steps[1])] == ["wait", "schedule", "run"]


def test_each_replay_has_a_picture_of_its_own() -> None:
    """A replay of the next day does not squeeze the original into a line."""
    day = timedelta(days=1)
    again = replace(
        DISPATCH, id="r", replay=1, created=AT + day, run_created=AT + day, run_started=AT + day,
        first_task=AT + day, finished=AT + day + timedelta(seconds=3),
    )  # fmt: skip
    first, second = waterfalls(tracked(DISPATCH, again), after(0))
    assert (first.replay, first.length) == (0, timedelta(seconds=1))
    assert (second.replay, second.length, second.began) == (1, timedelta(seconds=3), AT + day)


def test_tasks_stand_below_their_run() -> None:
    """Task runs that lineage knows are rows of their own, to the same scale."""
    works = [Work("r", "load", after(0.5), after(0.75)), Work("other", "no", after(0), after(9))]
    [waterfall] = waterfalls(tracked(DISPATCH), after(9), works)
    assert [(step.name, step.nested) for step in waterfall.steps[1:]] == [("f/d/t", False), ("load", True)]
    assert phases(waterfall.steps[2]) == [("task", 50.0, 75.0)]


@given(st.lists(st.one_of(st.none(), st.floats(-5, 500)), min_size=4, max_size=4), st.floats(0, 1000))
def test_clocks_that_disagree_draw_nothing_outside(offsets: list[float | None], now_at: float) -> None:
    """Times of several machines come in any order; bars stay within the picture and have a width."""
    run_created, run_started, first_task, finished = (None if o is None else after(o) for o in offsets)
    dispatch = replace(
        DISPATCH, run_created=run_created, run_started=run_started, first_task=first_task, finished=finished
    )
    for waterfall in waterfalls(tracked(dispatch), after(now_at)):
        for step in waterfall.steps:
            for bar in step.bars:
                assert 0 <= bar.x <= 100
                assert 0 < bar.width <= 100.001
                assert bar.x + bar.width <= 100.01


# The graph --------------------------------------------------------------------------------------------

EDGES = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40)


@given(st.integers(1, 15), EDGES)
def test_no_graph_puts_two_nodes_into_one_place(count: int, edges: list[tuple[int, int]]) -> None:
    """Whatever the graph, with circles too: every node has a place, none overlaps another."""
    nodes = [f"n{number}" for number in range(count)]
    layout = lay_out(nodes, [(f"n{a}", f"n{b}") for a, b in edges], SIZE)
    assert set(layout.places) == set(nodes)
    places = sorted(layout.places.values())
    for (x, y), (other_x, other_y) in pairwise(places):
        assert x != other_x or other_y - y >= SIZE.height + SIZE.between_rows - 0.01
    for x, y in places:
        assert -0.01 <= x <= layout.width - SIZE.width + 0.01
        assert -0.01 <= y <= layout.height - SIZE.height + 0.01


def test_what_came_first_stands_left() -> None:
    """Along every edge of a graph without circles the picture goes to the right, past what lies between."""
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("x", "c")]
    layout = lay_out(["a", "b", "c", "x"], edges, SIZE)
    for source, target in edges:
        assert layout.places[source][0] < layout.places[target][0]
    assert len(layout.paths["a", "c"]) == 4  # it bends around b
    assert layout.places["x"][0] == layout.places["b"][0]  # right before what it leads to


def event(name: str, type: str = "push", second: float = 0) -> Node:
    return Node(Kind.EVENT, name, type, "dispatched", started=after(second))


def run(name: str, state: str = "COMPLETED", second: float = 1) -> Node:
    return Node(
        Kind.FLOW_RUN,
        name,
        name,
        state,
        after(second),
        after(second + 1),
        {"flow": "f", "deployment": "load"},
    )


def graph(nodes: list[Node], edges: list[tuple[str, str, Link]], root: str) -> Graph:
    return Graph(root, {node.key: node for node in nodes}, tuple(Edge(*edge) for edge in edges))


def test_a_dispatch_that_led_to_a_run_is_an_edge() -> None:
    """What is drawn is event and run; a dispatch that waits or gave up stays a box, for it is the end."""
    started = Node(Kind.DISPATCH, "d1", "f/d/t", "started", after(0))
    dead = Node(Kind.DISPATCH, "d2", "f/d/u", "dead", after(0))
    found = family(
        graph(
            [event("e"), started, dead, run("r")],
            [
                ("event:e", "dispatch:d1", Link.MATCHED),
                ("dispatch:d1", "flow_run:r", Link.STARTED),
                ("event:e", "dispatch:d2", Link.MATCHED),
            ],
            "event:e",
        )
    )
    assert {member.key for member in found.members} == {"event:e", "flow_run:r", "dispatch:d2"}
    assert set(found.edges) == {("event:e", "flow_run:r", "started"), ("event:e", "dispatch:d2", "matched")}


def fan(count: int) -> Graph:
    """Return an event whose run sent many events, each of which started a run."""
    nodes: list[Node] = []
    edges: list[tuple[str, str, Link]] = []

    def chain(name: str, type: str, second: float, state: str = "COMPLETED") -> None:
        sent, made = event(f"e{name}", type, second), Node(Kind.DISPATCH, f"d{name}", "f/load/t", "started")
        started = run(f"r{name}", state, second + 1)
        nodes.extend((sent, made, started))
        edges.extend(((sent.key, made.key, Link.MATCHED), (made.key, started.key, Link.STARTED)))

    chain("", "push", 0)
    for number in range(count):
        chain(str(number), "chunk", 2, "FAILED" if number == 7 else "COMPLETED")
        edges.append(("flow_run:r", f"event:e{number}", Link.SENT))
    return graph(nodes, edges, "event:e")


def test_many_alike_are_one_box_that_tells_how_they_went() -> None:
    """Five hundred chains of one shape are drawn as one chain; a failure among them shows."""
    found = family(fan(500))
    assert [(member.title, len(member.nodes)) for member in found.members] == [
        ("push", 1),
        ("load", 1),
        ("chunk", 500),
        ("load", 500),
    ]
    assert found.members[3].states == (("completed", 499), ("failed", 1))
    boxes = draw(found, lambda run_id: f"/runs/{run_id}").boxes
    assert boxes[3].tone == "bad"
    assert boxes[3].says == "Flow run 500 × load, 499 completed, 1 failed"
    assert len(family(fan(500), fold=False).members) == 1002


def test_a_few_are_drawn_each() -> None:
    """What can be taken in at a glance is not folded."""
    assert len(family(fan(4)).members) == 10


def test_five_hundred_descendants_are_drawn_quickly() -> None:
    """Folded or not, a large graph takes a fraction of a second to lay out."""
    start = time.perf_counter()
    draw(family(fan(500)), str)
    draw(family(fan(500), fold=False), str)
    assert time.perf_counter() - start < 1.0
