"""The inbox's contract: what every database must do alike. It runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from hookline.errors import InboxError
from hookline.event import BodyFormat, Cause
from hookline.inbox import DispatchStatus, EventStatus, Inbox, Rejection, Routing, RunSeen, Search
from hookline.inbox.records import first_id_at, to_micros
from hookline.triggers import Trigger
from tests.support.inboxes import LEASE, START, Clock, Desk, draft, to_start


@pytest.fixture
async def inbox(address: str) -> AsyncIterator[Inbox]:
    async with Inbox.open(address) as inbox:
        yield inbox


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(inbox: Inbox, clock: Clock) -> Desk:
    return Desk(inbox, clock)


# Recording ------------------------------------------------------------------------------------------


async def test_what_is_recorded_is_there_for_another_process(address: str) -> None:
    """When `record` returns, the event is committed: body byte for byte, headers, attributes and time."""
    async with Inbox.open(address) as first:
        given = draft(
            "github.push",
            body=b'{"ref" : "refs/heads/main"}\n',
            source="github",
            subject="acme/shop",
            source_id="72d3162e",
            time=START - timedelta(hours=1),
            content_type="application/json",
            headers=(("x-github-event", "push"), ("x-odd", "ä\x00")),
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            tracestate="rojo=1,congo=2",
            verdict="hmac-sha256",
            remote="192.0.2.7",
        )
        recorded, accepted = await first.record(given, accepted=START)
        async with Inbox.open(address) as second:
            body = await second.body(recorded.id)
            stored = await second.event(recorded.id)
            event = await second.full_event(recorded.id)

    assert accepted == START
    assert body is not None
    assert (body.body, body.headers, body.content_type) == (given.body, given.headers, given.content_type)
    assert stored is not None
    assert (stored.type, stored.source, stored.subject, stored.source_id) == (
        "github.push", "github", "acme/shop", "72d3162e",
    )  # fmt: skip
    assert (stored.accepted, stored.time) == (START, START - timedelta(hours=1))
    assert (stored.status, stored.size, stored.verdict) == (EventStatus.ACCEPTED, 28, "hmac-sha256")
    assert event is not None
    assert event.data == {"ref": "refs/heads/main"}
    assert (event.traceparent, event.tracestate) == (given.traceparent, given.tracestate)


async def test_a_tracking_id_is_a_uuid_that_holds_the_accepted_time(desk: Desk) -> None:
    """Order by id is order of arrival, also within one tick of the clock; a time is a bound on ids."""
    ids = [(await desk.record()).id for _ in range(5)]

    assert ids == sorted(ids)
    assert {UUID(each).version for each in ids} == {7}
    assert all(first_id_at(START) <= each < first_id_at(START + timedelta(microseconds=5)) for each in ids)
    stored = [await desk.inbox.event(each) for each in ids]
    assert [to_micros(each.accepted) - to_micros(START) for each in stored if each] == [0, 1, 2, 3, 4]


async def test_a_clock_that_is_set_back_far_is_believed(desk: Desk, clock: Clock) -> None:
    """A step of less than a second keeps the order; beyond that events would lie in the future for hours."""
    first = await desk.record()
    clock.advance(milliseconds=-200)
    second = await desk.record()
    clock.advance(hours=-1)
    third = await desk.record()

    assert third.id < first.id < second.id


async def test_the_same_id_at_the_same_door_is_a_duplicate(desk: Desk) -> None:
    """A duplicate gets the first one's tracking id; the same id with another body is a recorded conflict."""
    first = await desk.record(data=1, source_id="a")
    again = await desk.record(data=1, source_id="a")
    other_body = await desk.record(data=2, source_id="a")
    other_door = await desk.record(data=1, source_id="a", door="webhooks/github")

    assert (again.id, again.duplicate, again.conflict) == (first.id, True, False)
    assert (other_body.id, other_body.duplicate, other_body.conflict) == (first.id, True, True)
    assert not other_door.duplicate
    stored = await desk.inbox.event(first.id)
    assert stored is not None
    assert (stored.duplicates, stored.conflicts) == (2, 1)
    totals = await desk.inbox.totals()
    assert (totals["received"], totals["duplicates"]) == (2, 2)


