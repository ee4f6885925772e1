"""An inbox of 1,000,000 events beside one of 10,000: accepting, searching and auditing, cold and warm."""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, event

from hookline.event import BodyFormat, Draft
from hookline.inbox import EventStatus, Inbox, Search
from hookline.inbox.books import books
from hookline.inbox.engine import inbox_url, migrate, open_engine
from hookline.inbox.searching import search_events

BODY_BYTES = 1024
DISPATCHES = 3
TYPES = 50
#: One event in so many has a dispatch that gave up.
DEAD_ONE_IN = 100
#: The first event's time, in milliseconds; the others follow one a tenth of a second.
BEGIN_MS = 1_767_225_600_000
STEP_MS = 100
COLD_TIMES, WARM_TIMES = 7, 25
#: Senders at once, and how many events they send after the memory was emptied, and then.
ACCEPTED_AT_ONCE, ACCEPTED_COLD, ACCEPTED_WARM = 32, 256, 1024

#: Rows are made inside SQLite, in the order of their keys; indexes are made afterwards.
LOAD = f"""
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :events),
     m(i, ms) AS (SELECT i, {BEGIN_MS} + i * {STEP_MS} FROM n)
INSERT INTO events (id, door, source, source_id, dedup_key, type, subject, time_us, accepted_us, status,
                    routed_us, trigger_set, digest, size)
SELECT printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, i), 'events', 'bench',
       'delivery-' || i, 'id:delivery-' || i, printf('bench.type%02d', i % {TYPES}),
       printf('acme/shop-%d', i % 199), ms * 1000, ms * 1000,
       CASE WHEN i % {DEAD_ONE_IN} = 0 THEN 'dead' ELSE 'dispatched' END,
       ms * 1000, 1, randomblob(16), {BODY_BYTES}
FROM m;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :events),
     m(i, ms) AS (SELECT i, {BEGIN_MS} + i * {STEP_MS} FROM n)
INSERT INTO bodies (event_id, body, body_format, content_type, headers)
SELECT printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, i),
       CAST(printf('{{"number": %12d, "text": "%s"}}', i, :text) AS BLOB), 'json', 'application/json', '[]'
FROM m;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :events * {DISPATCHES}),
     m(i, e, ms) AS (SELECT i, i / {DISPATCHES}, {BEGIN_MS} + i / {DISPATCHES} * {STEP_MS} FROM n)
INSERT INTO dispatches (id, event_id, trigger_id, replay, trigger_set, lane, place, status, reason,
                        created_us, run_created_us, run_started_us, finished_us, flow_run_id, flow_run_name,
                        deployment_id, state, state_as_of_us, seen, attempts)
SELECT printf('%08x-%04x-7001-8000-%012x', ms >> 16, ms & 65535, i),
       printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, e),
       printf('flow/deployment/trigger%d', i % {DISPATCHES}), 0, 1, 'flow/deployment',
       printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, e),
       CASE WHEN dead THEN 'dead' ELSE 'started' END, CASE WHEN dead THEN 'no such deployment' END, ms * 1000,
       CASE WHEN dead THEN NULL ELSE ms * 1000 + 50000 END,
       CASE WHEN dead THEN NULL ELSE ms * 1000 + 300000 END,
       ms * 1000 + 900000, CASE WHEN dead THEN NULL ELSE run END,
       CASE WHEN dead THEN NULL ELSE 'bench-run' END,
       CASE WHEN dead THEN NULL ELSE '00000000-0000-4000-8000-000000000001' END,
       CASE WHEN dead THEN NULL ELSE 'COMPLETED' END, CASE WHEN dead THEN NULL ELSE ms * 1000 + 900000 END,
       NOT dead, 1
FROM (SELECT i, e, ms, e % {DEAD_ONE_IN} = 0 AND i % {DISPATCHES} = 0 AS dead,
             lower(printf('%s-%s-4%03x-8000-%012x', hex(randomblob(4)), hex(randomblob(2)),
                          i % 4096, i)) AS run
      FROM m);
INSERT INTO counters (name, shard, value) VALUES ('received', 0, :events);
"""  # noqa: S608 (numbers of this file)


@dataclass
class Cost:
    """What one operation takes in milliseconds, in an inbox of one size.

    Parameters
    ----------
    plan: the lines of SQLite's query plan.
    """

    cold: float = 0.0
    warm: float = 0.0
    plan: list[str] = field(default_factory=list)


