"""The writer of an SQLite inbox: the event loop writes what is brief, and a thread waits for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookline.errors import InboxFull, InboxRefused
from hookline.inbox import Inbox, Routing, writer
from tests.support.inboxes import LEASE, Clock, Desk, draft, to_start

LOOP = threading.current_thread()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inbox.db"


@pytest.fixture
async def inbox(path: Path) -> AsyncIterator[Inbox]:
    async with Inbox.open(f"sqlite:///{path}") as inbox:
        yield inbox


def who(_: Any) -> threading.Thread:
    """Return the thread that does this work."""
    return threading.current_thread()


def _lock(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


# Who writes -----------------------------------------------------------------------------------------


async def test_what_is_brief_is_written_by_the_loop(inbox: Inbox) -> None:
    """A thread of its own would fight the loop for the interpreter; it only commits."""
    assert await inbox.write(who, is_brief=True) is LOOP


async def test_what_may_take_longer_is_the_threads(inbox: Inbox) -> None:
    """Also where something brief is in the same transaction."""
    other, brief = await asyncio.gather(inbox.write(who), inbox.write(who, is_brief=True))
    assert other is not LOOP
    assert brief is other


async def test_large_bodies_are_the_threads(inbox: Inbox) -> None:
    """The loop would stand still while they are copied."""
    large = draft(body=b'"' + b"x" * writer.BRIEF_LIMIT_BYTES + b'"')
    thread, (recorded, _) = await asyncio.gather(inbox.write(who, is_brief=True), inbox.record(large))
    assert thread is not LOOP
    body = await inbox.body(recorded.id)
    assert body is not None
    assert body.body == large.body


async def test_a_slow_disk_is_left_to_the_thread(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the loop has stood still for too long, it leaves the next transactions alone for a while."""
    monkeypatch.setattr(writer, "SLOW_SECONDS", 0.0)
    assert await inbox.write(who, is_brief=True) is LOOP
    assert await inbox.write(who, is_brief=True) is not LOOP


async def test_writes_keep_their_order_whoever_does_them(inbox: Inbox) -> None:
    order: list[int] = []

    def work(number: int) -> Any:
        return lambda _: order.append(number)

    # More than one transaction may hold, each third of them for the thread.
    await asyncio.gather(*(inbox.write(work(each), is_brief=each % 3 != 0) for each in range(1500)))
    assert order == sorted(order)
    assert len(order) == 1500


# Locks ----------------------------------------------------------------------------------------------


async def test_the_loop_goes_on_while_another_process_has_the_lock(inbox: Inbox, path: Path) -> None:
    """Health checks and answers do not wait for a backup; the event does, and is there after it."""
    other = _lock(path)
    recording = asyncio.create_task(inbox.record(draft(data=1)))
    turns = 0
    while turns < 200:  # with a loop that waits for the lock, the first one would be the last
        await asyncio.sleep(0)
        turns += 1
    assert not recording.done()
    other.execute("ROLLBACK")
    other.close()

    recorded, _ = await asyncio.wait_for(recording, 10)
    assert await inbox.event(recorded.id) is not None
    assert await inbox.write(who, is_brief=True) is LOOP