async def test_many_deliveries_at_once_are_one_event(inbox: Inbox) -> None:
    """The first of a batch is the event, the others are its duplicates."""
    given = [draft(data=1, source_id="a") for _ in range(50)]
    outcomes = await asyncio.gather(*(inbox.record(each) for each in given))

    ids = [recorded.id for recorded, _ in outcomes]
    assert len(set(ids)) == 1
    assert [recorded.duplicate for recorded, _ in outcomes].count(False) == 1
    assert not outcomes[0][0].duplicate


async def test_a_strict_door_counts_a_conflict_as_neither(desk: Desk) -> None:
    """`POST /events` turns it away with 422, so that it is a rejection."""
    await desk.record(data=1, source_id="a")
    conflict = await desk.record(data=2, source_id="a", strict=True)

    assert conflict.conflict
    assert "duplicates" not in await desk.inbox.totals()


async def test_without_ids_equal_bodies_are_duplicates_for_as_long_as_the_source_asks(
    desk: Desk, clock: Clock
) -> None:
    """`dedup: {body, window}`: the same body counts again once the window is over."""
    window = timedelta(minutes=5)
    first = await desk.record(data=1, dedup_window=window)
    clock.advance(minutes=4)
    inside = await desk.record(data=1, dedup_window=window)
    clock.advance(minutes=2)
    after = await desk.record(data=1, dedup_window=window)
    then = await desk.record(data=1, dedup_window=window)

    assert inside.id == first.id
    assert not after.duplicate
    assert then.id == after.id


async def test_an_equal_body_under_another_id_is_a_duplicate_within_the_window(
    desk: Desk, clock: Clock
) -> None:
    """A captured delivery under a new id starts nothing; after the window the same body is an event again."""
    window = timedelta(minutes=5)
    first = await desk.record(data=1, source_id="a", dedup_window=window)
    captured = await desk.record(data=1, source_id="b", dedup_window=window)
    elsewhere = await desk.record(data=1, source_id="b", dedup_window=window, door="webhooks/other")
    clock.advance(minutes=6)
    after = await desk.record(data=1, source_id="c", dedup_window=window)
    old_id = await desk.record(data=1, source_id="a", dedup_window=window)
    again = await desk.record(data=1, source_id="d", dedup_window=window)

    assert (captured.id, captured.duplicate, captured.conflict) == (first.id, True, False)
    assert not elsewhere.duplicate
    assert not after.duplicate
    # By its id for as long as the event is retained, whatever became of the window.
    assert (old_id.id, old_id.conflict) == (first.id, False)
    assert again.id == after.id
    totals = await desk.inbox.totals()
    assert (totals["received"], totals["duplicates"]) == (3, 3)
    events = [await desk.inbox.event(each.id) for each in (first, after)]
    assert [event and event.duplicates for event in events] == [2, 1]


async def test_of_an_equal_id_and_an_equal_body_the_id_counts(desk: Desk) -> None:
    """The same id with another body is a conflict with the event of that id, though the body is another's."""
    window = timedelta(minutes=5)
    one = await desk.record(data=1, source_id="a", dedup_window=window)
    two = await desk.record(data=2, source_id="b", dedup_window=window)
    mixed = await desk.record(data=1, source_id="b", dedup_window=window)

    assert (mixed.id, mixed.duplicate, mixed.conflict) == (two.id, True, True)
    assert one.id != two.id


async def test_an_id_keeps_its_meaning_where_the_body_does_not_count(desk: Desk) -> None:
    """Without a window, equal bodies under two ids are two events, beside one that has a window too."""
    first = await desk.record(data=1, source_id="a", dedup_window=timedelta(minutes=5))
    other = await desk.record(data=1, source_id="b")

    assert not other.duplicate
    assert other.id != first.id


