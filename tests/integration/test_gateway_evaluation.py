"""A gateway answers as ever while events are matched that were made to take long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from hookline.inbox import EventStatus
from hookline.triggers import Trigger
from tests.support.gateway import RunningGateway, running_gateway

SLOW = "data.a.all(x, !data.a.exists(y, y == x + 1000000))"
BUILT = "size(data.a.map(x, data.a.filter(y, y != x))) > 0"
#: Of processor time, in which the loop does nothing else.
STALL_SECONDS = 0.05


def a_trigger(name: str, where: str) -> Trigger:
    return Trigger(flow="f", deployment=name, name=name, expect=(f"{name}.made",), where=where)


async def send(gateway: RunningGateway, type: str, data: Any) -> str:
    answer = await gateway.http.post("/events", json={"type": type, "data": data})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def status(gateway: RunningGateway, event_id: str) -> EventStatus:
    return (await gateway.stored(event_id)).status


async def matched(gateway: RunningGateway, event_id: str) -> EventStatus:
    async with asyncio.timeout(60):
        with gateway.house.changes.watch(event_id) as watch:
            while (found := await status(gateway, event_id)) is EventStatus.ACCEPTED:
                await watch.wait(timeout_seconds=1)
    return found


async def test_hostile_events_hold_up_nobody(tmp_path: Path) -> None:
    """The loop never stands still, health is told at once, and other events are matched before theirs."""
    triggers = [a_trigger("slow", SLOW), a_trigger("built", BUILT), a_trigger("usual", "data.n == 1")]
    stalls: list[float] = []

    async def watch() -> None:
        while True:
            since = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - since)
            await asyncio.sleep(0.001)

    async with running_gateway(tmp_path, triggers=triggers) as gateway:
        await matched(gateway, await send(gateway, "usual.made", {"n": 1}))  # all is loaded
        watching = asyncio.create_task(watch())
        hostile = [await send(gateway, "slow.made", {"a": list(range(4_990))}) for _ in range(3)]
        hostile.append(await send(gateway, "built.made", {"a": list(range(700))}))
        for _ in range(20):
            assert (await gateway.http.get("/healthz")).status_code == 200
            assert await matched(gateway, await send(gateway, "usual.made", {"n": 1})) is EventStatus.PENDING
        waiting = [
            event_id for event_id in hostile if await status(gateway, event_id) is EventStatus.ACCEPTED
        ]
        watching.cancel()
        assert waiting, "all of them were done before the others"
        assert max(stalls) < STALL_SECONDS
        [dispatch] = (await matched(gateway, hostile[0])) and await gateway.house.inbox.dispatches(hostile[0])
        assert "more than 1 s of processor time" in (dispatch.reason or "")
