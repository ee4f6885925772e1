"""Whatever is done to the inbox's tables behind its back, the audit names: on both databases."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from hookline.auditing import Audit, audit
from hookline.errors import AnchorUnusable
from hookline.event import now
from hookline.inbox import Inbox, chain
from hookline.inbox.anchoring import take_anchor
from hookline.inbox.recording import body_digest
from hookline.inbox.records import id_at
from hookline.inbox.schema import bodies, chain_anchors, chain_links, counters, dispatches, events
from hookline.retention import Limits, retain
from hookline.triggers import Trigger
from tests.support.dispatching import Bench
from tests.support.inboxes import Clock

MONTH = timedelta(days=30)


@pytest.fixture
async def bench(address: str) -> AsyncIterator[Bench]:
    async with Inbox.open(address) as inbox:
        bench = Bench(inbox, Clock(), default_limit=100)
        await bench.deploy(
            Trigger(flow="f", deployment="d", name="t", expect=("sent",)),
            Trigger(flow="f", deployment="d", name="never", expect=("held.back",), where="data.n > 5"),
        )
        yield bench


async def audited(bench: Bench, **how: Any) -> Audit:
    return await audit(bench.inbox, bench.prefect, **how)  # type: ignore[arg-type]


async def a_day(bench: Bench) -> dict[str, str]:
    """Leave an event of each kind, every run finished, and one duplicate."""
    made = {
        "started": await bench.send("sent", {"n": 1}, source_id="a", subject="anna@example.com"),
        "filtered": await bench.send("held.back", {"n": 2}),
        "ignored": await bench.send("other", {"n": 3}),
    }
    await bench.send("sent", {"n": 1}, source_id="a")
    await bench.work()
    bench.prefect.finish_all()
    await bench.work()
    bench.prefect.pool_of.clear()
    bench.restart()
    made["dead"] = await bench.send("sent", {"n": 4})
    await bench.work()
    bench.prefect.pool_of["f/d"] = None
    bench.prefect.is_away = True
    bench.restart()
    made["pending"] = await bench.send("sent", {"n": 5})
    await bench.work()
    bench.prefect.is_away = False
    return made


Tamper = Callable[[Connection, dict[str, str]], None]


def count(connection: Connection, name: str, by: int) -> None:
    connection.execute(update(counters).where(counters.c.name == name).values(value=counters.c.value + by))


def take_out(connection: Connection, event_id: str) -> None:
    connection.execute(delete(dispatches).where(dispatches.c.event_id == event_id))
    connection.execute(delete(bodies).where(bodies.c.event_id == event_id))
    connection.execute(delete(events).where(events.c.id == event_id))


def started_dispatch_deleted(c: Connection, made: dict[str, str]) -> None:
    c.execute(delete(dispatches).where(dispatches.c.event_id == made["started"]))
    c.execute(update(events).where(events.c.id == made["started"]).values(status="ignored"))


def pending_dispatch_deleted(c: Connection, made: dict[str, str]) -> None:
    c.execute(delete(dispatches).where(dispatches.c.event_id == made["pending"]))
    c.execute(update(events).where(events.c.id == made["pending"]).values(status="ignored"))


def filtered_dispatch_deleted(c: Connection, made: dict[str, str]) -> None:
    c.execute(delete(dispatches).where(dispatches.c.event_id == made["filtered"]))


def dead_dispatch_deleted(c: Connection, made: dict[str, str]) -> None:
    c.execute(delete(dispatches).where(dispatches.c.event_id == made["dead"]))
    c.execute(update(events).where(events.c.id == made["dead"]).values(status="ignored"))


def event_deleted_and_counter_lowered(c: Connection, made: dict[str, str]) -> None:
    take_out(c, made["ignored"])
    count(c, "received", -1)


def event_deleted_as_if_by_retention(c: Connection, made: dict[str, str]) -> None:
    take_out(c, made["ignored"])
    c.execute(insert(counters), {"name": "pruned.ignored", "shard": 0, "value": 1})


def body_deleted(c: Connection, made: dict[str, str]) -> None:
    c.execute(delete(bodies).where(bodies.c.event_id == made["started"]))


def body_altered(c: Connection, made: dict[str, str]) -> None:
    c.execute(update(bodies).where(bodies.c.event_id == made["started"]).values(body=b'{"n":2}'))


def body_and_digest_altered(c: Connection, made: dict[str, str]) -> None:
    body_altered(c, made)
    digest = body_digest(b'{"n":2}')
    c.execute(update(events).where(events.c.id == made["started"]).values(digest=digest))


def headers_altered(c: Connection, made: dict[str, str]) -> None:
    c.execute(update(bodies).where(bodies.c.event_id == made["started"]).values(headers='[["a","b"]]'))


def altered(**values: object) -> Tamper:
    def tamper(c: Connection, made: dict[str, str]) -> None:
        c.execute(update(events).where(events.c.id == made["started"]).values(**values))

    tamper.__name__ = "event_" + "_".join(values)
    return tamper


def altered_dispatch(of: str, **values: object) -> Tamper:
    def tamper(c: Connection, made: dict[str, str]) -> None:
        c.execute(update(dispatches).where(dispatches.c.event_id == made[of]).values(**values))

    tamper.__name__ = f"{of}_dispatch_" + "_".join(values)
    return tamper


def filtered_made_dead_with_its_event(c: Connection, made: dict[str, str]) -> None:
    c.execute(
        update(dispatches).where(dispatches.c.event_id == made["filtered"]).values(status="dead", reason="x")
    )
    c.execute(update(events).where(events.c.id == made["filtered"]).values(status="dead"))


def dead_letter_taken_for_filtered(c: Connection, made: dict[str, str]) -> None:
    c.execute(
        update(dispatches).where(dispatches.c.event_id == made["dead"]).values(status="filtered", reason="x")
    )
    c.execute(update(events).where(events.c.id == made["dead"]).values(status="ignored"))


def routed_again(c: Connection, made: dict[str, str]) -> None:
    c.execute(
        update(events)
        .where(events.c.id == made["ignored"])
        .values(status="accepted", routed_us=None, trigger_set=None)
    )


def event_copied(c: Connection, made: dict[str, str]) -> None:
    row = dict(c.execute(select(events).where(events.c.id == made["ignored"])).mappings().one())
    c.execute(insert(events), row | {"id": id_at(row["accepted_us"] + 7), "dedup_key": None})
    body = dict(c.execute(select(bodies).where(bodies.c.event_id == made["ignored"])).mappings().one())
    c.execute(insert(bodies), body | {"event_id": id_at(row["accepted_us"] + 8)})
    count(c, "received", 1)


def event_inserted_as_an_older_version_would(c: Connection, made: dict[str, str]) -> None:
    row = dict(c.execute(select(events).where(events.c.id == made["ignored"])).mappings().one())
    now_us = time.time_ns() // 1000
    c.execute(
        insert(events),
        row | {"id": id_at(now_us), "dedup_key": None, "salt": None, "accepted_us": now_us},
    )
    count(c, "received", 1)


def dispatch_inserted(c: Connection, made: dict[str, str]) -> None:
    row = dict(
        c.execute(select(dispatches).where(dispatches.c.event_id == made["filtered"])).mappings().one()
    )
    c.execute(insert(dispatches), row | {"id": id_at(row["created_us"] + 9), "trigger_id": "f/d/t"})


def counters_altered_together(c: Connection, made: dict[str, str]) -> None:
    count(c, "received", 1)
    c.execute(insert(counters), {"name": "pruned.ignored", "shard": 0, "value": 1})


def duplicates_altered_together(c: Connection, made: dict[str, str]) -> None:
    c.execute(update(events).where(events.c.id == made["started"]).values(duplicates=0))
    count(c, "duplicates", -1)


def salt_taken_away(c: Connection, made: dict[str, str]) -> None:
    c.execute(update(events).where(events.c.id == made["started"]).values(salt=None))


def last_link_deleted(c: Connection, made: dict[str, str]) -> None:
    last = c.execute(select(chain_links).order_by(chain_links.c.at_us.desc()).limit(1)).one()
    c.execute(delete(chain_links).where(chain_links.c.chain == last.chain, chain_links.c.seq == last.seq))


def middle_link_deleted(c: Connection, made: dict[str, str]) -> None:
    c.execute(delete(chain_links).where(chain_links.c.seq == 2))


def link_rewritten(c: Connection, made: dict[str, str]) -> None:
    c.execute(update(chain_links).where(chain_links.c.seq == 1).values(entries=b"e" + bytes(32)))


def entries_of_a_link_dropped(c: Connection, made: dict[str, str]) -> None:
    c.execute(update(chain_links).where(chain_links.c.seq == 1).values(entries=None))


def sums_altered(c: Connection, made: dict[str, str]) -> None:
    c.execute(update(chain_links).values(received=chain_links.c.received - 1))
    count(c, "received", -1)


#: What is done, whether only `deep` sees it, and whose row is named.
TAMPERINGS: list[tuple[Tamper, bool, str | None]] = [
    (started_dispatch_deleted, False, None),
    (pending_dispatch_deleted, False, None),
    (filtered_dispatch_deleted, False, None),
    (dead_dispatch_deleted, False, None),
    (event_deleted_and_counter_lowered, False, "ignored"),
    (event_deleted_as_if_by_retention, False, "ignored"),
    (body_deleted, False, "started"),
    (body_altered, True, "started"),
    (body_and_digest_altered, False, "started"),
    (headers_altered, True, "started"),
    (altered(type="received"), False, "started"),
    (altered(subject="eve@example.com"), False, "started"),
    (altered(subject=None), False, "started"),
    (altered(time_us=1), False, "started"),
    (altered(accepted_us=1), False, "started"),
    (altered(source="bank"), False, "started"),
    (altered(door="events/other"), False, "started"),
    (altered(verdict="verified"), False, "started"),
    (altered(remote="10.0.0.1"), False, "started"),
    (altered(cause_flow_run="none"), False, "started"),
    (altered(routed_us=5), False, "started"),
    (altered(trigger_set=7), False, "started"),
    (altered(conflicts=1), False, "started"),
    (altered(erased_us=1, subject=None, digest=b""), False, "started"),
    (altered_dispatch("started", flow_run_id="00000000-0000-0000-0000-000000000000"), False, None),
    (altered_dispatch("started", trigger_id="f/d/other"), False, None),
    (altered_dispatch("started", replay=3), False, None),
    (altered_dispatch("filtered", reason="nobody wanted it"), False, None),
    (altered_dispatch("dead", reason="the sender's fault"), False, None),
    (altered_dispatch("dead", response="200 OK"), False, None),
    (altered_dispatch("dead", replaced_by="00000000-0000-0000-0000-000000000000"), False, None),
    (altered_dispatch("pending", trigger_id="f/d/other"), False, None),
    (altered_dispatch("pending", status="merged"), False, None),
    (filtered_made_dead_with_its_event, False, None),
    (dead_letter_taken_for_filtered, False, None),
    (routed_again, False, "ignored"),
    (event_copied, False, None),
    (event_inserted_as_an_older_version_would, False, None),
    (dispatch_inserted, False, None),
    (counters_altered_together, False, None),
    (duplicates_altered_together, False, "started"),
    (salt_taken_away, False, "started"),
    (last_link_deleted, False, None),
    (middle_link_deleted, False, None),
    (link_rewritten, False, None),
    (entries_of_a_link_dropped, False, None),
    (sums_altered, False, None),
]


async def test_every_tampering_is_named(bench: Bench) -> None:
    """Each on the same untouched inbox, undone after it; the row is named where it is one row's."""
    made = await a_day(bench)
    before = await audited(bench, deep=True)
    assert before.balances, before
    unnoticed = []
    for tamper, only_deep, whose in TAMPERINGS:
        found = await _under(bench, tamper, made)
        named = {row for fault in found.faults for row in fault.ids}
        rules = {fault.rule for fault in found.faults}
        if not rules or (whose is not None and made[whose] not in named):
            unnoticed.append((tamper.__name__, found.faults))
        assert only_deep is (rules == {"a body is as it was received"}), (tamper.__name__, rules)
    assert unnoticed == []
    assert (await audited(bench, deep=True)).balances