async def test_a_crowd_of_one_body_under_many_ids_is_one_event(inbox: Inbox, clock: Clock) -> None:
    """In one transaction and after a window that is over: one is the event, each other its duplicate."""
    window = timedelta(minutes=5)

    async def crowd(name: str) -> list[str]:
        given = [draft(data=1, source_id=f"{name}{place}", dedup_window=window) for place in range(40)]
        outcomes = await asyncio.gather(*(inbox.record(each, accepted=clock()) for each in given))
        assert [recorded.duplicate for recorded, _ in outcomes].count(False) == 1
        return [recorded.id for recorded, _ in outcomes]

    before = set(await crowd("a"))
    clock.advance(minutes=6)
    after = set(await crowd("b"))
    assert (len(before), len(after), len(before | after)) == (1, 1, 2)


async def test_an_event_of_a_run_is_one_deeper_than_what_caused_it(desk: Desk) -> None:
    """The depth is ours to count: a sender cannot hide that its chain is a loop."""
    root = await desk.record()
    child = await desk.record(cause=Cause(event=root.id, flow_run="r1"))
    grandchild = await desk.record(cause=Cause(event=child.id, flow_run="r2"))
    stray = await desk.record(cause=Cause(event="0197a000-0000-7000-8000-000000000000", flow_run="r3"))

    assert (root.depth, child.depth, grandchild.depth, stray.depth) == (0, 1, 2, 1)
    assert await desk.inbox.effects(root.id) == [child.id]


@pytest.mark.parametrize("odd", ["nul \x00", "half \ud800 a pair", "\x00"])
async def test_no_text_is_too_odd_to_be_stored(desk: Desk, odd: str) -> None:
    """What a sender writes must not be what stops the inbox for everybody."""
    recorded = await desk.record(subject=odd, source_id=odd)
    again = await desk.record(subject=odd, source_id=odd)
    [ready] = await desk.route(
        recorded.id,
        to_start(filtered=odd),
        to_start("f/d/t", concurrency_key=odd, concurrency_limit=1),
        to_start("f/d/u", debounce_key=odd, quiet=timedelta(seconds=1)),
        to_start("f/d/v", dead=odd),
    )
    await desk.die(ready, reason=odd)
    await desk.inbox.reject(
        [Rejection(id="r1", at=START, door=odd, remote=odd, status=400, reason=odd, detail=odd, size=1)]
    )

    assert again.id == recorded.id
    assert len(await desk.inbox.rejections(limit=10)) == 1


async def test_one_write_that_cannot_be_done_does_not_spoil_the_others(inbox: Inbox) -> None:
    """What waits for the disk commits together; where one of it fails, the rest is done without it."""

    def wrong(_: Any) -> None:
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        inbox.record(draft(data=1)), inbox.write(wrong), inbox.record(draft(data=2)), return_exceptions=True
    )

    assert isinstance(outcomes[1], ZeroDivisionError)
    assert (await inbox.totals())["received"] == 2


# Searching ------------------------------------------------------------------------------------------