async def test_a_lock_that_is_held_too_long_is_said(
    inbox: Inbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BUSY_TIMEOUT_SECONDS", 0.1)
    with contextlib.closing(_lock(path)), pytest.raises(InboxFull, match="locked"):
        await inbox.record(draft(data=1))

    assert await inbox.totals() == {}
    assert await inbox.write(who) is not LOOP
    await inbox.record(draft(data=1))
    assert (await inbox.totals())["received"] == 1


async def test_who_waits_behind_a_lock_is_not_made_to_wait_as_long_again(
    inbox: Inbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands may wait in dozens of transactions; each has waited already when its turn comes."""
    monkeypatch.setattr(writer, "BUSY_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(writer, "LOCKED_OUT_SECONDS", 0.0)
    monkeypatch.setattr(writer, "BATCH_LIMIT", 1)
    with contextlib.closing(_lock(path)):
        started = time.monotonic()
        recording = [inbox.record(draft(data=each)) for each in range(20)]
        refused = await asyncio.gather(*recording, return_exceptions=True)
        took_seconds = time.monotonic() - started
    assert {type(each) for each in refused} == {InboxFull}
    assert took_seconds < 10  # and not 20

    for each in range(2):
        await inbox.record(draft(data=each))


# What fails -----------------------------------------------------------------------------------------


async def test_a_brief_write_that_cannot_be_done_does_not_spoil_the_others(inbox: Inbox) -> None:
    def wrong(_: Any) -> None:
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        inbox.record(draft(data=1)),
        inbox.write(wrong, is_brief=True),
        inbox.record(draft(data=2)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert (await inbox.totals())["received"] == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, asyncio.CancelledError])
async def test_nothing_stops_the_writer(inbox: Inbox, stop: type[BaseException]) -> None:
    """Ctrl-C may come in the middle of a transaction: what was in it is written all the same."""
    given: list[BaseException] = [stop()]

    def stopped(_: Any) -> str:
        if given:
            raise given.pop()
        return "done"

    loop = asyncio.get_running_loop()
    interrupted = loop.create_future()
    begin_next = inbox._writer._begin_next

    def begin() -> None:
        try:
            begin_next()
        except BaseException as raised:
            interrupted.set_result(raised)

    inbox._writer._begin_next = begin  # type: ignore[method-assign] # else the loop of the test would end
    recorded, done = await asyncio.gather(inbox.record(draft()), inbox.write(stopped, is_brief=True))

    assert isinstance(await interrupted, stop)
    assert done == "done"
    assert await inbox.event(recorded[0].id) is not None
    await inbox.record(draft(data=2))


async def test_a_commit_that_fails_answers_nobody(inbox: Inbox) -> None:
    """All was written and the commit says no: what can be kept is written again, the rest is refused."""

    def forbid(connection: Any) -> None:
        # A foreign key that is looked at when the transaction ends: the one way to have a commit refused.
        for statement in (
            "CREATE TABLE parents (id TEXT PRIMARY KEY)",
            "CREATE TABLE children (parent TEXT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TRIGGER odd AFTER INSERT ON events WHEN new.type = 'parcel.lost'"
            " BEGIN INSERT INTO children VALUES ('nobody'); END",
        ):
            connection.exec_driver_sql(statement)

    await inbox.write(forbid)
    inbox._writer._held.connection.execute("PRAGMA foreign_keys = ON")  # type: ignore[union-attr] # SQLite has one

    sent, lost, sent_too = await asyncio.gather(
        inbox.record(draft("parcel.sent")),
        inbox.record(draft("parcel.lost")),
        inbox.record(draft("parcel.sent")),
        return_exceptions=True,
    )

    assert isinstance(lost, InboxRefused)
    for kept in (sent, sent_too):
        assert not isinstance(kept, BaseException)
        assert await inbox.event(kept[0].id) is not None
    assert (await inbox.totals())["received"] == 2


async def test_closing_writes_what_waits(path: Path) -> None:
    async with Inbox.open(f"sqlite:///{path}") as inbox:
        recording = [asyncio.create_task(inbox.record(draft(data=each))) for each in range(300)]
        await asyncio.sleep(0)  # they are in the queue
    assert len({recorded.id for recorded, _ in await asyncio.gather(*recording)}) == 300
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (300,)


# Routing --------------------------------------------------------------------------------------------


async def test_a_dispatch_of_a_full_lane_is_nobodys(inbox: Inbox) -> None:
    """It waits in the inbox anyway: a lease would only have to be given back."""
    desk = Desk(inbox, Clock())
    event = await desk.record()
    version, _ = await inbox.trigger_set()
    routing = Routing(event.id, version, (to_start("a/full/x"), to_start("a/free/x")))

    routed = await inbox.route([routing], at=desk.clock(), lease=LEASE, unleased={"a/full"})

    assert routed is not None
    assert {dispatch.lane for dispatch in routed.ready} == {"a/full", "a/free"}
    assert [each.lane for each in await desk.claim("a/full")] == ["a/full"]
    assert await desk.claim("a/free") == []


async def test_an_event_that_is_twice_in_a_batch_is_routed_once(inbox: Inbox) -> None:
    """Recovery may find what was offered too; the first plan counts."""
    desk = Desk(inbox, Clock())
    event = await desk.record()
    version, _ = await inbox.trigger_set()
    twice = [Routing(event.id, version, (to_start(),)), Routing(event.id, version, ())]

    routed = await inbox.route(twice, at=desk.clock(), lease=LEASE)

    assert routed is not None
    assert [each.status.value for each in routed.dispatches] == ["pending"]
    stored = await inbox.event(event.id)
    assert stored is not None
    assert stored.status.value == "pending"