async def _under(bench: Bench, tamper: Tamper, made: dict[str, str]) -> Audit:
    """Return what an audit finds after a tampering, and undo that."""
    before: dict[str, list[dict[str, object]]] = {}
    tables = (events, bodies, dispatches, counters, chain_links)

    def do(connection: Connection) -> None:
        for table in tables:
            before[table.name] = [dict(row) for row in connection.execute(select(table)).mappings()]
        tamper(connection, made)

    def undo(connection: Connection) -> None:
        for table in tables:
            connection.execute(delete(table))
            if before[table.name]:
                connection.execute(insert(table), before[table.name])

    await bench.inbox.write(do)
    try:
        return await audited(bench, deep=True)
    finally:
        await bench.inbox.write(undo)


async def test_an_old_copy_of_a_table_is_noticed(bench: Bench) -> None:
    """One table from a backup, the others as they are."""
    await bench.send("sent", {"n": 1})
    await bench.work()
    bench.prefect.finish_all()
    await bench.work()

    def read(connection: Connection) -> dict[str, list[dict[str, object]]]:
        tables = (events, bodies, dispatches)
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables
        }

    old = await bench.inbox.read(read)
    bench.clock.advance(days=31)
    await bench.send("sent", {"n": 2})
    await bench.work()
    await retain(bench.inbox, Limits(MONTH, MONTH, MONTH), clock=bench.clock, pause_seconds=0)
    assert (await audited(bench)).balances
    for table in (events, bodies, dispatches):

        def put_back(c: Connection, made: dict[str, str], table: object = table) -> None:
            c.execute(delete(table))  # type: ignore[arg-type]
            c.execute(insert(table), old[table.name])  # type: ignore[arg-type, attr-defined]

        put_back.__name__ = table.name
        assert not (await _under(bench, put_back, {})).balances, table.name