async def test_search_finds_what_every_given_part_fits(desk: Desk, clock: Clock) -> None:
    """Type (or a prefix), source, subject, status, and a half-open range of accepted times."""
    made: dict[str, str] = {}
    for name, more in {
        "push": {"type": "github.push", "source": "github", "subject": "acme/shop"},
        "issue": {"type": "github.issue", "source": "github", "subject": "acme/shop"},
        "paid": {"type": "order.paid", "source": "shop", "subject": "order-1"},
        "pushed": {"type": "github_pushed", "source": "shop"},
    }.items():
        made[name] = (await desk.record(**more)).id
        clock.advance(minutes=1)
    await desk.route(made["paid"])

    async def found(**parts: Any) -> list[str]:
        ids = {each: name for name, each in made.items()}
        return [ids[event.id] for event in await desk.inbox.search(Search(**parts))]

    assert await found() == ["pushed", "paid", "issue", "push"]
    assert await found(oldest_first=True) == ["push", "issue", "paid", "pushed"]
    assert await found(type="github.push") == ["push"]
    assert await found(type="github.*") == ["issue", "push"]
    assert await found(type="github.*", oldest_first=True, limit=1) == ["push"]
    assert await found(type="*") == ["pushed", "paid", "issue", "push"]
    assert await found(type="nothing.*") == []
    assert await found(type="nothing") == []
    assert await found(source="github", subject="acme/shop", type="github.issue") == ["issue"]
    assert await found(status=EventStatus.IGNORED) == ["paid"]
    assert await found(status=EventStatus.ACCEPTED, source="shop") == ["pushed"]
    second = START + timedelta(minutes=1)
    assert await found(since=second) == ["pushed", "paid", "issue"]
    assert await found(until=second) == ["push"]
    assert await found(since=second, until=second + timedelta(microseconds=1)) == ["issue"]


async def test_pages_of_a_search_miss_nothing_and_repeat_nothing(desk: Desk) -> None:
    """The cursor is the last id of the page before, whatever the search is."""
    made = [(await desk.record(f"t.{number % 3}")).id for number in range(20)]

    for oldest_first in (True, False):
        for type_ in (None, "t.*", "t.1"):
            seen: list[str] = []
            while page := await desk.inbox.search(
                Search(type=type_, limit=3, cursor=seen[-1] if seen else None, oldest_first=oldest_first)
            ):
                seen += [event.id for event in page]
            wanted = [each for n, each in enumerate(made) if type_ != "t.1" or n % 3 == 1]
            assert seen == (wanted if oldest_first else wanted[::-1])


async def test_a_prefix_of_very_many_types_is_found_as_well(desk: Desk) -> None:
    """More types than are looked up one by one."""
    made = [(await desk.record(f"many.{number}")).id for number in range(80)]
    await desk.record("other")

    page = await desk.inbox.search(Search(type="many.*", limit=50))

    assert [event.id for event in page] == made[::-1][:50]


# Trigger sets ---------------------------------------------------------------------------------------


async def test_a_trigger_set_gets_a_new_version_only_when_it_changed(inbox: Inbox) -> None:
    """Version 0 is the empty set, before the first deploy; older versions can still be read."""
    one = Trigger(flow="f", deployment="d", name="one", expect=("a",))
    two = Trigger(flow="f", deployment="d", name="two", expect=("b",))

    assert await inbox.trigger_set() == (0, [])
    first = await inbox.save_trigger_set([one])
    assert await inbox.save_trigger_set([one]) == first
    second = await inbox.save_trigger_set([one, two])

    assert second > first
    assert await inbox.trigger_set() == (second, [one.to_dict(), two.to_dict()])
    assert await inbox.trigger_set(first) == (first, [one.to_dict()])


# Routing --------------------------------------------------------------------------------------------


async def test_an_event_is_routed_once(desk: Desk) -> None:
    """Its dispatches, their trigger set and its status commit together; a second routing does nothing."""
    version = await desk.inbox.save_trigger_set([Trigger(flow="f", deployment="d", name="t", expect=("a",))])
    recorded = await desk.record()
    [ready] = await desk.route(recorded.id, to_start())
    again = await desk.route(recorded.id, to_start())

    assert again == []
    assert (ready.status, ready.replay, ready.trigger_set) == (DispatchStatus.PENDING, 0, version)
    stored = await desk.inbox.event(recorded.id)
    assert stored is not None
    assert (stored.status, stored.routed, stored.trigger_set) == (EventStatus.PENDING, START, version)


async def test_nothing_is_routed_against_a_set_that_is_no_longer_in_force(desk: Desk) -> None:
    """A deploy came between matching and writing: match again."""
    recorded = await desk.record()
    routing = Routing(recorded.id, 0, (to_start(),))
    await desk.inbox.save_trigger_set([Trigger(flow="f", deployment="d", name="t", expect=("a",))])

    assert await desk.inbox.route([routing], at=START, lease=LEASE) is None
    assert await desk.inbox.dispatches(recorded.id) == []


