"""Back-pressure: no more runs are created than the pool can start; the rest waits in the inbox, in order."""

from __future__ import annotations

from typing import Any

from hookline.inbox import News
from hookline.triggers import Trigger
from tests.support.dispatching import Bench


def deliver(deployment: str = "now") -> Trigger:
    return Trigger(flow="deliver", deployment=deployment, name="sent", expect=(f"sent.{deployment}",))


async def burst(bench: Bench, count: int, deployment: str = "now") -> list[str]:
    return [await bench.send(f"sent.{deployment}", number) for number in range(count)]


async def test_without_a_pool_limit_ten_runs_of_a_deployment_are_outstanding(bench: Bench) -> None:
    """A hundred events: ten runs. Each that ends lets one more in, in order of arrival."""
    await bench.deploy(deliver())
    sent = await burst(bench, 100)

    await bench.work()
    assert bench.events_started == sent[:10]
    assert (await bench.inbox.track(sent[50])).event.status.value == "pending"  # type: ignore[union-attr]
    for number in range(3):
        await bench.finish(sent[number])
    assert bench.events_started == sent[:13]


async def test_a_pools_limit_is_shared_by_its_deployments(bench: Bench) -> None:
    """Two deployments on a pool of four: four runs, whichever they belong to."""
    bench.prefect.pools["small"] = 4
    bench.prefect.pool_of = {"deliver/a": "small", "deliver/b": "small"}
    await bench.deploy(deliver("a"), deliver("b"))
    await burst(bench, 10, "a")
    await burst(bench, 10, "b")

    await bench.work()
    assert len(bench.prefect.created) == 4
    bench.prefect.finish_all()
    bench.clock.advance(seconds=1)
    await bench.work()
    assert len(bench.prefect.created) == 8


async def test_other_peoples_runs_count(bench: Bench) -> None:
    """Seven runs that somebody started by hand leave room for three."""
    await bench.deploy(deliver())
    await _somebody_else(bench, 7)
    sent = await burst(bench, 20)

    await bench.work()
    assert bench.events_started[7:] == sent[:3]


async def test_the_end_of_other_peoples_runs_is_found_by_asking(bench: Bench) -> None:
    """Nobody tells us when they end; a full pool is looked at again."""
    await bench.deploy(deliver())
    await _somebody_else(bench, 10)
    sent = await burst(bench, 20)
    await bench.work()
    assert bench.events_started[10:] == []

    bench.prefect.finish_all()
    _let_answers_grow_old(bench)
    await bench.work()
    assert bench.events_started[10:] == sent[:10]


async def test_news_that_comes_twice_frees_one_place(bench: Bench) -> None:
    """The stream and the answer to a question both say that a run has ended."""
    await bench.deploy(deliver())
    sent = await burst(bench, 20)
    await bench.work()
    await bench.finish(sent[0])
    [dispatch] = await bench.inbox.dispatches(sent[0])
    for _ in range(5):
        bench.dispatcher.run_finished(News(finished=(dispatch.id,)))
        await bench.work()

    assert bench.events_started == sent[:11]


async def test_a_run_that_another_gateway_saw_finish_frees_its_place_here(bench: Bench) -> None:
    """This one was not told; what the inbox says counts when the pool is asked about again."""
    await bench.deploy(deliver())
    sent = await burst(bench, 20)
    await bench.work()
    bench.prefect.finish_all()
    elsewhere = Bench(bench.inbox, bench.clock)
    elsewhere.prefect = bench.prefect
    elsewhere.restart()
    await elsewhere.follower.ask()
    _let_answers_grow_old(bench)
    await bench.dispatcher.work_off()

    assert bench.events_started == sent


async def test_what_prefect_said_is_believed_while_there_is_room(bench: Bench) -> None:
    """The first event of a lane asks; the next ones do not wait for questions."""
    await bench.deploy(deliver())
    await bench.send("sent.now")
    await bench.work()
    bench.prefect.calls.clear()
    await bench.send("sent.now")
    await bench.dispatcher.work_off()

    assert bench.prefect.calls == ["create_run"]


async def test_a_pool_that_gets_a_limit_is_respected_from_then_on(bench: Bench) -> None:
    """Somebody set a concurrency limit in the UI."""
    bench.prefect.pools["big"] = None
    bench.prefect.pool_of = {"deliver/now": "big"}
    await bench.deploy(deliver())
    sent = await burst(bench, 12)
    await bench.work()
    assert len(bench.prefect.created) == 10
    bench.prefect.pools["big"] = 2
    for number in range(10):
        await bench.finish(sent[number])
        _let_answers_grow_old(bench)
    await burst(bench, 10)
    await bench.work()

    unfinished = [run for run in bench.prefect.created if bench.prefect.run(run.id).state == "SCHEDULED"]
    assert len(unfinished) <= 2


async def _somebody_else(bench: Bench, count: int) -> None:
    from hookline.prefect_rows import NewRun

    for number in range(count):
        await bench.prefect.create_run(NewRun("deliver/now", f"by-hand-{number}", "by-hand", ["event:x"], {}))


def _let_answers_grow_old(bench: Bench) -> None:
    """What was asked a moment ago was asked long ago, without waiting for it."""
    rooms: Any = bench.dispatcher._rooms
    for room in rooms._rooms.values():
        room.asked_at -= 60
    for lane in rooms._lanes.values():
        lane.limit_as_of -= 60
