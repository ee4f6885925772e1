"""`delay`: a run starts a while after its event was accepted, or at a time that the event names."""

from __future__ import annotations

from datetime import timedelta

from hookline.triggers import Delay, Trigger
from tests.support.dispatching import Bench


def remind(delay: Delay) -> Trigger:
    return Trigger(flow="remind", deployment="later", name="order", expect=("order",), delay=delay)


async def test_a_duration_counts_from_the_accepted_time(bench: Bench) -> None:
    """An order at 03:00 is reminded of at 03:10, and shows until then what it waits for."""
    await bench.deploy(remind(Delay(duration=timedelta(minutes=10))))
    order = await bench.send("order")
    await bench.work()

    [dispatch] = await bench.inbox.dispatches(order)
    assert (dispatch.status.value, dispatch.reason) == ("held", "delay: until 2026-11-24T03:10:00Z")
    tracked = await bench.inbox.track(order)
    assert tracked is not None
    assert tracked.event.status.value == "pending"
    await bench.pass_time(minutes=9, seconds=59)
    assert bench.prefect.created == []
    await bench.pass_time(seconds=1)
    assert bench.events_started == [order]


async def test_a_time_is_taken_from_the_event(bench: Bench) -> None:
    """Orders start in the order of their times, not of their arrival."""
    await bench.deploy(remind(Delay(until="data.due")))
    late = await bench.send("order", {"due": "2026-11-24T05:00:00Z"})
    soon = await bench.send("order", {"due": "2026-11-24T04:00:00Z"})
    await bench.work()

    await bench.pass_time(hours=1)
    assert bench.events_started == [soon]
    await bench.pass_time(hours=1)
    assert bench.events_started == [soon, late]


async def test_a_time_that_has_passed_starts_at_once(bench: Bench) -> None:
    """There is nothing to wait for."""
    await bench.deploy(remind(Delay(until="data.due")))
    order = await bench.send("order", {"due": "2020-01-01T00:00:00Z"})
    await bench.work()

    assert bench.events_started == [order]


async def test_no_time_is_a_dead_letter(bench: Bench) -> None:
    """It cannot be guessed when it should start."""
    await bench.deploy(remind(Delay(until="data.due")))
    order = await bench.send("order", {"due": "tomorrow"})
    await bench.work()

    [dispatch] = await bench.inbox.dispatches(order)
    assert dispatch.status.value == "dead"
    assert "tomorrow" in (dispatch.reason or "")


async def test_a_delay_survives_a_restart_also_one_that_took_longer(bench: Bench) -> None:
    """What became due while the gateway was down starts when it is up again, in order."""
    await bench.deploy(remind(Delay(duration=timedelta(minutes=10))))
    first = await bench.send("order")
    await bench.work()
    bench.clock.advance(seconds=1)
    second = await bench.send("order")
    await bench.work()
    bench.clock.advance(hours=5)
    bench.restart()
    await bench.work()

    assert bench.events_started == [first, second]
