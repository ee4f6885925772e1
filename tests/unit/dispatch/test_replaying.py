"""Replay: accepted events go through the trigger set of now, as new dispatches, and none is lost half way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hookline.errors import PrefectRefused
from hookline.inbox import EventStatus, Search, replaying
from hookline.inbox.pruning import prune_bodies
from hookline.inbox.replaying import ReplayKind, ReplayStatus
from hookline.triggers import Concurrency, Trigger
from tests.support.dispatching import Bench


def deliver(name: str = "sent", **more: object) -> Trigger:
    return Trigger(flow="deliver", deployment="now", name=name, expect=("sent",), **more)  # type: ignore[arg-type]


async def replay(bench: Bench, event_id: str, trigger_id: str | None = None) -> list[str]:
    event = await bench.inbox.replayable(event_id)
    assert event is not None
    made = await bench.dispatcher.replays.replay(event, trigger_id)
    await bench.work()
    return [dispatch.trigger_id for dispatch in made]


async def finish_replay(bench: Bench, replay_id: str) -> replaying.Replay:
    while await bench.dispatcher.replays.step(replay_id) is not None:
        bench.clock.advance(seconds=1)
    found = await bench.inbox.read(lambda c: replaying.replay(c, replay_id))
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def room_for_all(bench: Bench) -> None:
    bench.default_limit = 1000
    bench.restart()


async def test_a_replay_is_a_new_dispatch_through_the_triggers_of_now(bench: Bench) -> None:
    """The first dispatch stays as it is; the second has the replay number 1 and a run of its own."""
    await bench.deploy(deliver())
    event_id = await bench.send("sent")
    await bench.work()
    await bench.deploy(deliver(), deliver("also"))

    assert sorted(await replay(bench, event_id)) == ["deliver/now/also", "deliver/now/sent"]
    made = await bench.inbox.dispatches(event_id)
    assert sorted((each.replay, each.trigger_id, each.status.value) for each in made) == [
        (0, "deliver/now/sent", "started"),
        (1, "deliver/now/also", "started"),
        (1, "deliver/now/sent", "started"),
    ]
    assert len(bench.prefect.created) == 3
    assert await replay(bench, event_id, "deliver/now/also") == ["deliver/now/also"]
    assert {each.replay for each in await bench.inbox.dispatches(event_id)} == {0, 1, 2}


async def test_an_ignored_event_may_start_something_today(bench: Bench) -> None:
    """Nothing expected it when it came; now a trigger does."""
    event_id = await bench.send("sent")
    await bench.work()
    await bench.deploy(deliver())
    await replay(bench, event_id)

    stored = await bench.inbox.event(event_id)
    assert stored is not None
    assert stored.status is EventStatus.DISPATCHED


async def test_a_replayed_dead_letter_is_dead_no_more(bench: Bench) -> None:
    """The new dispatch stands for it; the old one stays to be seen, with its reason."""
    await bench.deploy(deliver())
    bench.prefect.refuses = lambda _: PrefectRefused("no", 422)
    event_id = await bench.send("sent")
    await bench.work()
    assert len(await bench.inbox.dead(limit=10)) == 1
    bench.prefect.refuses = lambda _: None
    await replay(bench, event_id, "deliver/now/sent")

    assert await bench.inbox.dead(limit=10) == []
    stored = await bench.inbox.event(event_id)
    assert stored is not None
    assert stored.status is EventStatus.DISPATCHED
    dead, again = await bench.inbox.dispatches(event_id)
    assert (dead.status.value, dead.reason, dead.replaced_by) == ("dead", "no", again.id)


async def test_a_replay_that_dies_again_is_one_dead_letter(bench: Bench) -> None:
    """Not two: the newest stands for the others."""
    await bench.deploy(deliver())
    bench.prefect.refuses = lambda _: PrefectRefused("no", 422)
    event_id = await bench.send("sent")
    await bench.work()
    await replay(bench, event_id)

    [dead] = await bench.inbox.dead(limit=10)
    assert dead.replay == 1


async def test_a_replay_joins_at_the_end_of_its_key(bench: Bench) -> None:
    """What is replayed does not overtake what waits."""
    await bench.deploy(deliver(concurrency=Concurrency(limit=1, key=None)))
    first = await bench.send("sent")
    await bench.work()
    await bench.finish(first)
    second = await bench.send("sent")
    third = await bench.send("sent")
    await bench.work()
    bench.clock.advance(seconds=1)
    await replay(bench, first)
    for _ in range(3):
        bench.prefect.finish_all()
        bench.clock.advance(seconds=1)
        await bench.work()

    assert bench.events_started == [first, second, third, first]


async def test_a_dry_run_says_what_would_start_and_starts_nothing(bench: Bench) -> None:
    """By trigger, with the reason where one would not start."""
    await bench.deploy(deliver(where="data.size > 5"), deliver("all"))
    sent = [await bench.send("sent", {"size": size}) for size in range(10)]
    await bench.send("other")
    await bench.work()
    before = len(bench.prefect.created)

    preview = await bench.dispatcher.replays.preview(ReplayKind.EVENTS, Search(), None)
    assert (preview.events, preview.complete, preview.without_match) == (11, True, 1)
    assert preview.starts == {"deliver/now/sent": 4, "deliver/now/all": 10}
    assert [(outcome.event_id, outcome.starts, outcome.reason) for outcome in preview.outcomes[:2]] == [
        (sent[0], False, "where is false"),
        (sent[0], True, None),
    ]
    await bench.work()
    assert len(bench.prefect.created) == before


async def test_a_dry_run_says_what_would_die(bench: Bench) -> None:
    """A template that finds nothing, a parameter that does not fit, and a deployment that is gone."""
    bench.prefect.schema = {"type": "object", "properties": {"size": {"type": "integer"}}}
    await bench.deploy(
        deliver(parameters={"size": "{{ event.payload.size }}"}),
        Trigger(flow="index", deployment="gone", name="sent", expect=("sent",)),
    )
    del bench.prefect.pool_of["index/gone"]
    unfit = PrefectRefused("Prefect answered 409: 'large' is not of type 'integer'", 409)
    bench.prefect.refuses = lambda new: unfit if new.parameters["size"] == "large" else None
    for data in ({"size": 7}, {"size": "large"}, {}):
        await bench.send("sent", data)
    await bench.work()

    preview = await bench.dispatcher.replays.preview(ReplayKind.DEAD, Search(), None)
    assert preview.starts == {}
    assert preview.dies == {"deliver/now/sent": 2, "index/gone/sent": 3}
    told = {outcome.reason for outcome in preview.outcomes}
    assert any("the parameters do not fit the flow" in str(reason) for reason in told)
    # Word for word what the others died of.
    died = {letter.reason for letter in await bench.inbox.dead(limit=10)}
    assert len(told & died) == 2

    bench.prefect.pool_of["index/gone"] = None
    preview = await bench.dispatcher.replays.preview(ReplayKind.DEAD, Search(), None)
    assert (preview.starts, preview.dies) == ({"index/gone/sent": 3}, {"deliver/now/sent": 2})
    bench.prefect.is_away = True
    preview = await bench.dispatcher.replays.preview(ReplayKind.DEAD, Search(), None)
    # What the flow takes cannot be asked; what the templates make of the event is known all the same.
    assert preview.dies == {"deliver/now/sent": 1}


async def test_a_search_is_replayed_in_order_up_to_the_moment_it_was_asked_for(bench: Bench) -> None:
    """What comes later, or is sent by the runs that it starts, is not replayed."""
    await bench.deploy(deliver())
    sent = [await bench.send("sent", number) for number in range(250)]
    await bench.send("other")
    await bench.work()
    bench.clock.advance(seconds=1)
    begun = await bench.dispatcher.replays.begin(ReplayKind.EVENTS, Search(type="sent"), None, None)
    bench.clock.advance(seconds=1)
    later = await bench.send("sent", "later")

    done = await finish_replay(bench, begun.id)
    await bench.work()
    assert (done.status, done.events, done.dispatches) == (ReplayStatus.DONE, 250, 250)
    assert [each for each in bench.events_started if each != later] == sent + sent


async def test_a_replay_survives_a_crash_and_replays_nothing_twice(bench: Bench) -> None:
    """Its place is written in the transaction that makes the dispatches."""
    await bench.deploy(deliver())
    sent = [await bench.send("sent", number) for number in range(250)]
    await bench.work()
    bench.clock.advance(seconds=1)
    begun = await bench.dispatcher.replays.begin(ReplayKind.EVENTS, Search(), None, None)
    await bench.dispatcher.replays.step(begun.id)
    stale = await bench.inbox.read(lambda c: replaying.replay(c, begun.id))
    bench.restart()
    await bench.dispatcher.recover()
    bench.clock.advance(minutes=1)
    await bench.dispatcher.replays.step(begun.id)
    assert stale is not None
    again = await bench.inbox.write(
        lambda c: replaying.step(
            c,
            stale,
            replaying.ReplayStep("x", ()),
            at=bench.clock(),
            owner="gone",
            lease=timedelta(seconds=1),
        )
    )  # a gateway that was thought dead comes back with the step that it had in hand
    done = await finish_replay(bench, begun.id)
    await bench.work()

    assert again == []
    assert (done.status, done.events, done.dispatches) == (ReplayStatus.DONE, 250, 250)
    for event_id in sent:
        assert [each.replay for each in await bench.inbox.dispatches(event_id)] == [0, 1]


async def test_a_rate_spreads_a_replay(bench: Bench) -> None:
    """Twenty a second: each step does twenty and asks for a second's wait."""
    await bench.deploy(deliver())
    for number in range(50):
        await bench.send("sent", number)
    await bench.work()
    bench.clock.advance(seconds=1)
    begun = await bench.dispatcher.replays.begin(ReplayKind.EVENTS, Search(), None, 20)
    waits = []
    while (wait := await bench.dispatcher.replays.step(begun.id)) is not None:
        waits.append(wait)

    assert waits == [timedelta(seconds=1), timedelta(seconds=1), timedelta(seconds=0.5)]