# Anchors ----------------------------------------------------------------------------------------------


async def anchored(bench: Bench) -> str:
    identity = await bench.inbox.identity()
    return str(await bench.inbox.write(lambda connection: take_anchor(connection, identity)))


def recomputed(connection: Connection) -> None:
    """Write the whole chain anew, as somebody who knows how and may write."""
    links = connection.execute(select(chain_links).order_by(chain_links.c.chain, chain_links.c.seq)).all()
    last: dict[int, bytes] = {}
    sums: dict[int, tuple[int, int, int]] = {}
    for link in links:
        entries = bytes(link.entries)[: -chain.ENTRY_BYTES] if link.seq == 1 else bytes(link.entries)
        digest = hashlib.sha256(entries).digest()
        before, now = sums.get(link.chain, (0, 0, 0)), (link.received, link.duplicates, link.pruned)
        grown = [after - earlier for after, earlier in zip(now, before, strict=True)]
        content = chain.link_content(link.at_us, *grown, digest)
        last[link.chain] = chain.link_hash(last.get(link.chain, chain.FIRST), content)
        sums[link.chain] = now
        connection.execute(
            update(chain_links)
            .where(chain_links.c.chain == link.chain, chain_links.c.seq == link.seq)
            .values(entries=entries, digest=digest, hash=last[link.chain])
        )


