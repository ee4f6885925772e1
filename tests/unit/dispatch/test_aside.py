"""Events whose matching is costly are set aside: they wait among themselves, and nobody waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hookline import aside
from hookline.event import Event
from hookline.inbox import DispatchStatus
from hookline.triggers import Concurrency, Trigger
from tests.support.dispatching import Bench

HOSTILE = {"a": list(range(4_990))}
#: Not provably cheap, and done in no time.
LARGE = {"a": list(range(20_000))}


def a_trigger(name: str, expect: str, where: str, **more: Any) -> Trigger:
    return Trigger(flow="f", deployment=name, name=name, expect=(expect,), where=where, **more)


SLOW = a_trigger("slow", "slow", "data.a.all(x, !data.a.exists(y, y == x + 1000000))")
HEAVY = a_trigger("heavy", "heavy", "size(data.a) > 1")
LIGHT = a_trigger("light", "light", "data.n == 1")


@pytest.fixture
async def running(bench: Bench) -> Any:
    """Give a bench whose dispatcher works by itself."""
    await bench.deploy(SLOW, HEAVY, LIGHT)
    work = asyncio.create_task(bench.dispatcher.run())
    yield bench
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def status(bench: Bench, event_id: str) -> str:
    return next((each.status.value for each in await bench.inbox.dispatches(event_id)), "accepted")


async def is_started(bench: Bench, event_id: str) -> None:
    for _ in range(600):
        if await status(bench, event_id) == "started":
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{event_id} is not started")


async def test_ordinary_events_pass_by_those_that_are_refused(running: Bench) -> None:
    """Neither a light event nor a heavy one of another trigger waits for a queue of hostile ones."""
    hostile = [await running.send("slow", HOSTILE) for _ in range(6)]
    heavy, light = await running.send("heavy", LARGE), await running.send("light", {"n": 1})
    for event_id in (light, heavy):
        await is_started(running, event_id)
    assert await status(running, hostile[-1]) == "accepted"
    assert running.dispatcher.waiting_to_be_matched > 0


async def test_what_was_set_aside_is_matched_and_says_why_it_was_filtered(bench: Bench) -> None:
    """As any condition that cannot be evaluated."""
    await bench.deploy(SLOW, HEAVY)
    hostile, heavy = await bench.send("slow", HOSTILE), await bench.send("heavy", LARGE)
    await bench.work()
    [dispatch] = await bench.inbox.dispatches(hostile)
    assert dispatch.status is DispatchStatus.FILTERED
    assert "processor time" in (dispatch.reason or "")
    assert bench.events_started == [heavy]


async def test_a_trigger_that_keeps_an_order_keeps_it(bench: Bench) -> None:
    """What comes after a costly event of the same trigger waits behind it; other triggers' events do not."""
    await bench.deploy(a_trigger("heavy", "heavy", "size(data.a) > 1", concurrency=Concurrency(1, "data.k")))
    sorter = bench.dispatcher._aside
    triggers = await bench.dispatcher.trigger_sets.in_force()
    first, then = [
        Event.from_dict({"id": id, "type": "heavy", "source": "s", "data": {**data, "k": 1}, **MOMENTS})
        for id, data in (("1", LARGE), ("2", {"a": [1, 2]}))
    ]
    assert (await sorter.sort([then], triggers))[0] == [then]
    assert (await sorter.sort([first, then], triggers))[0] == []
    assert len(sorter) == 2


MOMENTS = {"time": "2026-11-24T03:00:00Z", "accepted": "2026-11-24T03:00:00Z"}


async def test_what_memory_does_not_hold_waits_in_the_inbox(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event is refused for coming at a bad time, nor lost."""
    monkeypatch.setattr(aside, "LIMIT", 2)
    await bench.deploy(HEAVY)
    sent = [await bench.send("heavy", LARGE) for _ in range(5)]
    for _ in range(3):
        await bench.work()
    assert bench.events_started == sent