async def test_a_cancelled_replay_keeps_what_it_has_made(bench: Bench) -> None:
    """And makes no more."""
    await bench.deploy(deliver())
    for number in range(150):
        await bench.send("sent", number)
    await bench.work()
    bench.clock.advance(seconds=1)
    begun = await bench.dispatcher.replays.begin(ReplayKind.EVENTS, Search(), None, None)
    await bench.dispatcher.replays.step(begun.id)
    assert await bench.dispatcher.replays.cancel(begun.id)
    done = await finish_replay(bench, begun.id)

    assert (done.status, done.events, done.dispatches) == (ReplayStatus.CANCELLED, 100, 100)


async def test_dead_letters_are_replayed_each_through_its_own_trigger(bench: Bench) -> None:
    """Others of the same event, which went well, are not started again."""
    await bench.deploy(deliver(), Trigger(flow="index", deployment="broken", name="sent", expect=("sent",)))
    del bench.prefect.pool_of["index/broken"]
    for number in range(5):
        await bench.send("sent", number)
    await bench.work()
    assert len(await bench.inbox.dead(limit=10)) == 5
    bench.prefect.pool_of["index/broken"] = None
    bench.clock.advance(seconds=1)
    preview = await bench.dispatcher.replays.preview(ReplayKind.DEAD, Search(type="sent"), None)
    assert preview.starts == {"index/broken/sent": 5}
    begun = await bench.dispatcher.replays.begin(ReplayKind.DEAD, Search(), None, None)
    done = await finish_replay(bench, begun.id)
    await bench.work()

    assert (done.events, done.dispatches) == (5, 5)
    assert await bench.inbox.dead(limit=10) == []
    assert len(bench.prefect.runs_of("deliver/now")) == 5
    assert len(bench.prefect.runs_of("index/broken")) == 5