def links_that_follow(found: Audit) -> bool:
    return not any("link of the chain" in fault.rule for fault in found.faults)


async def test_an_anchor_proves_that_nothing_before_it_changed(bench: Bench) -> None:
    """While the inbox goes on; and it says how much was there, and what retention took since."""
    await a_day(bench)
    anchor = await anchored(bench)
    await bench.send("sent", {"n": 9})
    await bench.work()
    found = await audited(bench, since=anchor)

    assert found.balances, found
    assert found.since is not None
    assert (found.since.accepted, found.since.pruned, found.since.erased) == (5, 0, 0)


async def test_only_an_anchor_notices_a_chain_that_was_recomputed(bench: Bench) -> None:
    """Who can write to the database can make a chain that follows from itself: not one with the same end."""
    await a_day(bench)
    anchor = await anchored(bench)
    await bench.inbox.write(recomputed)
    found = await audited(bench, since=anchor)

    assert links_that_follow(found)
    assert "what an anchor was taken of is as it was" in {fault.rule for fault in found.faults}


async def test_only_an_anchor_notices_that_the_end_was_cut_off(bench: Bench) -> None:
    """With all that it covered, as an older backup does."""
    await a_day(bench)
    await bench.work()
    before = await bench.inbox.read(lambda c: c.execute(select(chain_links.c.chain, chain_links.c.seq)).all())
    last = await bench.send("other", {"n": 9})
    await bench.work()
    anchor = await anchored(bench)

    def cut_off(connection: Connection) -> None:
        take_out(connection, last)
        count(connection, "received", -1)
        for link in connection.execute(select(chain_links)).all():
            if (link.chain, link.seq) not in {tuple(each) for each in before}:
                connection.execute(
                    delete(chain_links).where(
                        chain_links.c.chain == link.chain, chain_links.c.seq == link.seq
                    )
                )

    await bench.inbox.write(cut_off)
    assert (await audited(bench)).balances
    assert not (await audited(bench, since=anchor)).balances


