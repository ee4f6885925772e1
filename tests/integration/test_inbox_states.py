"""Any order of events, ends of runs, crashes and outages: inbox and dispatcher against a simple model.

The model knows which dispatches there must be and what must become of them; time is virtual. It runs on
SQLite with one gateway, and on PostgreSQL with two that share the inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from hookline.errors import PrefectRefused
from hookline.inbox import DispatchStatus, Inbox
from hookline.inbox.books import Books, books
from hookline.inbox.gauging import gauges
from hookline.inbox.proving import prove
from hookline.inbox.records import TERMINAL_STATES
from hookline.inbox.schema import metadata
from hookline.triggers import Concurrency, Debounce, Delay, Trigger
from tests.support.dispatching import Bench
from tests.support.fake_prefect import FakePrefect
from tests.support.inboxes import Clock

T = TypeVar("T")

QUIET, MAX_WAIT, DELAY = timedelta(seconds=10), timedelta(seconds=25), timedelta(seconds=20)
LIMIT = 4
KEYS = ("a", "b")


def trigger(name: str, **more: Any) -> Trigger:
    return Trigger(flow="flow", deployment=name, name=name, expect=(name,), passes_event=True, **more)


TRIGGERS = (
    trigger("plain"),
    trigger("filtered", where='data.key == "a"'),
    trigger("keyed", concurrency=Concurrency(limit=1, key="data.key")),
    trigger("debounced", debounce=Debounce(quiet=QUIET, max_wait=MAX_WAIT, key="data.key")),
    trigger("delayed", delay=Delay(duration=DELAY)),
)
NAMES = tuple(each.name for each in TRIGGERS)


@dataclass
class Expected:
    """What the model knows of an event.

    Parameters
    ----------
    at: when it was accepted.
    replays: how many were made.
    """

    id: str
    name: str
    key: str
    at: datetime
    replays: int = 0


@dataclass
class Model:
    """The events that were accepted, and what the senders' ids were."""

    events: dict[str, Expected] = field(default_factory=dict)
    by_source_id: dict[str, str] = field(default_factory=dict)


