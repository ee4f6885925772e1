"""Several gateways on one PostgreSQL: an event is accepted once and a dispatch claimed once, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from hookline.errors import InboxError
from hookline.inbox import Inbox, NewDispatch, Routing, RunSeen
from hookline.inbox.books import books
from hookline.inbox.deploy_lock import deploy_lock
from tests.support.inboxes import LEASE, START, Clock, Desk, draft, to_start
from tests.support.postgres import PostgresServer

GATEWAYS = 4


@pytest.fixture
async def desks(postgres_inbox_url: str) -> AsyncIterator[list[Desk]]:
    clock = Clock()
    async with AsyncExitStack() as stack:
        inboxes = [await stack.enter_async_context(Inbox.open(postgres_inbox_url)) for _ in range(GATEWAYS)]
        yield [Desk(inbox, clock) for inbox in inboxes]


async def balanced(desk: Desk) -> bool:
    return (await desk.inbox.read(books)).faults == ()


async def test_a_delivery_that_reaches_several_gateways_is_one_event(desks: list[Desk]) -> None:
    """Twenty ids, each delivered to each gateway several times and in another order."""
    deliveries = [
        desk.record(data=number, source_id=f"id-{number}")
        for turn, desk in enumerate(desks * 3)
        for number in (range(20) if turn % 2 else reversed(range(20)))
    ]
    outcomes = await asyncio.gather(*deliveries)

    assert len({recorded.id for recorded in outcomes}) == 20
    assert sum(not recorded.duplicate for recorded in outcomes) == 20
    totals = await desks[0].inbox.totals()
    assert (totals["received"], totals["duplicates"]) == (20, 20 * (GATEWAYS * 3 - 1))
    assert await balanced(desks[0])


async def test_a_body_that_reaches_several_gateways_under_many_ids_is_one_event(desks: list[Desk]) -> None:
    """Twenty bodies, each under an id of its own at each gateway; and again when their window is over."""
    window = timedelta(minutes=5)

    async def deliver(name: str) -> set[str]:
        outcomes = await asyncio.gather(
            *(
                desk.record(data=number, source_id=f"{name}-{turn}-{number}", dedup_window=window)
                for turn, desk in enumerate(desks * 3)
                for number in (range(20) if turn % 2 else reversed(range(20)))
            )
        )
        assert sum(not recorded.duplicate for recorded in outcomes) == 20
        return {recorded.id for recorded in outcomes}

    first = await deliver("first")
    desks[0].clock.advance(minutes=6)
    second = await deliver("second")
    assert (len(first), len(second), len(first | second)) == (20, 20, 40)
    totals = await desks[0].inbox.totals()
    assert (totals["received"], totals["duplicates"]) == (40, 2 * 20 * (GATEWAYS * 3 - 1))
    assert await balanced(desks[0])


async def test_no_dispatch_is_claimed_twice(desks: list[Desk]) -> None:
    """All gateways claim at once, again and again; each dispatch goes to one of them, and none waits."""
    for _ in range(100):
        await desks[0].accept(to_start())
    await desks[0].inbox.release_leases()
    claimed: list[str] = []

    async def claim(desk: Desk) -> None:
        while few := await desk.claim(limit=7):
            claimed.extend(dispatch.id for dispatch in few)

    await asyncio.gather(*(claim(desk) for desk in desks))
    assert len(claimed) == len(set(claimed)) == 100


async def test_an_event_is_routed_by_one_gateway(desks: list[Desk]) -> None:
    """Recovery may find what another gateway is about to route; it is routed once."""
    ids = [(await desks[0].record()).id for _ in range(20)]
    routings = [Routing(event_id, 0, (to_start(),)) for event_id in ids]
    made = await asyncio.gather(*(desk.inbox.route(routings, at=START, lease=LEASE) for desk in desks))

    assert sorted(len(routed.ready) for routed in made if routed) == [0, 0, 0, 20]


async def test_what_a_dead_gateway_held_is_taken_over_when_its_lease_ends(desks: list[Desk]) -> None:
    """Not before; and one that only seemed dead learns that it lost it."""
    first, second = desks[:2]
    dispatch = await first.only(await first.accept(to_start()))
    assert await second.claim() == []
    first.clock.advance(seconds=16)

    [taken] = await second.claim()
    assert taken.id == dispatch.id
    kept = await first.inbox.renew_leases([dispatch.id], at=first.clock(), lease=LEASE)
    assert kept == set()


async def test_a_key_has_one_place_however_many_gateways_decide(desks: list[Desk]) -> None:
    """Forty events of one key routed by four gateways at once: one may start, the others wait for it."""
    ids = [(await desk.record()).id for desk in desks for _ in range(10)]
    new = NewDispatch(trigger_id="f/d/t", lane="f/d", concurrency_key="k", concurrency_limit=1)
    made = await asyncio.gather(
        *(
            desks[number % GATEWAYS].inbox.route([Routing(event_id, 0, (new,))], at=START, lease=LEASE)
            for number, event_id in enumerate(ids)
        )
    )

    assert sum(len(routed.ready) for routed in made if routed) == 1
    order = []
    for _ in ids:
        found = [each for event_id in ids for each in await desks[0].inbox.dispatches(event_id)]
        [pending] = [each for each in found if each.status.value == "pending"]
        order.append(pending.event_id)
        run = await desks[0].start(pending)
        seen = RunSeen(run, desks[0].clock.advance(seconds=1), "COMPLETED")
        # All gateways hear of it.
        await asyncio.gather(*(desk.inbox.see_runs([seen]) for desk in desks))
    assert sorted(order) == sorted(ids)
    assert order[1:] == sorted(order[1:])
    assert await balanced(desks[0])


async def test_one_leader_is_debounced_however_many_gateways_decide(desks: list[Desk]) -> None:
    """Forty events of one key: one leads, 39 are merged into it."""
    ids = [(await desk.record()).id for desk in desks for _ in range(10)]
    new = NewDispatch(trigger_id="f/d/t", lane="f/d", debounce_key="k", quiet=timedelta(seconds=10))
    await asyncio.gather(
        *(
            desks[number % GATEWAYS].inbox.route([Routing(event_id, 0, (new,))], at=START, lease=LEASE)
            for number, event_id in enumerate(ids)
        )
    )
    made = [each for event_id in ids for each in await desks[0].inbox.dispatches(event_id)]

    [leader] = [each for each in made if each.status.value == "held"]
    assert leader.event_id == max(ids)
    assert {each.merged_into for each in made if each.id != leader.id} == {leader.id}
    assert await balanced(desks[0])


async def test_two_dispatches_of_an_event_settled_at_once_leave_its_status_right(desks: list[Desk]) -> None:
    """Each gateway sees what the other wrote: the event does not stay pending for ever."""
    for _ in range(20):
        event_id = await desks[0].accept(*(to_start(f"f/d/{number}") for number in range(GATEWAYS)))
        made = await desks[0].inbox.dispatches(event_id)
        await asyncio.gather(*(desk.start(dispatch) for desk, dispatch in zip(desks, made, strict=True)))
        stored = await desks[0].inbox.event(event_id)
        assert stored is not None
        assert stored.status.value == "dispatched"


async def test_two_replays_of_one_event_have_two_numbers(desks: list[Desk]) -> None:
    """Somebody pressed the button at each gateway."""
    event_id = await desks[0].accept(to_start())
    await asyncio.gather(*(desk.route(event_id, to_start(), replay=True) for desk in desks))

    assert [each.replay for each in await desks[0].inbox.dispatches(event_id)] == list(range(GATEWAYS + 1))


async def test_a_database_that_went_away_comes_back(postgres_server: PostgresServer) -> None:
    """While it is away nothing is accepted, and that is said; afterwards everything goes on."""
    with postgres_server.database() as url:
        async with Inbox.open(url) as inbox:
            before, _ = await inbox.record(draft())
            postgres_server.stop()
            with pytest.raises(InboxError):
                await inbox.record(draft())
            with pytest.raises(InboxError):
                await inbox.event(before.id)
            postgres_server.start()
            after, _ = await inbox.record(draft())
            assert await inbox.event(before.id) is not None
            assert await inbox.event(after.id) is not None


async def test_deploys_from_several_machines_wait_for_each_other(postgres_inbox_url: str) -> None:
    """The lock is the database's, and ends with the connection."""
    waits = asyncio.Event()
    order: list[str] = []

    async def second() -> None:
        async with deploy_lock(postgres_inbox_url, waits.set):
            order.append("second")

    async with deploy_lock(postgres_inbox_url):
        waiting = asyncio.create_task(second())
        await asyncio.wait_for(waits.wait(), 10)
        order.append("first")
    await asyncio.wait_for(waiting, 10)
    assert order == ["first", "second"]
