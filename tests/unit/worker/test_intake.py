"""What the worker starts, and when: the intake against a yard that is made up, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from hookline.worker.intake import Intake

QUEUE = uuid4()
SOON_SECONDS = 5


class MadeUpYard:
    """A pool in memory: runs that wait, in their order, and what the worker has of them."""

    def __init__(self, room: int = 10) -> None:
        self.waiting: dict[UUID, FlowRun] = {}
        self.in_hand: set[UUID] = set()
        self.started: list[UUID] = []
        self.room = room
        self.unread = 0
        self.is_limited = False
        self.queues = 1
        self.polls = 0
        self.stirred = asyncio.Event()

    def add(self, ahead_seconds: float = -1) -> FlowRun:
        due = datetime.now(UTC) + timedelta(seconds=ahead_seconds)
        run = FlowRun(
            id=uuid4(), flow_id=uuid4(), state_type=StateType.SCHEDULED, work_queue_id=QUEUE,
            next_scheduled_start_time=due,
        )  # fmt: skip
        self.waiting[run.id] = run
        return run

    def finish(self, run: FlowRun) -> None:
        self.in_hand.discard(run.id)

    async def await_started(self, *runs: FlowRun) -> None:
        async with asyncio.timeout(SOON_SECONDS):
            while not {run.id for run in runs} <= set(self.started):
                self.stirred.clear()
                await self.stirred.wait()

    def free(self) -> int:
        return self.room - len(self.in_hand)

    def has(self, run_id: UUID) -> bool:
        return run_id in self.in_hand

    def take(self, flow_run: FlowRun, seen: float) -> None:
        del self.waiting[flow_run.id]
        self.in_hand.add(flow_run.id)
        self.started.append(flow_run.id)
        self.stirred.set()

    async def read(self, run_id: UUID) -> FlowRun:
        if self.unread > 0 or run_id not in self.waiting:
            self.unread -= 1
            self.stirred.set()
            raise ObjectNotFound(Exception())
        return self.waiting[run_id]

    async def ask(self, before: datetime, limit: int) -> Sequence[FlowRun]:
        self.polls += 1
        return list(self.waiting.values())[:limit]

    async def is_open(self, queue_id: UUID) -> bool:
        return queue_id == QUEUE and not self.is_limited

    async def is_plain(self) -> bool:
        return self.queues == 1


@pytest.fixture
async def yard() -> MadeUpYard:
    return MadeUpYard()


@pytest.fixture
async def intake(yard: MadeUpYard) -> AsyncIterator[Intake]:
    intake = Intake(yard, timedelta(seconds=60))
    serving = asyncio.get_running_loop().create_task(intake.serve())
    yield intake
    intake.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_run_of_which_there_is_notice_starts_without_a_poll(intake: Intake, yard: MadeUpYard) -> None:
    run = yard.add()
    intake.notice(run.id, QUEUE)
    await yard.await_started(run)
    assert yard.polls == 0


async def test_a_run_whose_notice_came_before_its_commit_is_looked_for_again(
    intake: Intake, yard: MadeUpYard
) -> None:
    run = yard.add()
    yard.unread = 3
    intake.notice(run.id, QUEUE)
    await yard.await_started(run)


async def test_where_there_are_limits_the_pool_is_asked(intake: Intake, yard: MadeUpYard) -> None:
    yard.is_limited = True
    run = yard.add()
    intake.notice(run.id, QUEUE)
    await yard.await_started(run)
    assert yard.polls == 1


async def test_what_a_limit_held_back_starts_when_a_run_ends(intake: Intake, yard: MadeUpYard) -> None:
    yard.is_limited = True
    first, second = yard.add(), yard.add()
    held = yard.waiting.pop(second.id)  # the server does not give it, for the limit's sake
    intake.notice(first.id, QUEUE)
    intake.notice(second.id, QUEUE)
    await yard.await_started(first)
    yard.waiting[held.id] = held
    yard.finish(first)
    intake.freed()
    await yard.await_started(second)


async def test_without_room_runs_wait_and_start_in_their_order(intake: Intake, yard: MadeUpYard) -> None:
    yard.room = 1
    runs = [yard.add() for _ in range(5)]
    for run in runs:
        intake.notice(run.id, QUEUE)
    for run in runs:
        await yard.await_started(run)
        yard.finish(run)
        intake.freed()
    assert yard.started == [run.id for run in runs]


async def test_with_several_queues_the_pool_says_who_is_next(intake: Intake, yard: MadeUpYard) -> None:
    yard.room, yard.queues = 1, 2
    first, later, urgent = yard.add(), yard.add(), yard.add()
    for run in (first, later, urgent):
        intake.notice(run.id, QUEUE)
    await yard.await_started(first)
    yard.waiting = {urgent.id: urgent, later.id: later}  # the order of the server
    yard.finish(first)
    intake.freed()
    await yard.await_started(urgent)
    assert later.id in yard.waiting


async def test_a_poll_starts_what_is_due_and_the_rest_at_its_time(intake: Intake, yard: MadeUpYard) -> None:
    due, soon = yard.add(), yard.add(ahead_seconds=0.3)
    before = time.time()
    assert [run.id for run in await intake.look()] == [due.id]
    await yard.await_started(soon)
    assert soon.next_scheduled_start_time is not None
    assert time.time() >= soon.next_scheduled_start_time.timestamp() > before


async def test_an_answer_that_is_older_than_a_claim_starts_nothing_again(
    intake: Intake, yard: MadeUpYard
) -> None:
    """The poll was asked before the run was claimed, and answers after it has ended."""
    run = yard.add()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def ask(before: datetime, limit: int) -> Sequence[FlowRun]:
        asked.set()
        await answer.wait()
        return [run]

    yard.ask = ask  # type: ignore[method-assign]
    polling = asyncio.get_running_loop().create_task(intake.look())
    await asked.wait()
    intake.notice(run.id, QUEUE)
    await yard.await_started(run)
    yard.finish(run)
    answer.set()
    assert await polling == []
    assert yard.started == [run.id]