class Dispatching(RuleBasedStateMachine):
    """One gateway for each opened inbox; all of them are the same database.

    Parameters
    ----------
    loop: where everything runs.
    inboxes: opened once for all examples, and emptied for each.
    """

    loop: asyncio.AbstractEventLoop
    inboxes: Sequence[Inbox]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.model = Model()
        self.prefect = FakePrefect(self.clock)
        self.benches: list[Bench] = []

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await asyncio.wait_for(work, timeout=20)

        return self.loop.run_until_complete(run())

    @initialize()
    def open(self) -> None:
        self.do(self.inboxes[0].write(empty))
        for inbox in self.inboxes:
            # Every example begins at the same time.
            inbox._last_accepted = datetime.min.replace(tzinfo=UTC)
            bench = Bench(inbox, self.clock, default_limit=LIMIT)
            bench.prefect = self.prefect
            bench.restart()
            self.benches.append(bench)
        self.do(self.benches[0].deploy(*TRIGGERS))

    def teardown(self) -> None:
        if self.benches:
            self.come_to_rest()

    def gateway(self, number: int) -> Bench:
        return self.benches[number % len(self.benches)]

    # What happens ---------------------------------------------------------------------------------

    @rule(number=st.integers(0, 1), name=st.sampled_from(NAMES), key=st.sampled_from(KEYS))
    def an_event_comes(self, number: int, name: str, key: str) -> None:
        # No real clock stands still; with one that does, two gateways would date events differently.
        self.clock.advance(milliseconds=1)
        event_id = self.do(self.gateway(number).send(name, {"key": key}))
        assert event_id not in self.model.events
        self.model.events[event_id] = Expected(event_id, name, key, self.clock())

    @rule(number=st.integers(0, 1), name=st.sampled_from(NAMES), source_id=st.sampled_from("xyz"))
    def an_event_comes_with_an_id(self, number: int, name: str, source_id: str) -> None:
        self.clock.advance(milliseconds=1)
        event_id = self.do(self.gateway(number).send(name, {"key": "a"}, source_id=source_id))
        first = self.model.by_source_id.setdefault(source_id, event_id)
        assert event_id == first
        self.model.events.setdefault(event_id, Expected(event_id, name, "a", self.clock()))

    @rule(number=st.integers(0, 1))
    def a_gateway_works(self, number: int) -> None:
        self.do(self.gateway(number).work())
        self.the_books_balance()

    @rule(seconds=st.sampled_from((0.5, 3, 9, 16, 40)))
    def time_goes_on(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)

    @precondition(lambda self: self.unfinished())
    @rule(which=st.integers(0, 99), state=st.sampled_from(("COMPLETED", "FAILED", "CANCELLED")))
    def a_run_ends(self, which: int, state: str) -> None:
        runs = self.unfinished()
        self.clock.advance(milliseconds=1)
        self.prefect.set_state(runs[which % len(runs)], state)

    @rule(away=st.booleans())
    def prefect_goes_or_comes(self, away: bool) -> None:
        self.prefect.is_away = away

    @rule()
    def an_answer_will_be_lost(self) -> None:
        self.prefect.answer_lost = True

    @rule(name=st.sampled_from(NAMES))
    def a_deployment_will_be_missing(self, name: str) -> None:
        missing = [PrefectRefused("Prefect answered 404: Deployment not found", 404)] * 2

        def refuses(new: Any) -> Exception | None:
            return missing.pop() if missing and new.deployment_id == f"flow/{name}" else None

        self.prefect.refuses = refuses

    @rule(number=st.integers(0, 1))
    def a_gateway_is_killed_and_started_again(self, number: int) -> None:
        bench = self.gateway(number)
        bench.restart()
        self.do(bench.dispatcher.recover())

    @precondition(lambda self: self.model.events)
    @rule(number=st.integers(0, 1), which=st.integers(0, 99))
    def an_event_is_replayed(self, number: int, which: int) -> None:
        expected = list(self.model.events.values())[which % len(self.model.events)]
        bench = self.gateway(number)
        stored = self.do(bench.inbox.event(expected.id))
        assert stored is not None
        event = self.do(bench.inbox.full_event(expected.id))
        assert event is not None
        self.clock.advance(milliseconds=1)
        self.do(bench.dispatcher.route([event], replay=True))
        # What was never routed cannot be replayed; it is on its way.
        expected.replays += stored.status.value != "accepted"

    # What always holds ----------------------------------------------------------------------------

    def the_books_balance(self) -> Books:
        found, proof = self.do(self.benches[0].inbox.read(lambda c: (books(c), prove(c, deep=True))))
        assert found.faults == ()
        assert proof.faults == ()
        assert proof.covered == found.received
        assert found.received == len(self.model.events) == sum(found.by_status.values())
        return found

    @invariant()
    def no_key_has_two_runs_at_once(self) -> None:
        running = [self.key_of(run) for run in self.unfinished() if self.name_of(run) == "keyed"]
        assert len(running) == len(set(running))

    @invariant()
    def no_more_runs_than_places(self) -> None:
        for name in NAMES:
            unfinished = [run for run in self.unfinished() if self.name_of(run) == name]
            # Two gateways that ask at the same time may both see the last places free.
            assert len(unfinished) <= LIMIT * len(self.benches)

    # What must have become of everything in the end -----------------------------------------------

    def come_to_rest(self) -> None:
        """Let everything happen that is going to happen."""
        self.prefect.is_away = False
        self.prefect.answer_lost = False
        self.prefect.refuses = lambda _: None
        for _ in range(500):
            self.clock.advance(seconds=17)
            self.prefect.finish_all()
            for bench in self.benches:
                for room in bench.dispatcher._rooms._rooms.values():
                    room.asked_at -= 60
                self.do(bench.work())
            waits = self.do(self.benches[0].inbox.read(gauges))
            if not (waits.unrouted or waits.pending or waits.held or waits.running):
                break
        else:
            raise AssertionError("it does not come to rest")
        self.the_books_balance()
        self.everything_is_as_the_model_says()

    def everything_is_as_the_model_says(self) -> None:
        inbox = self.benches[0].inbox
        keys = [run.idempotency_key for run in self.prefect.created]
        assert len(keys) == len(set(keys))
        started: set[str] = set()
        for expected in self.model.events.values():
            made = self.do(inbox.dispatches(expected.id))
            assert sorted(each.replay for each in made) == list(range(expected.replays + 1))
            for dispatch in made:
                self.check(expected, dispatch)
                if dispatch.status is DispatchStatus.STARTED:
                    started.add(f"hookline:{dispatch.id}")
        assert started == set(keys)
        self.keyed_runs_kept_their_order()

    def check(self, expected: Expected, dispatch: Any) -> None:
        """One dispatch of an event has ended as it may."""
        assert dispatch.trigger_id == f"flow/{expected.name}/{expected.name}"
        may = {DispatchStatus.STARTED, DispatchStatus.DEAD}
        if expected.name == "filtered" and expected.key != "a":
            may = {DispatchStatus.FILTERED}
        if expected.name == "debounced":
            may |= {DispatchStatus.MERGED}
        assert dispatch.status in may
        if dispatch.status is DispatchStatus.DEAD:
            assert "404" in dispatch.reason
        if dispatch.status is DispatchStatus.MERGED:
            leader = self.do(self.benches[0].inbox.dispatch(dispatch.merged_into))
            assert leader is not None
            assert leader.status in (DispatchStatus.STARTED, DispatchStatus.DEAD)
            assert leader.place > dispatch.place
            assert self.model.events[leader.event_id].key == expected.key
        if dispatch.status is DispatchStatus.STARTED:
            assert dispatch.finished is not None
            wait = {"delayed": DELAY, "debounced": QUIET}.get(expected.name, timedelta(0))
            if dispatch.replay == 0:
                assert dispatch.run_created - expected.at >= wait

    def keyed_runs_kept_their_order(self) -> None:
        """Within a key runs of events were created in order of arrival, and those of replays in theirs."""
        inbox = self.benches[0].inbox
        for key in KEYS:
            runs = [run for run in self.prefect.created if self.key_of(run.id) == key]
            keyed = [run for run in runs if self.name_of(run.id) == "keyed"]
            ids = [str(run.idempotency_key).removeprefix("hookline:") for run in keyed]
            made = [each for id in ids if (each := self.do(inbox.dispatch(id))) is not None]
            for is_replay in (False, True):
                places = [each.place for each in made if (each.replay > 0) is is_replay]
                assert places == sorted(places)

    # ----------------------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        return [
            run.id for run in self.prefect.created if self.prefect.run(run.id).state not in TERMINAL_STATES
        ]

    def name_of(self, run_id: str) -> str:
        return str(self.prefect.run(run_id).deployment_id).removeprefix("flow/")

    def key_of(self, run_id: str) -> str:
        leader = self.prefect.run(run_id).tags[0].removeprefix("event:")
        return self.model.events[leader].key


