"""Traces on the terminal, and as a flowchart."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from hookline.cli import impact, lineage
from hookline.cli.mermaid import flowchart
from hookline.lineage import Direction, Kind, graph_document
from tests.unit.lineage.support import World


def drawn(document: dict[str, Any]) -> str:
    out = Console(file=io.StringIO(), width=200)
    for tree in lineage.draw(document, {}):
        out.print(tree)
    file = out.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def document(world: World, kind: Kind, id: str, **more: Any) -> dict[str, Any]:
    return graph_document(world.graph(kind, id, **more), lambda run_id: f"http://prefect/runs/{run_id}")


def a_chain(world: World) -> tuple[str, str]:
    event = world.event("order.placed")
    run = world.run(event, name="first")
    task = world.task(run)
    world.write(run, "db://orders", task=task)
    sent = world.event("orders.stored", by=run, task=task)
    world.write(last := world.run(sent, name="second"), "db://prices", "db://orders")
    return event, last


def test_a_trace_is_a_tree_with_states_and_durations(world: World) -> None:
    """Each thing below what led to it, with its state, and the address of its run in Prefect."""
    event, _ = a_chain(world)

    text = drawn(document(world, Kind.EVENT, event))

    lines = text.splitlines()
    assert lines[0].startswith(f"order.placed  dispatched  {event}")
    assert "run first  COMPLETED  1.0 s" in text
    assert "http://prefect/runs/" in text
    depth = {word: next(line.index(word) for line in lines if word in line) for word in (
        "run first", "task task-", "sent orders.stored", "run second", "wrote db://prices",
    )}  # fmt: skip
    assert list(depth.values()) == sorted(depth.values())
    assert "read db://orders" in text


def test_the_trace_of_a_run_begins_with_what_began_it_all(world: World) -> None:
    """The one that was asked for is marked."""
    event, last = a_chain(world)

    lines = drawn(document(world, Kind.FLOW_RUN, last)).splitlines()

    assert event in lines[0]
    assert next(line for line in lines if "<--" in line).split("run ")[1].startswith("second")


def test_an_asset_leads_to_those_who_read_it(world: World) -> None:
    """Its writers above, its readers below."""
    a_chain(world)

    text = drawn(document(world, Kind.ASSET, "db://orders"))

    assert "wrote db://orders" in text
    assert "wrote db://prices" in text


def test_runs_that_are_there_only_for_what_they_read_hang_below_the_asset(world: World) -> None:
    """Impact goes through assets into runs that no event of ours started."""
    event, _ = a_chain(world)
    world.write(world.run(name="nightly", auto_scheduled=True), "db://report", "db://prices")

    text = drawn(document(world, Kind.EVENT, event, direction=Direction.DOWN, through_assets=True))

    assert "read by run nightly" in text
    assert "by schedule" in text


def test_what_is_reached_twice_is_drawn_once(world: World) -> None:
    """Two runs that write one asset do not double what follows from it."""
    event = world.event()
    for _ in range(2):
        world.write(world.run(event), "db://shared")

    assert drawn(document(world, Kind.EVENT, event)).count("(shown above)") == 1


def test_a_trace_ends_when_no_run_and_no_event_is_under_way(world: World) -> None:
    """That is what `--wait` waits for."""
    event, _ = a_chain(world)
    assert lineage.is_final(document(world, Kind.EVENT, event))
    world.run(event, state="RUNNING", finished=None)
    assert not lineage.is_final(document(world, Kind.EVENT, event))
    assert not lineage.is_final(document(world, Kind.EVENT, world.event(status="pending")))


def test_a_flowchart_has_every_node_and_edge(world: World) -> None:
    """Names come from outside and cannot become Mermaid's syntax or HTML."""
    event = world.event('evil"]; click n0 "javascript:alert(1)"<script>')
    world.run(event, name="a`b&c#d")
    chart = document(world, Kind.EVENT, event)

    text = flowchart(chart)

    lines = text.splitlines()
    assert lines[0] == "flowchart LR"
    assert len(lines) == 1 + len(chart["nodes"]) + len(chart["edges"])
    assert "<script>" not in text
    assert 'evil"' not in text


def test_impact_names_what_was_written_and_not_what_was_only_read(world: World) -> None:
    """An input was there before the event and is not spoiled by it."""
    event = world.event()
    world.write(world.run(event), "db://spoiled", "db://input")

    found = impact.summary(document(world, Kind.EVENT, event, direction=Direction.DOWN, tasks=False))

    assert [asset["id"] for asset in found["assets"]] == ["db://spoiled"]
    assert (len(found["runs"]), found["events"]) == (1, [])
