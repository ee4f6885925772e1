"""Group commit: all that waits for the disk goes into one transaction; nobody is answered before its commit.

An fsync costs the same for one event as for a hundred. While one transaction is on its way to the disk,
the next writes queue up; then they commit together.

On SQLite what is brief, above all events, is written by the event loop itself, and a thread only commits:
that is one call, in which it does not hold the interpreter. A thread that wrote the rows too would fight the
loop for it, a dozen times in a transaction of half a millisecond. Whatever may take longer, or has to wait
for a lock, is the thread's from beginning to end; so is everything on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

from hookline.errors import InboxError, InboxFull, InboxRefused
from hookline.inbox import chain
from hookline.inbox.checkpointing import Checkpointer, checkpoint
from hookline.inbox.engine import BUSY_TIMEOUT_SECONDS
from hookline.inbox.recording import Vanished, record
from hookline.inbox.records import Arrival, Recorded

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Writes that may wait for the disk; beyond this the door says 503 instead of growing.
QUEUE_LIMIT = 4096
#: Bodies that may wait for the disk.
QUEUE_LIMIT_BYTES = 128 * 1024 * 1024
#: Writes in one transaction; a larger one would only keep the first of it waiting.
BATCH_LIMIT = 512
BATCH_LIMIT_BYTES = 8 * 1024 * 1024
#: Bodies in one transaction of the event loop, which stands still for 25 us an event.
BRIEF_LIMIT_BYTES = 1024 * 1024
#: Where the loop stood still for so long, the disk is slow: its next transactions are the thread's.
SLOW_SECONDS = 0.05
SLOW_FOR_SECONDS = 1.0
#: Where a lock was held for too long, the next transactions wait for it no longer than this: who waits behind
#: them has waited already.
LOCKED_OUT_SECONDS = 0.1
#: Between two looks at a lock that another process holds.
LOCKED_LOOK_AGAIN_SECONDS = 0.005
#: PostgreSQL ends one of two transactions that wait for each other; it works when it is done again.
TRIES = 5
_DEADLOCK, _SERIALIZATION = "40P01", "40001"
#: Errors of SQLAlchemy and, as what every batch needs goes to them as it is, of the drivers.
_DATABASE = (SQLAlchemyError, sqlite3.Error, psycopg.Error)
_TRANSIENT = (
    OperationalError, InterfaceError, PoolTimeout,
    sqlite3.OperationalError, psycopg.OperationalError, psycopg.InterfaceError,
)  # fmt: skip


@dataclass(slots=True)
class _Write:
    """One write that waits: an arrival, or a piece of work on the connection."""

    work: Arrival | Callable[[Connection], Any]
    future: asyncio.Future[Any]
    size_bytes: int
    is_brief: bool


@dataclass(slots=True)
class _Transaction:
    """What goes to the disk together.

    Parameters
    ----------
    results: of each write, where the event loop has done all of them and only the commit is left.
    """

    writes: list[_Write]
    results: list[Any] | None


class Writer:
    """The one connection that writes to the inbox, and the thread that waits for the disk.

    Parameters
    ----------
    engine: an engine whose transactions take the write lock at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # On PostgreSQL work takes locks that other gateways want too: it gets transactions of its own, so
        # that each takes them in one order.
        self._together = engine.dialect.name != "postgresql"
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Write] = deque()
        self._waiting_bytes = 0
        self._closed = False
        # A transaction is under way, and begins the next one at its end.
        self._busy = False
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._brief_from = 0.0
        self._is_locked_out = False
        # SQLite's one connection is held; PostgreSQL's comes from the pool, which tries whether it lives.
        self._held = engine.connect() if engine.dialect.name == "sqlite" else None
        has_log = self._held is not None and not isinstance(engine.pool, StaticPool)
        if self._held is not None:
            # Who finds the lock taken is told at once: the event loop must not wait, the thread does itself.
            self._held.connection.cursor().execute("PRAGMA busy_timeout = 0")
        self._checkpointer = Checkpointer(engine) if has_log else None
        self._transactions: queue.SimpleQueue[_Transaction | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hookline-inbox-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many writes wait for their transaction to begin."""
        return len(self._waiting)

    async def record(self, arrival: Arrival) -> Recorded:
        """Write an arrival; return once it is on the disk.

        Raises
        ------
        InboxFull: too many writes wait, or the disk refuses.
        """
        size = len(arrival.draft.body)
        if len(self._waiting) >= QUEUE_LIMIT or self._waiting_bytes + size > QUEUE_LIMIT_BYTES:
            raise InboxFull("more writes wait for the disk than the inbox queues; retry in a second")
        recorded: Recorded = await self._submit(arrival, size, is_brief=True)
        return recorded

    async def execute(self, work: Callable[[Connection], T], *, is_brief: bool = False) -> T:
        """Run `work` inside the next transaction; return its result once that is on the disk.

        `work` may run again where its transaction had to be repeated.

        Parameters
        ----------
        is_brief: it takes some hundred microseconds at most: the event loop may do it.

        Raises
        ------
        InboxFull: the database cannot write just now.
        InboxRefused: the database refuses what was to be written.
        """
        result: T = await self._submit(work, 0, is_brief=is_brief)
        return result

    async def close(self) -> None:
        """Write what waits, then end the thread."""
        if not self._closed:
            self._closed = True
            await self._at_rest.wait()
            self._transactions.put(None)
            await asyncio.to_thread(self._thread.join)

    # In the event loop ----------------------------------------------------------------------------

    def _submit(
        self, work: Arrival | Callable[[Connection], Any], size_bytes: int, *, is_brief: bool
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise InboxError("the inbox is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(_Write(work, future, size_bytes, is_brief))
        self._waiting_bytes += size_bytes
        if not self._busy:
            self._busy = True
            self._at_rest.clear()
            # After what else has come in this moment.
            self._loop.call_soon(self._begin_next)
        return future

    def _begin_next(self) -> None:
        """Begin a transaction with what waits, or rest."""
        if not self._waiting:
            self._busy = False
            self._at_rest.set()
            return
        transaction = _Transaction(self._next_batch(), None)
        try:
            transaction.results = self._written_here(transaction.writes)
        finally:
            self._transactions.put(transaction)

    def _next_batch(self) -> list[_Write]:
        batch: list[_Write] = []
        size_bytes = 0
        while self._waiting and len(batch) < BATCH_LIMIT and size_bytes < BATCH_LIMIT_BYTES:
            batch.append(self._waiting.popleft())
            size_bytes += batch[-1].size_bytes
        self._waiting_bytes -= size_bytes
        return batch

    def _written_here(self, batch: list[_Write]) -> list[Any] | None:
        """Return the results of brief writes, all but committed; None leaves everything to the thread."""
        if self._held is None or self._checkpointer is None:
            return None
        started = time.monotonic()  # the loop's own stands still while it does
        if started < self._brief_from or not all(write.is_brief for write in batch):
            return None
        if sum([write.size_bytes for write in batch]) > BRIEF_LIMIT_BYTES:
            return None
        try:
            _begin(self._held)
            results = _perform(self._held, [write.work for write in batch])
        except BaseException as failed:
            # The thread does it again, and finds out what of it can be done.
            _undo(self._held)
            if isinstance(failed, Exception):
                return None
            raise
        if time.monotonic() - started > SLOW_SECONDS:
            self._brief_from = time.monotonic() + SLOW_FOR_SECONDS
        return results

    def _go_on(self, writes: list[_Write], results: list[Any]) -> None:
        """Begin the next transaction, then answer this one's writers: meanwhile the disk works."""
        try:
            self._begin_next()
        finally:
            _answer(writes, results)

    # In the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        tell = self._loop.call_soon_threadsafe
        while (transaction := self._transactions.get()) is not None:
            if not self._together:
                for part in self._parts(transaction.writes):
                    tell(_answer, part, self._commit(part))
                tell(self._begin_next)
                continue
            results = self._end_or_repeat(transaction)
            if self._held is not None and self._checkpointer is not None and self._checkpointer.written():
                # It takes some milliseconds, and these writers have what they wait for.
                tell(_answer, transaction.writes, results)
                checkpoint(self._held.connection)
                tell(self._begin_next)
            else:
                tell(self._go_on, transaction.writes, results)
        if self._checkpointer is not None:
            self._checkpointer.close()
        if self._held is not None:
            self._held.close()

    def _end_or_repeat(self, transaction: _Transaction) -> list[Any]:
        """Commit what the event loop has written, or do it all here; return each write's result."""
        if transaction.results is not None and self._held is not None:
            try:
                _end(self._held)
            except Exception:
                _undo(self._held)
            else:
                return transaction.results
        return self._commit(transaction.writes)

    def _parts(self, batch: list[_Write]) -> list[list[_Write]]:
        """Return the batch as the transactions that it is to be on PostgreSQL."""
        arrivals = [write for write in batch if isinstance(write.work, Arrival)]
        rest = [[write] for write in batch if not isinstance(write.work, Arrival)]
        return [arrivals, *rest] if arrivals else rest

    def _commit(self, batch: list[_Write]) -> list[Any]:
        """Return each write's result, or the error that it ended with."""
        tries = 0
        while True:
            tries += 1
            try:
                with self._transaction() as connection:
                    return _perform(connection, [write.work for write in batch])
            # Whatever a work raises is its writer's, and must not end the thread.
            except BaseException as failed:
                if _is_conflict(failed) and tries < TRIES:
                    continue
                if len(batch) == 1 or _is_transient(failed):
                    return [_explained(failed) for _ in batch]
                break
        # One of them spoiled the transaction: do them one by one, so that only that one fails.
        return [result for write in batch for result in self._commit([write])]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._held is None:
            with self._engine.begin() as connection:
                yield connection
            return
        self._begin_patiently(self._held)
        try:
            yield self._held
            _end(self._held)
        except BaseException:
            _undo(self._held)
            raise

    def _begin_patiently(self, held: Connection) -> None:
        """Begin once nobody else has the lock; wait for it as long as senders do, but not again and again."""
        patience_seconds = LOCKED_OUT_SECONDS if self._is_locked_out else BUSY_TIMEOUT_SECONDS
        until = time.monotonic() + patience_seconds
        never = threading.Event()  # `time.sleep` fails where a clock is not the system's (faketime)
        while True:
            try:
                _begin(held)
            except sqlite3.OperationalError as failed:
                self._is_locked_out = failed.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not self._is_locked_out or time.monotonic() > until:
                    raise
            else:
                self._is_locked_out = False
                return
            never.wait(LOCKED_LOOK_AGAIN_SECONDS)


# A transaction on SQLite is the driver's: SQLAlchemy's own costs more than what is in a small one. Whatever
# goes through SQLAlchemy in between finds it begun; see engine.py.


def _begin(connection: Connection) -> None:
    driver = connection.connection
    if driver.in_transaction:  # one that could not even be undone
        driver.rollback()
    # The lock is taken at once: a transaction that begins as a reader could fail when it writes.
    driver.cursor().execute("BEGIN IMMEDIATE")


def _end(connection: Connection) -> None:
    connection.commit()
    connection.connection.commit()


def _undo(connection: Connection) -> None:
    try:
        connection.rollback()
        connection.connection.rollback()
    except Exception as failed:
        # What made it necessary is what is answered; the next transaction tries again.
        log.warning("A transaction of the inbox cannot be undone: %s", failed)


def _perform(connection: Connection, works: list[Arrival | Callable[[Connection], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(works)
    chain.begin(connection)
    arrivals = [(index, work) for index, work in enumerate(works) if isinstance(work, Arrival)]
    if arrivals:
        recorded = record(connection, [arrival for _, arrival in arrivals])
        for (index, _), result in zip(arrivals, recorded, strict=True):
            results[index] = result
    for index, work in enumerate(works):
        if not isinstance(work, Arrival):
            results[index] = work(connection)
    chain.link(connection)
    return results


def _is_conflict(failed: BaseException) -> bool:
    """Return whether another gateway's transaction was in the way."""
    cause = failed.orig if isinstance(failed, DBAPIError) else failed
    return isinstance(cause, Vanished) or getattr(cause, "sqlstate", None) in (_DEADLOCK, _SERIALIZATION)


def _is_transient(failed: BaseException) -> bool:
    """Return whether the database cannot write anything just now: locked, full, or away."""
    return isinstance(failed, _TRANSIENT)


def _explained(failed: BaseException) -> BaseException:
    """Return a database's error as ours: what failed and what can be done."""
    if not isinstance(failed, _DATABASE):
        return failed
    cause = str(getattr(failed, "orig", None) or failed).partition("\n")[0]
    if _is_transient(failed):
        return InboxFull(f"the inbox cannot write: {cause}; free disk space or end what locks it, then retry")
    return InboxRefused(f"the inbox cannot hold this: {cause}")


def _answer(writes: list[_Write], results: list[Any]) -> None:
    for write, result in zip(writes, results, strict=True):
        if write.future.done():  # the caller was cancelled; the write stands
            continue
        if isinstance(result, BaseException):
            write.future.set_exception(result)
        else:
            write.future.set_result(result)
