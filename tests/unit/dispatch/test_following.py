"""Following runs: news comes by the stream and by asking, early, twice, and of other people's runs."""

from __future__ import annotations

from datetime import timedelta

from hookline.following import EARLY_NEWS_LIMIT, _seen
from hookline.prefect_rows import RunNotice
from hookline.triggers import Trigger
from tests.support.dispatching import Bench

TRIGGER = Trigger(flow="f", deployment="d", name="t", expect=("sent",))


async def hear(bench: Bench, *notices: RunNotice) -> None:
    """Let the follower take news and write it down."""
    follower = bench.follower
    for notice in notices:
        follower._take(notice)
    news, follower._news = follower._news, []
    await follower._write([_seen(notice) for notice in news])


async def test_news_may_come_before_the_run_is_known(bench: Bench) -> None:
    """Prefect tells of the run before our own note of its creation is on the disk."""
    await bench.deploy(TRIGGER)
    event_id = await bench.send("sent")
    await bench.dispatcher.work_off()
    moment = bench.clock.advance(seconds=1)
    await hear(bench, RunNotice("run-0", "RUNNING", moment), RunNotice("run-0", "RUNNING", moment, "task-1"))
    bench.follower.follow("run-0")
    await hear(bench)

    [dispatch] = await bench.inbox.dispatches(event_id)
    assert (dispatch.state, dispatch.run_started, dispatch.first_task) == ("RUNNING", moment, moment)


async def test_other_peoples_runs_take_no_memory(bench: Bench) -> None:
    """A busy server tells of very many runs that are not ours."""
    for number in range(1000):
        bench.follower._take(RunNotice(f"r{number}", "RUNNING", bench.clock(), is_ours=False))
    assert bench.follower._early == {}
    for number in range(EARLY_NEWS_LIMIT + 10):
        bench.follower._take(RunNotice(f"r{number}", "RUNNING", bench.clock()))
    assert len(bench.follower._early) == EARLY_NEWS_LIMIT


async def test_of_a_runs_tasks_the_first_is_written(bench: Bench) -> None:
    """A run may have thousands; each would be a write."""
    await bench.deploy(TRIGGER)
    event_id = await bench.send("sent")
    await bench.work()
    bench.follower.follow("run-0")
    first = bench.clock.advance(seconds=1)
    later = [RunNotice("run-0", "RUNNING", first + timedelta(seconds=n), f"task-{n}") for n in range(1, 50)]
    for notice in (RunNotice("run-0", "RUNNING", first, "task-0"), *later):
        bench.follower._take(notice)
    assert len(bench.follower._news) == 1
    await hear(bench)

    [dispatch] = await bench.inbox.dispatches(event_id)
    assert dispatch.first_task == first


async def test_a_long_run_is_asked_about_cheaply(bench: Bench) -> None:
    """Once it is known to run, only its end is asked for: its parameters may be half a megabyte."""
    await bench.deploy(TRIGGER)
    event_id = await bench.send("sent")
    await bench.work()
    bench.clock.advance(seconds=1)
    bench.prefect.set_state("run-0", "RUNNING")
    await bench.follower.ask()
    bench.prefect.calls.clear()
    await bench.follower.ask()
    assert bench.prefect.calls == ["runs", "runs", "count_runs"]

    bench.clock.advance(seconds=1)
    bench.prefect.set_state("run-0", "COMPLETED")
    await bench.follower.ask()
    [dispatch] = await bench.inbox.dispatches(event_id)
    assert (dispatch.state, dispatch.first_task) == ("COMPLETED", dispatch.run_started)