def empty(connection: Connection) -> None:
    """Delete all rows."""
    for table in metadata.sorted_tables:
        connection.execute(table.delete())


#: More examples find rarer orders of things; the suite has time for a few.
EXAMPLES = int(os.environ.get("HOOKLINE_TEST_EXAMPLES", "1"))


@contextlib.contextmanager
def a_machine(address: str, *, gateways: int) -> Iterator[type[Dispatching]]:
    """Give the machine of an inbox that is opened by so many gateways."""
    loop = asyncio.new_event_loop()
    stack = contextlib.AsyncExitStack()
    try:
        opened = [
            loop.run_until_complete(stack.enter_async_context(Inbox.open(address))) for _ in range(gateways)
        ]
        yield type("Machine", (Dispatching,), {"loop": loop, "inboxes": opened})
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


def run_machine(address: str, *, gateways: int, examples: int) -> None:
    """Run the machine on an inbox that is opened by so many gateways."""
    with a_machine(address, gateways=gateways) as machine:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples * EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_on_sqlite() -> None:
    """One gateway, killed and started again."""
    run_machine("sqlite://", gateways=1, examples=40)


def test_side_by_side_on_postgresql(postgres_inbox_url: str) -> None:
    """Two gateways, each killed and started again, whose leases expire."""
    run_machine(postgres_inbox_url, gateways=2, examples=15)


def test_a_gateway_that_seemed_dead_starts_nothing_that_another_has_buried(postgres_inbox_url: str) -> None:
    """Its lease ran out while Prefect was away; what became of the dispatch since is in the inbox."""
    with a_machine(postgres_inbox_url, gateways=2) as machine:
        state = machine()
        state.open()
        state.an_event_comes(number=0, name="plain", key="a")
        state.a_deployment_will_be_missing(name="plain")
        state.prefect_goes_or_comes(away=True)
        state.a_gateway_works(number=1)
        state.prefect_goes_or_comes(away=False)
        state.time_goes_on(seconds=16)
        state.a_gateway_works(number=0)
        state.come_to_rest()
        assert state.prefect.created == []