async def test_what_no_trigger_expects_is_ignored(desk: Desk) -> None:
    """Ignored events have no dispatch; filtered ones have one that says why, and are ignored as well."""
    ignored = await desk.accept()
    filtered = await desk.accept(to_start(filtered="where is false"))

    for event_id in (ignored, filtered):
        stored = await desk.inbox.event(event_id)
        assert stored is not None
        assert stored.status is EventStatus.IGNORED
    assert (await desk.only(filtered)).reason == "where is false"


async def test_unrouted_events_are_found_oldest_first_and_in_bounds(desk: Desk, clock: Clock) -> None:
    """Recovery reads so many at once, and not so many bytes that it hurts; but always one."""
    ids = []
    for size in (10, 1000, 10):
        ids.append((await desk.record(data="x" * size)).id)
        clock.advance(seconds=10)
    broken = await desk.record(body=b"{", body_format=BodyFormat.JSON)

    found, unreadable = await desk.inbox.unrouted(limit=10, limit_bytes=10_000)
    assert ([event.id for event in found], unreadable) == (ids, [broken.id])
    assert found[0].data == "x" * 10
    found, _ = await desk.inbox.unrouted(limit=2, limit_bytes=10_000)
    assert [event.id for event in found] == ids[:2]
    found, _ = await desk.inbox.unrouted(limit=10, limit_bytes=100)
    assert [event.id for event in found] == ids[:1]
    found, _ = await desk.inbox.unrouted(limit=10, limit_bytes=5, before=START + timedelta(seconds=10))
    assert [event.id for event in found] == ids[:1]


# Claiming and settling ------------------------------------------------------------------------------


async def test_a_lane_is_claimed_in_order_of_arrival(desk: Desk, clock: Clock) -> None:
    """What was routed later, after a crash perhaps, is still in its place; other lanes are not touched."""
    first, second = await desk.record(), await desk.record()
    await desk.route(second.id, to_start())
    await desk.route(first.id, to_start())
    await desk.accept(to_start("other/lane/t"))
    await desk.inbox.release_leases()

    assert await desk.inbox.waiting_lanes(at=clock()) == ["deliver/now", "other/lane"]
    claimed = await desk.claim(limit=2)

    assert [each.event_id for each in claimed] == [first.id, second.id]
    assert await desk.inbox.waiting_lanes(at=clock()) == ["other/lane"]
    assert await desk.claim() == []


async def test_a_lease_ends_by_itself_unless_it_is_renewed(desk: Desk, clock: Clock) -> None:
    """A gateway that died gives nothing back; the others find it when its lease is over."""
    kept, left = [await desk.only(await desk.accept(to_start())) for _ in range(2)]
    clock.advance(seconds=10)
    assert await desk.inbox.renew_leases([kept.id], at=clock(), lease=LEASE) == {kept.id}
    clock.advance(seconds=10)

    assert [each.id for each in await desk.claim()] == [left.id]


async def test_a_retry_waits_until_it_is_due(desk: Desk, clock: Clock) -> None:
    """Given back, it is nobody's; kept, it is found after a crash, and not before its time."""
    dispatch = await desk.only(await desk.accept(to_start()))
    due = clock() + timedelta(seconds=30)
    await desk.inbox.settle_retry(dispatch, reason="503", due=due)

    clock.advance(seconds=29)
    assert await desk.claim() == []
    assert await desk.inbox.waiting_lanes(at=clock()) == []
    clock.advance(seconds=1)
    [again] = await desk.claim()
    assert (again.attempts, again.reason) == (1, "503")