class Bench:
    """One inbox and what is asked of it.

    Parameters
    ----------
    path: of the database.
    events: how many it has.
    """

    def __init__(self, path: Path, events: int) -> None:
        self.path = path
        self.events = events
        self.url = inbox_url(f"sqlite:///{path}")

    def load(self) -> float:
        """Fill it; return how many seconds that took."""
        began = time.monotonic()
        engine = open_engine(self.url, writing=True)
        migrate(engine)
        engine.dispose()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute("PRAGMA temp_store = MEMORY")
            database.execute("PRAGMA cache_size = -400000")
            tables = ("events", "bodies", "dispatches")
            indexes = database.execute(
                "SELECT name, sql FROM sqlite_master"
                " WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN (?, ?, ?)",
                tables,
            ).fetchall()
            for name, _ in indexes:
                database.execute(f"DROP INDEX {name}")
            database.execute("BEGIN")
            for statement in LOAD.strip().split(";\n"):
                names = {"events": self.events, "text": "x" * (BODY_BYTES - 37)}
                database.execute(statement, {n: v for n, v in names.items() if f":{n}" in statement})
            database.execute("COMMIT")
            for _, sql in indexes:
                database.execute(sql)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        handle = os.open(self.path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        return time.monotonic() - began

    def moment(self, share: float) -> datetime:
        """Return the time at which a share of the events had come."""
        return datetime.fromtimestamp((BEGIN_MS + self.events * share * STEP_MS) / 1000, UTC)

    def forget(self) -> None:
        """Let the operating system forget what it holds of the files in memory."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)

    def read(self, work: Callable[[Connection], object], cold_times: int, warm_times: int) -> Cost:
        """Measure something that is read, and have its plans."""
        cold = []
        for _ in range(cold_times):
            self.forget()
            with self._connected() as connection:
                cold.append(_milliseconds(lambda: work(connection)))
        with self._connected() as connection:
            statements: list[tuple[str, object]] = []
            event.listen(connection, "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
            work(connection)
            asked = list(statements)
            warm = [_milliseconds(lambda: work(connection)) for _ in range(warm_times)]
            plan = [line for sql, values in asked for line in _plan(connection, sql, values)]
        return Cost(statistics.median(cold), statistics.median(warm), list(dict.fromkeys(plan)))

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = open_engine(self.url, writing=False)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def accept(self) -> Cost:
        """Measure accepting, a burst at a time, for each event of the burst."""
        return asyncio.run(self._accept())

    async def _accept(self) -> Cost:
        cold, warm = [], []
        for turn in range(COLD_TIMES):
            self.forget()
            async with Inbox.open(f"sqlite:///{self.path}") as inbox:
                cold.append(await _burst(inbox, f"cold-{turn}", ACCEPTED_COLD))
                warm.append(await _burst(inbox, f"warm-{turn}", ACCEPTED_WARM))
        return Cost(statistics.median(cold), statistics.median(warm))


async def _burst(inbox: Inbox, name: str, events: int) -> float:
    """Return the milliseconds that one event took of a burst."""
    body = b'{"text": "' + b"x" * (BODY_BYTES - 12) + b'"}'
    waiting = iter(range(events))

    async def one_after_another() -> None:
        for number in waiting:
            draft = Draft(
                type=f"bench.type{number % TYPES:02d}", source="bench", door="events", body=body,
                body_format=BodyFormat.JSON, content_type="application/json", source_id=f"{name}-{number}",
                subject=f"acme/shop-{number}",
            )  # fmt: skip
            await inbox.record(draft)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(ACCEPTED_AT_ONCE)))
    return (time.perf_counter() - began) * 1000 / events


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _plan(connection: Connection, sql: str, values: object) -> list[str]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)  # type: ignore[arg-type]
    return [row[3] for row in rows]


Measure = Callable[[Bench], Cost]


def measures() -> dict[str, Measure]:
    """Return what is measured, by name; the audit's cost is that of 1,000 events."""

    def search(make: Callable[[Bench], Search]) -> Measure:
        return lambda bench: bench.read(lambda c: search_events(c, make(bench)), COLD_TIMES, WARM_TIMES)

    def audit(bench: Bench) -> Cost:
        whole, thousands = bench.read(_audit, 2, 2), bench.events / 1000
        return Cost(whole.cold / thousands, whole.warm / thousands, whole.plan)

    def later(bench: Bench) -> datetime:
        return bench.moment(0.5) + timedelta(seconds=500)

    return {
        "search type": search(lambda b: Search(type="bench.type07")),
        "search type and time": search(
            lambda b: Search(type="bench.type07", since=b.moment(0.5), until=later(b))
        ),
        "search prefix and time": search(
            lambda b: Search(type="bench.type0*", since=b.moment(0.5), until=later(b))
        ),
        "search time": search(lambda b: Search(since=b.moment(0.5), until=later(b))),
        "search status and time": search(lambda b: Search(status=EventStatus.DEAD, until=b.moment(0.5))),
        "search subject": search(lambda b: Search(subject="acme/shop-7")),
        "audit, 1,000 events": audit,
        "accept, each of a burst": Bench.accept,
    }


def _audit(connection: Connection) -> None:
    kept = books(connection)
    assert not kept.faults, kept.faults


def main() -> None:
    """Measure both sizes and print them side by side, then the plans."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--beside", type=int, default=10_000)
    given = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
    with tempfile.TemporaryDirectory(prefix="million-", dir=".") as folder:
        small, large = (
            Bench(Path(folder).absolute() / f"inbox-{events}.db", events)
            for events in (given.beside, given.events)
        )
        for bench in (small, large):
            took = bench.load()
            size = bench.path.stat().st_size / 2**20
            print(f"{bench.events} events loaded in {took:.0f} s: {size:.0f} MiB", flush=True)
        print(f"{'milliseconds':<26}{'cold':>24}{'warm':>24}")
        plans = {name: _compare(name, measure, small, large) for name, measure in measures().items()}
    for name, plan in plans.items():
        if plan:
            print(f"{name}:")
            print("\n".join(f"    {line}" for line in plan))


def _compare(name: str, measure: Measure, small: Bench, large: Bench) -> list[str]:
    """Print what one operation costs in both inboxes, one right after the other; return its plan."""
    few, many = measure(small), measure(large)
    pairs = ((few.cold, many.cold), (few.warm, many.warm))
    cells = [f"{before:8.2f} {after:8.2f} {after / before:5.1f}x" for before, after in pairs]
    print(f"{name:<26}{cells[0]:>24}{cells[1]:>24}", flush=True)
    return many.plan


if __name__ == "__main__":
    main()
