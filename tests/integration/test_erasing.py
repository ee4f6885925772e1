"""Erasing a person's data: what they wrote is gone from the inbox, and every account is still true."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from hookline.auditing import audit
from hookline.cli.erase import erase as command
from hookline.errors import HooklineError
from hookline.inbox import Inbox
from hookline.inbox.erasing import Erasure, erase
from hookline.inbox.schema import bodies, chain_links, dispatches, events
from hookline.tracking import event_summary
from hookline.triggers import Concurrency, Trigger
from tests.support.dispatching import Bench
from tests.support.inboxes import Clock

ANNA = "anna@example.com"


@pytest.fixture
async def bench(address: str) -> AsyncIterator[Bench]:
    async with Inbox.open(address) as inbox:
        bench = Bench(inbox, Clock(), default_limit=100)
        await bench.deploy(
            Trigger(
                flow="f", deployment="d", name="t", expect=("sent",),
                concurrency=Concurrency(limit=1, key="data.who"),
            ),
            Trigger(flow="f", deployment="d", name="never", expect=("held.back",), where='data.who == "x"'),
        )  # fmt: skip
        yield bench


async def annas(bench: Bench) -> list[str]:
    """Leave events of Anna's: with a run, filtered, and ignored."""
    about = {"subject": ANNA, "headers": (("x-who", ANNA),), "remote": "203.0.113.77"}
    sent = [
        await bench.send("sent", {"who": ANNA}, source_id="a", **about),
        await bench.send("held.back", {"who": ANNA}, **about),
        await bench.send("other", {"who": ANNA}, **about),
    ]
    await bench.work()
    bench.prefect.finish_all()
    await bench.work()
    return sent


async def erased(bench: Bench, ids: list[str], **how: bool) -> Erasure:
    wanted = {"with_ids": False, "dry_run": False, **how}
    return await bench.inbox.write(lambda c: erase(c, ids, at=bench.clock(), **wanted))


async def balances(bench: Bench) -> bool:
    return (await audit(bench.inbox, bench.prefect, deep=True)).balances  # type: ignore[arg-type]


def everything(connection: Connection) -> str:
    """Return every value of the tables that an event is in."""
    rows: list[Any] = []
    for table in (events, bodies, dispatches):
        rows += [list(row) for row in connection.execute(select(table))]
    return repr(rows)


async def test_nothing_that_they_wrote_is_left_and_the_books_add_up(bench: Bench) -> None:
    """Bodies, headers, subjects, addresses, keys that were derived; who, what type and when stays."""
    sent = await annas(bench)
    other = await bench.send("other", {"who": "ben"}, subject="ben")
    await bench.work()
    found = await erased(bench, sent)

    assert found.erased == tuple(sent)
    assert found.flow_run_ids == (bench.run_of(sent[0]).id,)
    text = await bench.inbox.read(everything)
    assert ANNA not in text
    assert "203.0.113.77" not in text
    assert await bench.inbox.body(other) is not None
    stored = await bench.inbox.event(sent[0])
    assert stored is not None
    assert (stored.type, stored.status, stored.subject) == ("sent", "dispatched", None)
    assert event_summary(stored)["erased"] is not None
    assert await balances(bench)


async def test_what_was_erased_stays_so_and_is_as_it_was_left(bench: Bench) -> None:
    """The chain covers it from then on, as it covered it before."""
    sent = await annas(bench)
    await erased(bench, sent)
    for values in ({"subject": "eve"}, {"type": "x"}, {"erased_us": 1}, {"erased_us": None}):
        before = await bench.inbox.read(lambda c: c.execute(select(events)).mappings().all())
        await bench.inbox.write(
            lambda c, values=values: c.execute(update(events).where(events.c.id == sent[0]).values(**values))
        )
        found = await audit(bench.inbox, bench.prefect)  # type: ignore[arg-type]
        assert sent[0] in {row for fault in found.faults for row in fault.ids}, values
        [old] = [dict(row) for row in before if row["id"] == sent[0]]
        await bench.inbox.write(
            lambda c, old=old: c.execute(update(events).where(events.c.id == sent[0]).values(**old))
        )
    assert await balances(bench)