@pytest.mark.parametrize("keep_lease", [True, False])
async def test_a_wait_that_was_set_by_a_clock_ahead_ends_when_a_gateway_starts_alone(
    desk: Desk, keep_lease: bool
) -> None:
    """What failed at what the clock called an hour from now is tried again at once, not in an hour."""
    dispatch = await desk.only(await desk.accept(to_start()))
    ahead = desk.clock() + timedelta(hours=1)
    await desk.inbox.settle_retry(dispatch, reason="503", due=ahead, keep_lease=keep_lease)
    assert await desk.claim() == []

    assert await desk.inbox.release_leases(everybody=True) == 1
    assert [each.id for each in await desk.claim()] == [dispatch.id]


async def test_a_dispatch_is_settled_once(desk: Desk) -> None:
    """Whoever comes second changes nothing: the run is the first one's."""
    event_id = await desk.accept(to_start())
    dispatch = await desk.only(event_id)
    await desk.start(dispatch, "run-1")
    settled_again = await desk.inbox.settle_started(
        dispatch, flow_run_id="run-2", flow_run_name="", deployment_id="", state="SCHEDULED",
        created=START, at=START,
    )  # fmt: skip
    await desk.die(dispatch)

    assert not settled_again
    now = await desk.only(event_id)
    assert (now.status, now.flow_run_id, now.attempts) == (DispatchStatus.STARTED, "run-1", 1)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (["start", "start"], "dispatched"),
        (["start", "wait"], "pending"),
        (["die", "wait"], "pending"),
        (["die", "start"], "dead"),
        (["filtered", "start"], "dispatched"),
        (["filtered", "filtered"], "ignored"),
        (["filtered", "die"], "dead"),
    ],
)
async def test_an_events_status_is_the_first_that_holds(desk: Desk, ends: list[str], status: str) -> None:
    """Pending, then dead, then dispatched, else ignored."""
    event_id = await desk.accept(
        *(to_start(f"f/d/{n}", filtered="no" if end == "filtered" else None) for n, end in enumerate(ends))
    )
    by_trigger = {dispatch.trigger_id: dispatch for dispatch in await desk.inbox.dispatches(event_id)}
    for number, end in enumerate(ends):
        if end == "start":
            await desk.start(by_trigger[f"f/d/{number}"])
        elif end == "die":
            await desk.die(by_trigger[f"f/d/{number}"])

    stored = await desk.inbox.event(event_id)
    assert stored is not None
    assert stored.status.value == status
    assert [event.id for event in await desk.inbox.search(Search(status=stored.status))] == [event_id]
    assert (await desk.inbox.status_counts()) == {status: 1}


# Sightings ------------------------------------------------------------------------------------------


async def test_news_of_a_run_may_come_late_twice_and_in_any_order(desk: Desk, clock: Clock) -> None:
    """The newest state stands, the earliest times stand, and only what is new is told on."""
    event_id = await desk.accept(to_start())
    run = await desk.start(await desk.only(event_id))
    started, task, end = (START + timedelta(seconds=n) for n in (1, 2, 3))
    completed = RunSeen(run, end, "COMPLETED", finished=end)

    news = await desk.inbox.see_runs([completed])
    assert news.event_ids == (event_id,)
    assert [step.name for step in news.steps] == ["finished"]
    news = await desk.inbox.see_runs([RunSeen(run, started, "RUNNING", started=started)])
    assert [step.name for step in news.steps] == ["run_started"]
    news = await desk.inbox.see_runs([RunSeen(run, task, first_task=task)])
    assert [step.name for step in news.steps] == ["first_task"]
    news = await desk.inbox.see_runs([completed, completed, RunSeen("somebody-elses", end, "FAILED")])
    assert (news.event_ids, news.steps) == ((), ())

    dispatch = await desk.only(event_id)
    assert news.finished == (dispatch.id,)
    assert (dispatch.state, dispatch.run_started, dispatch.first_task, dispatch.finished) == (
        "COMPLETED", started, task, end,
    )  # fmt: skip
    assert dispatch.seen
    assert await desk.inbox.running(limit=10) == []