async def test_an_anchor_that_the_inbox_does_not_know_says_so(bench: Bench) -> None:
    """It was restored from a backup that is older, or somebody took the record out or altered it."""
    await a_day(bench)
    anchor = await anchored(bench)
    number = int(anchor.split("-")[1])
    mine = chain_anchors.c.number == number
    await bench.inbox.write(lambda c: c.execute(update(chain_anchors).where(mine).values(document="[]")))
    altered = await audited(bench, since=anchor)
    await bench.inbox.write(lambda c: c.execute(delete(chain_anchors).where(mine)))
    unknown = await audited(bench, since=anchor)

    assert [fault.ids for fault in altered.faults] == [(f"the record of anchor {number}",)]
    assert "restored from a backup" in unknown.faults[0].rule


@pytest.mark.parametrize("wrong", ["", "x", "1f0c5a9be240-0-9f86d081884c7d659a2feaa0c55ad015", "1-2-3"])
async def test_what_is_no_anchor_is_a_clear_error(bench: Bench, wrong: str) -> None:
    """So is one of another inbox, which the message names."""
    with pytest.raises(AnchorUnusable, match="no anchor"):
        await audited(bench, since=wrong)
    other = "1f0c5a9be240-3-9f86d081884c7d659a2feaa0c55ad015"
    with pytest.raises(AnchorUnusable, match="another inbox"):
        await audited(bench, since=other)


# Retention --------------------------------------------------------------------------------------------


async def test_the_chain_forgets_what_retention_took(bench: Bench) -> None:
    """It does not grow for ever, and anchors of what is gone still say how much that was."""
    bench.clock.moment = now() + timedelta(minutes=5)  # links have the system's time
    for _ in range(5):
        await bench.send("sent", {"n": 1})
        await bench.work()
    bench.prefect.finish_all()
    await bench.work()
    anchor = await anchored(bench)
    bench.clock.advance(days=31)
    stays = await bench.send("sent", {"n": 2})
    await bench.work()
    before = (await audited(bench)).proof.links
    for _ in range(2):
        await retain(bench.inbox, Limits(MONTH, MONTH, MONTH), clock=bench.clock, pause_seconds=0)
    found = await audited(bench, since=anchor)

    assert found.balances, found
    assert found.proof.covered == 1
    assert found.proof.links < before
    assert found.since is not None
    assert (found.since.accepted, found.since.pruned) == (5, 5)
    entries = await bench.inbox.read(
        lambda c: c.scalars(select(chain_links.c.entries).where(chain_links.c.entries.is_not(None))).all()
    )
    assert all(chain.key(stays) in bytes(each) or bytes(each)[:1] in b"bsop" for each in entries)

    def forget_more(c: Connection, made: dict[str, str]) -> None:
        take_out(c, stays)
        count(c, "pruned.dispatched", 1)

    assert not (await _under(bench, forget_more, {})).balances


async def test_an_old_event_that_stays_keeps_its_part_of_the_chain(bench: Bench) -> None:
    """What came with it may go; what shows that it was unchanged may not."""
    bench.clock.moment = now() + timedelta(minutes=5)  # links have the system's time
    bench.prefect.is_away = True
    stays = await bench.send("sent", {"n": 1})
    await bench.work()
    for _ in range(3):
        await bench.send("other")
        await bench.work()
    bench.clock.advance(days=31)
    await retain(bench.inbox, Limits(MONTH, MONTH, MONTH), clock=bench.clock, pause_seconds=0)
    bench.prefect.is_away = False
    found = await audited(bench)
    assert found.balances, found
    assert found.books.pruned == {"ignored": 3}

    def alter(c: Connection, made: dict[str, str]) -> None:
        c.execute(update(events).where(events.c.id == stays).values(subject="eve"))

    altered = await _under(bench, alter, {})
    assert [fault.ids for fault in altered.faults] == [(stays,)]