async def test_the_chain_does_not_tell_what_was_erased(bench: Bench) -> None:
    """Its hashes were salted, and the salts are gone: guessing right proves nothing."""
    sent = await annas(bench)
    before = await bench.inbox.read(lambda c: set(c.scalars(select(events.c.salt))))
    await erased(bench, sent)
    after = await bench.inbox.read(lambda c: set(c.scalars(select(events.c.salt))))
    links = b"".join(await bench.inbox.read(lambda c: c.scalars(select(chain_links.c.entries)).all()))

    assert not {bytes(salt) for salt in before} & {bytes(salt) for salt in after}
    assert not any(bytes(salt)[:16] in links for salt in before)
    assert await bench.inbox.read(lambda c: set(map(bytes, c.scalars(select(events.c.digest))))) == {b""}


async def test_what_is_not_finished_is_left_and_named(bench: Bench) -> None:
    """Its run is still to have the data."""
    bench.prefect.is_away = True
    pending = await bench.send("sent", {"who": ANNA})
    await bench.work()
    bench.prefect.is_away = False
    running = await bench.send("sent", {"who": "ben"})
    await bench.work()
    found = await erased(bench, [pending, running])

    assert (found.erased, set(found.unfinished)) == ((), {pending, running})
    assert await bench.inbox.body(pending) is not None


async def test_a_dry_run_erases_nothing(bench: Bench) -> None:
    """It says what would be erased."""
    sent = await annas(bench)
    found = await erased(bench, sent, dry_run=True)
    assert found.erased == tuple(sent)
    assert await bench.inbox.body(sent[0]) is not None
    assert (await erased(bench, sent)).erased == tuple(sent)
    assert (await erased(bench, sent)).erased == ()


async def test_a_redelivery_of_what_was_erased_is_still_a_duplicate(bench: Bench) -> None:
    """Or its data would come in again; with the ids erased too nothing is known of it, and it does."""
    sent = await annas(bench)
    await erased(bench, sent[:1])
    assert await bench.send("sent", {"who": ANNA}, source_id="a") == sent[0]
    stored = await bench.inbox.event(sent[0])
    assert stored is not None
    assert (stored.duplicates, stored.conflicts) == (1, 0)
    assert await balances(bench)
    again = await bench.send("sent", {"who": "ben"}, source_id="b")
    await bench.work()
    bench.prefect.finish_all()
    await bench.work()
    await erased(bench, [again], with_ids=True)
    assert await bench.send("sent", {"who": "ben"}, source_id="b") != again


async def test_the_runs_of_what_was_erased_may_be_deleted_in_prefect(bench: Bench) -> None:
    """Where the data was too; nobody takes that for a Prefect from a backup."""
    ids = []
    for number in range(5):
        ids.append(await bench.send("sent", {"who": f"{ANNA} {number}"}))
        await bench.work()
    bench.prefect.finish_all()
    await bench.work()
    for run_id in (await erased(bench, ids[1:])).flow_run_ids:
        bench.prefect.delete(run_id)
    assert await balances(bench)


async def test_the_command_erases_by_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once somebody agrees. Nothing of it is in the file then: what is deleted is written over."""
    monkeypatch.setenv("HOOKLINE_DATA", str(tmp_path))
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        bench = Bench(inbox, Clock())
        await bench.deploy(Trigger(flow="f", deployment="d", name="t", expect=("sent",)))
        sent = await bench.send("other", {"who": ANNA}, subject=ANNA)
        await bench.work()

    def run(*given: Any, **options: Any) -> dict[str, Any]:
        with contextlib.suppress(SystemExit):
            command(*given, json=True, **options)
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    assert (await asyncio.to_thread(run, subject=ANNA, dry_run=True))["erased"] == [sent]
    with pytest.raises(HooklineError, match=r"would erase 1 event and cannot be undone.*--yes agrees"):
        await asyncio.to_thread(command, subject=ANNA)
    assert (await asyncio.to_thread(run, subject=ANNA, yes=True))["erased"] == [sent]
    with contextlib.closing(sqlite3.connect(tmp_path / "inbox.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert ANNA.encode() not in (tmp_path / "inbox.db").read_bytes()
