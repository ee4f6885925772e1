"""`debounce: {quiet, max_wait, key}`: the last event of a busy time leads, the others are merged into it."""

from __future__ import annotations

from datetime import timedelta

from hookline.triggers import Debounce, Delay, Trigger
from tests.support.dispatching import Bench
from tests.support.inboxes import START, draft


def saved(max_wait: float | None = None, key: str | None = "data.page", **more: object) -> Trigger:
    debounce = Debounce(
        quiet=timedelta(seconds=10),
        max_wait=None if max_wait is None else timedelta(seconds=max_wait),
        key=key,
    )
    return Trigger(
        flow="publish", deployment="page", name="saved", expect=("saved",), debounce=debounce, **more,  # type: ignore[arg-type]
    )  # fmt: skip


async def test_the_last_event_leads_and_the_others_are_merged_into_it(bench: Bench) -> None:
    """
    A page is saved at 0 s, 5 s and 12 s. Ten seconds after the last time one run starts, for the last event;
    it carries the ids of all three, and the dispatches of the others name the one that they were merged into.
    """
    await bench.deploy(saved())
    first = await bench.send("saved", {"page": "a"})
    await bench.work()
    await bench.pass_time(seconds=5)
    second = await bench.send("saved", {"page": "a"})
    await bench.work()
    await bench.pass_time(seconds=7)
    third = await bench.send("saved", {"page": "a"})
    await bench.work()

    await bench.pass_time(seconds=9.9)
    assert bench.prefect.created == []
    assert await bench.statuses([first, second, third]) == ["merged", "merged", "held"]
    await bench.pass_time(seconds=0.1)
    assert bench.events_started == [third]
    [new] = bench.prefect.news
    assert set(new.tags) >= {f"event:{event_id}" for event_id in (first, second, third)}
    [leader] = await bench.inbox.dispatches(third)
    for event_id in (first, second):
        [dispatch] = await bench.inbox.dispatches(event_id)
        assert dispatch.merged_into == leader.id
        tracked = await bench.inbox.track(event_id)
        assert tracked is not None
        assert tracked.event.status.value == "dispatched"


async def test_an_event_every_nine_seconds_waits_for_max_wait(bench: Bench) -> None:
    """It never gets quiet, and starts all the same half a minute after the first one."""
    await bench.deploy(saved(max_wait=30))
    sent = []
    while not bench.prefect.created:
        sent.append(await bench.send("saved", {"page": "a"}))
        await bench.work()
        await bench.pass_time(seconds=9)

    assert timedelta(seconds=30) <= bench.prefect.created[0].created - START < timedelta(seconds=40)
    assert bench.events_started == sent[-1:]


async def test_each_key_waits_by_itself(bench: Bench) -> None:
    """Another page does not disturb the quiet of this one."""
    await bench.deploy(saved())
    one = await bench.send("saved", {"page": "a"})
    await bench.work()
    await bench.pass_time(seconds=9)
    other = await bench.send("saved", {"page": "b"})
    await bench.work()

    await bench.pass_time(seconds=1)
    assert bench.events_started == [one]
    await bench.pass_time(seconds=9)
    assert bench.events_started == [one, other]


async def test_after_the_run_has_started_a_new_wait_begins(bench: Bench) -> None:
    """What was started is not merged into anything any more."""
    await bench.deploy(saved())
    first = await bench.send("saved", {"page": "a"})
    await bench.work()
    await bench.pass_time(seconds=10)
    second = await bench.send("saved", {"page": "a"})
    await bench.work()
    await bench.pass_time(seconds=10)

    assert bench.events_started == [first, second]
    assert await bench.statuses([first, second]) == ["started", "started"]


async def test_a_wait_survives_a_restart(bench: Bench) -> None:
    """It goes on with the time that was left."""
    await bench.deploy(saved())
    first = await bench.send("saved", {"page": "a"})
    await bench.work()
    await bench.pass_time(seconds=6)
    bench.restart()
    second = await bench.send("saved", {"page": "a"})
    await bench.work()
    bench.restart()
    await bench.pass_time(seconds=9)
    assert bench.prefect.created == []
    await bench.pass_time(seconds=1)

    assert bench.events_started == [second]
    assert await bench.statuses([first]) == ["merged"]


async def test_an_older_event_that_is_routed_later_does_not_lead(bench: Bench) -> None:
    """A crash may leave an event unrouted while younger ones are; the youngest leads all the same."""
    await bench.deploy(saved())
    older, _ = await bench.inbox.record(draft("saved", {"page": "a"}), accepted=bench.clock())
    bench.clock.advance(seconds=1)
    younger = await bench.send("saved", {"page": "a"})
    event = await bench.inbox.full_event(younger)
    assert event is not None
    await bench.dispatcher.route([event])
    await bench.work()

    assert await bench.statuses([older.id, younger]) == ["merged", "held"]
    await bench.pass_time(seconds=10)
    assert bench.events_started == [younger]


async def test_a_delay_is_waited_for_as_well(bench: Bench) -> None:
    """The leader starts when it was quiet and its own delay is over."""
    await bench.deploy(saved(delay=Delay(duration=timedelta(seconds=30))))
    event_id = await bench.send("saved", {"page": "a"})
    await bench.work()
    await bench.pass_time(seconds=29)
    assert bench.prefect.created == []
    await bench.pass_time(seconds=1.1)
    assert bench.events_started == [event_id]


async def test_very_many_merged_events_are_all_in_the_inbox_and_ten_on_the_run(bench: Bench) -> None:
    """Prefect's events break with too many tags: the newest ten are on the run."""
    await bench.deploy(saved(key=None))
    sent = [await bench.send("saved", {"page": str(number)}) for number in range(30)]
    await bench.work()
    await bench.pass_time(seconds=10)

    [new] = bench.prefect.news
    on_the_run = [tag for tag in new.tags if tag.startswith("event:")]
    assert on_the_run == [f"event:{event_id}" for event_id in sent[::-1][:10]]
    assert await bench.statuses(sent) == ["merged"] * 29 + ["started"]