async def test_what_cannot_be_replayed_is_counted(bench: Bench) -> None:
    """Events whose data retention has forgotten, and events that nothing expects today."""
    await bench.deploy(deliver())
    await bench.send("sent")
    await bench.work()
    bench.prefect.finish_all()
    await bench.work()
    bench.clock.advance(days=40)
    await bench.send("other")
    await bench.work()
    bench.clock.advance(seconds=1)
    gone, _ = await bench.inbox.write(
        lambda c: prune_bodies(c, after="", before=bench.clock() - timedelta(days=30), limit=10)
    )
    assert gone == 1
    begun = await bench.dispatcher.replays.begin(ReplayKind.EVENTS, Search(), None, None)
    done = await finish_replay(bench, begun.id)

    assert (done.events, done.dispatches, done.without_match, done.without_body) == (2, 0, 1, 1)


async def test_merged_events_follow_a_dead_leader_to_its_replay(bench: Bench) -> None:
    """The run of the replay carries them all."""
    from hookline.triggers import Debounce

    await bench.deploy(deliver(debounce=Debounce(quiet=timedelta(seconds=5))))
    bench.prefect.refuses = lambda _: PrefectRefused("no", 422)
    first, second = await bench.send("sent"), await bench.send("sent")
    await bench.work()
    await bench.pass_time(seconds=5)
    assert await bench.statuses([first, second]) == ["merged", "dead"]
    bench.prefect.refuses = lambda _: None
    await replay(bench, second)
    await bench.pass_time(seconds=5)

    assert {f"event:{first}", f"event:{second}"} <= set(bench.prefect.news[-1].tags)
