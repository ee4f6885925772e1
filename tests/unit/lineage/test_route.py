"""`GET /lineage`: what can be asked for, and how a question that cannot be answered is."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import Connection

from tests.support.gateway import RunningGateway, running_gateway
from tests.unit.lineage.support import World

ASSET = "s3://lake/raw/orders?v=1"


async def a_history(gateway: RunningGateway) -> tuple[str, str]:
    """Put an event, its run and an asset into the gateway's tables; return event and run."""

    def write(connection: Connection) -> tuple[str, str]:
        world = World(connection)
        event = world.event()
        run = world.run(event)
        world.write(run, ASSET, task=world.task(run))
        return event, run

    return await gateway.house.inbox.write(write)


async def test_a_graph_can_be_asked_for_from_event_run_and_asset(tmp_path: Path) -> None:
    """The same nodes from each end; an asset's key may be written as it is, or encoded."""
    async with running_gateway(tmp_path) as gateway:
        event, run = await a_history(gateway)
        paths = [
            f"event/{event}",
            f"run/{run}",
            f"asset/{quote(ASSET, safe='')}",
            f"asset/{quote(ASSET, safe=':/')}",
        ]
        answers = [await gateway.http.get(f"/lineage/{path}") for path in paths]

    assert [answer.status_code for answer in answers] == [200] * 4
    nodes = [{node["key"] for node in answer.json()["nodes"]} for answer in answers]
    assert all({f"event:{event}", f"flow_run:{run}", f"asset:{ASSET}"} <= keys for keys in nodes)
    node = next(node for node in answers[0].json()["nodes"] if node["kind"] == "flow_run")
    assert node["url"].endswith(f"/runs/flow-run/{run}")
    assert node["cause"] == {"kind": "event", "claimed": False, "by": None}


async def test_what_is_asked_for_bounds_the_answer(tmp_path: Path) -> None:
    """Direction, depth, number of nodes, with and without tasks."""
    async with running_gateway(tmp_path) as gateway:
        event, _ = await a_history(gateway)

        async def kinds(**query: str | int) -> list[str]:
            answer = await gateway.http.get(f"/lineage/event/{event}", params=query)
            return [node["kind"] for node in answer.json()["nodes"]]

        assert set(await kinds(direction="up")) == {"event"}
        assert "asset" not in await kinds(depth=1)
        assert "task_run" not in await kinds(tasks="false")
        assert len(await kinds(nodes=2)) == 2


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("event/0197f5c0-0000-7000-8000-000000000000", 404, "There is no event"),
        ("run/none", 404, "There is no run"),
        ("asset/db://nowhere", 404, "There is no asset"),
        ("task/1", 404, "Lineage is of event, run, asset"),
        ("event/x?direction=sideways", 400, "direction is not one of"),
        ("event/x?depth=0", 400, "depth is not a number from 1"),
        ("event/x?depth=many", 400, "depth is not a number from 1"),
        ("event/x?nodes=1000000", 400, "nodes is not a number from 1"),
        ("event/x?tasks=perhaps", 400, "tasks is neither true nor false"),
    ],
)
async def test_a_question_that_cannot_be_answered_says_why(
    tmp_path: Path, path: str, status: int, said: str
) -> None:
    """As a problem document, never a fault."""
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.http.get(f"/lineage/{path}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
