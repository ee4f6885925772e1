"""`concurrency: {key, limit}`: at most so many unfinished runs for each key, the rest waits in order."""

from __future__ import annotations

from hookline.triggers import Concurrency, Debounce, Delay, Trigger
from hookline.triggers.durations import parse_duration
from tests.support.dispatching import Bench


def push(limit: int = 1, key: str | None = "data.repo", **more: object) -> Trigger:
    return Trigger(
        flow="record", deployment="on-push", name="push", expect=("push",),
        concurrency=Concurrency(limit=limit, key=key), **more,  # type: ignore[arg-type]
    )  # fmt: skip


async def test_limit_1_is_order_from_one_start_to_the_previous_ones_end(bench: Bench) -> None:
    """
    Three pushes to `shop` and one to `docs` arrive. The first of each key starts; the second of `shop` starts
    when the first has ended, however it ended, and the third when the second has.
    """
    await bench.deploy(push())
    first, second, other, third = [
        await bench.send("push", {"repo": repo}) for repo in ("shop", "shop", "docs", "shop")
    ]

    await bench.work()
    assert bench.events_started == [first, other]
    assert await bench.statuses([first, second, other, third]) == ["started", "held", "started", "held"]
    [waiting] = await bench.inbox.dispatches(second)
    assert waiting.reason == "concurrency: an earlier dispatch of its key is unfinished"

    await bench.finish(first, "FAILED")
    assert bench.events_started == [first, other, second]
    await bench.finish(other)
    assert bench.events_started == [first, other, second]
    await bench.finish(second, "CANCELLED")
    assert bench.events_started == [first, other, second, third]


async def test_a_limit_counts_runs_of_one_key(bench: Bench) -> None:
    """With a limit of 2 two run side by side, and each end lets the next one in."""
    await bench.deploy(push(limit=2))
    sent = [await bench.send("push", {"repo": "shop"}) for _ in range(5)]

    await bench.work()
    assert bench.events_started == sent[:2]
    await bench.finish(sent[1])
    assert bench.events_started == sent[:3]
    await bench.finish(sent[0])
    await bench.finish(sent[2])
    assert bench.events_started == sent


async def test_without_a_key_the_limit_is_the_triggers(bench: Bench) -> None:
    """All events of the trigger share one count."""
    await bench.deploy(push(key=None))
    sent = [await bench.send("push", {"repo": repo}) for repo in "ab"]

    await bench.work()
    assert bench.events_started == sent[:1]


async def test_two_triggers_do_not_share_a_key(bench: Bench) -> None:
    """A key belongs to its trigger."""
    other = Trigger(
        flow="index", deployment="on-push", name="push", expect=("push",),
        concurrency=Concurrency(limit=1, key="data.repo"),
    )  # fmt: skip
    await bench.deploy(push(), other)
    await bench.send("push", {"repo": "shop"})

    await bench.work()
    assert len(bench.prefect.created) == 2


async def test_a_key_survives_a_restart(bench: Bench) -> None:
    """What waits is in the inbox: a gateway that is killed and started again goes on where it was."""
    await bench.deploy(push())
    first, second = [await bench.send("push", {"repo": "shop"}) for _ in range(2)]
    await bench.work()
    bench.restart()
    await bench.work()
    assert bench.events_started == [first]

    bench.prefect.finish_all()
    bench.restart()
    await bench.work()
    assert bench.events_started == [first, second]


async def test_the_next_one_starts_when_one_is_dead(bench: Bench) -> None:
    """A dispatch that gave up frees its place."""
    await bench.deploy(push())
    first, second = [await bench.send("push", {"repo": "shop"}) for _ in range(2)]
    bench.prefect.pool_of.clear()
    await bench.work()
    await bench.work()

    assert await bench.statuses([first, second]) == ["dead", "dead"]


async def test_a_run_that_was_deleted_frees_its_place(bench: Bench) -> None:
    """Somebody deleted the run in Prefect: it is gone, and the next one starts."""
    await bench.deploy(push())
    first, second = [await bench.send("push", {"repo": "shop"}) for _ in range(2)]
    await bench.work()
    bench.prefect.delete(bench.run_of(first).id)
    await bench.pass_time(minutes=1)
    await bench.work()

    assert bench.events_started == [first, second]
    [dispatch] = await bench.inbox.dispatches(first)
    assert dispatch.state == "GONE"


async def test_a_key_that_cannot_be_told_is_a_dead_letter(bench: Bench) -> None:
    """Without its key an event has no place in any order; it says what was missing."""
    await bench.deploy(push())
    event_id = await bench.send("push", {})
    await bench.work()

    [dispatch] = await bench.inbox.dispatches(event_id)
    assert dispatch.status.value == "dead"
    assert (dispatch.reason or "").startswith("flow control: ")


async def test_a_delay_comes_before_the_key(bench: Bench) -> None:
    """What waits for its time has no place in the key's line yet."""
    await bench.deploy(push(delay=Delay(until="data.at")))
    late = await bench.send("push", {"repo": "shop", "at": "2026-11-24T03:10:00Z"})
    soon = await bench.send("push", {"repo": "shop", "at": "2026-11-24T03:01:00Z"})

    await bench.pass_time(minutes=1, seconds=1)
    assert bench.events_started == [soon]
    await bench.pass_time(minutes=10)
    assert await bench.statuses([late]) == ["held"]
    await bench.finish(soon)
    assert bench.events_started == [soon, late]


async def test_a_debounced_dispatch_waits_for_its_key_afterwards(bench: Bench) -> None:
    """Quiet first, then the key; once it has been quiet, later events do not hold it back any more."""
    await bench.deploy(push(debounce=Debounce(quiet=parse_duration("10s"), key="data.repo")))
    first = await bench.send("push", {"repo": "shop"})
    await bench.work()
    await bench.pass_time(seconds=10)
    assert bench.events_started == [first]
    second = await bench.send("push", {"repo": "shop"})
    await bench.work()
    await bench.pass_time(seconds=10)
    third = await bench.send("push", {"repo": "shop"})
    await bench.work()

    assert await bench.statuses([second, third]) == ["held", "held"]
    await bench.finish(first)
    assert bench.events_started == [first, second]


async def test_a_deploy_may_widen_the_limit(bench: Bench) -> None:
    """The limit of the one that waits counts."""
    await bench.deploy(push(limit=1))
    sent = [await bench.send("push", {"repo": "shop"})]
    await bench.work()
    await bench.deploy(push(limit=3))
    sent += [await bench.send("push", {"repo": "shop"}) for _ in range(4)]
    await bench.work()

    assert bench.events_started == sent[:3]
    await bench.finish(sent[0])
    assert bench.events_started == sent[:4]
