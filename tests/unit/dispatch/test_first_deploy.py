"""Before a project's first deploy nothing is known of its triggers: events are accepted, and wait."""

from __future__ import annotations

import asyncio

from hookline.triggers import Trigger
from tests.support.dispatching import Bench

PAID = Trigger(flow="book", deployment="on-paid", name="paid", expect=("order.paid",))


async def test_what_comes_before_the_first_deploy_waits_for_it(bench: Bench) -> None:
    """It is neither ignored nor matched against nothing; the first deploy decides, in order of arrival."""
    events = [await bench.send("order.paid"), await bench.send("order.sent"), await bench.send("order.paid")]
    await bench.work()
    assert [await status(bench, event) for event in events] == ["accepted"] * 3

    await bench.deploy(PAID)
    await bench.work()
    assert [await status(bench, event) for event in events] == ["dispatched", "ignored", "dispatched"]
    assert bench.events_started == [events[0], events[2]]


async def test_they_wait_through_a_restart_of_the_gateway(bench: Bench) -> None:
    """The inbox is where they wait, not memory."""
    event = await bench.send("order.paid")
    bench.restart()
    await bench.work()
    assert await status(bench, event) == "accepted"
    await bench.deploy(PAID)
    await bench.work()
    assert await status(bench, event) == "dispatched"


async def test_a_deploy_without_triggers_decides_too(bench: Bench) -> None:
    """Whoever deploys a project that expects nothing gets what it says: its events are ignored."""
    event = await bench.send("order.paid")
    await bench.deploy()
    await bench.work()
    assert await status(bench, event) == "ignored"


async def test_a_running_dispatcher_notices_the_first_deploy(bench: Bench) -> None:
    """Nobody has to tell it: it asks the inbox while there are no triggers."""
    event = await bench.send("order.paid")
    running = asyncio.create_task(bench.dispatcher.run())
    try:
        with bench.changes.watch(event) as watch:
            await bench.deploy(PAID)
            assert await watch.wait(10)
        assert await status(bench, event) in ("pending", "dispatched")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def status(bench: Bench, event_id: str) -> str:
    event = await bench.inbox.event(event_id)
    assert event is not None
    return event.status.value