async def test_a_run_that_prefect_retries_is_under_way_again(desk: Desk, clock: Clock) -> None:
    """Somebody pressed retry in Prefect's UI: it is not finished after all."""
    event_id = await desk.accept(to_start())
    run = await desk.start(await desk.only(event_id))
    clock.advance(seconds=5)
    await desk.see(run, "FAILED")
    clock.advance(seconds=60)
    await desk.see(run, "RUNNING")
    assert (await desk.only(event_id)).finished is None
    assert len(await desk.inbox.running(limit=10)) == 1
    clock.advance(seconds=5)
    await desk.see(run, "COMPLETED")

    dispatch = await desk.only(event_id)
    assert (dispatch.state, dispatch.finished) == ("COMPLETED", clock())


async def test_a_run_that_was_deleted_is_gone(desk: Desk) -> None:
    """It is finished, and whether it was ever seen is known: the audit tells gone from missing by that."""
    event_id = await desk.accept(to_start())
    await desk.see(await desk.start(await desk.only(event_id)), "GONE")

    dispatch = await desk.only(event_id)
    assert (dispatch.state, dispatch.seen) == ("GONE", False)
    assert dispatch.finished is not None


# Mirror, rejections, secrets ------------------------------------------------------------------------


async def test_dispatched_events_wait_for_the_mirror_once(desk: Desk, clock: Clock) -> None:
    """Ignored, filtered and dead ones do not; a replay does not again; what is taken is nobody else's."""
    await desk.accept()
    await desk.accept(to_start(filtered="no"))
    await desk.accept(to_start(dead="loop"))
    first, second = await desk.accept(to_start()), await desk.accept(to_start())
    await desk.route(first, to_start(), replay=True)
    until = clock() + timedelta(seconds=30)

    taken = await desk.inbox.take_from_outbox(limit=10, at=clock(), until=until)
    assert [event.id for event in taken] == [first, second]
    assert await desk.inbox.take_from_outbox(limit=10, at=clock(), until=until) == []
    await desk.inbox.leave_outbox([first], mirrored=True)
    clock.advance(seconds=30)
    [again] = await desk.inbox.take_from_outbox(limit=10, at=clock(), until=until)
    assert again.id == second
    await desk.inbox.leave_outbox([second], mirrored=False)
    totals = await desk.inbox.totals()
    assert (totals["mirrored"], totals["mirror_left_out"]) == (1, 1)


async def test_the_mirror_keeps_the_newest_when_there_are_too_many(desk: Desk, clock: Clock) -> None:
    """A feed that is minutes late helps nobody; what is left out is counted."""
    ids = [await desk.accept(to_start()) for _ in range(7)]

    assert await desk.inbox.trim_outbox(keep=3) == 4
    assert await desk.inbox.trim_outbox(keep=3) == 0
    taken = await desk.inbox.take_from_outbox(limit=10, at=clock(), until=clock())
    assert [event.id for event in taken] == ids[-3:]
    assert (await desk.inbox.totals())["mirror_left_out"] == 4


async def test_a_secret_is_made_once_and_shared(address: str) -> None:
    """All gateways of an inbox sign claim checks with the same key."""
    async with Inbox.open(address) as first, Inbox.open(address) as second:
        one, other = await asyncio.gather(first.shared_secret("claims"), second.shared_secret("claims"))

    assert len(one) == 32
    assert one == other


async def test_a_database_that_is_away_says_so(address: str, tmp_path: Path) -> None:
    """An error of ours that says what to do, and no password."""
    if address.startswith("sqlite"):
        (tmp_path / "file").write_text("not a folder")
        wrong = f"sqlite:///{tmp_path / 'file' / 'inbox.db'}"
    else:
        wrong = "postgresql://somebody:hidden@127.0.0.1:1/nowhere"
    with pytest.raises((InboxError, OSError)) as caught:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(Inbox.open(wrong))
    assert "hidden" not in str(caught.value)
