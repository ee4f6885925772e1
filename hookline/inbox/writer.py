"""Group commit: one thread writes, and all that waits for it goes into one transaction.

An fsync costs the same for one event as for a hundred. While one transaction is on its way to the disk,
the next ones queue up; then they commit together. Nobody is answered before the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

from hookline.errors import InboxError, InboxFull, InboxRefused
from hookline.inbox.checkpointing import Checkpointer, checkpoint
from hookline.inbox.recording import Vanished, record
from hookline.inbox.records import Arrival, Recorded

T = TypeVar("T")

#: Writes that may wait for the disk; beyond this the door says 503 instead of growing.
QUEUE_LIMIT = 4096
#: Bodies that may wait for the disk.
QUEUE_LIMIT_BYTES = 128 * 1024 * 1024
#: Writes in one transaction; a larger one would only keep the first of it waiting.
BATCH_LIMIT = 512
BATCH_LIMIT_BYTES = 8 * 1024 * 1024
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

    @property
    def size(self) -> int:
        return len(self.work.draft.body) if isinstance(self.work, Arrival) else 0


class Writer:
    """The one thread that writes to the inbox.

    Parameters
    ----------
    engine: an engine whose transactions take the write lock at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # On PostgreSQL work takes locks that other gateways want too: it gets transactions of its own, so
        # that each takes them in one order.
        self._together = engine.dialect.name != "postgresql"
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._closed = False
        # SQLite's one connection is held; PostgreSQL's comes from the pool, which tries whether it lives.
        self._held = engine.connect() if engine.dialect.name == "sqlite" else None
        has_log = self._held is not None and not isinstance(engine.pool, StaticPool)
        self._checkpointer = Checkpointer(engine) if has_log else None
        self._thread = threading.Thread(target=self._run, name="hookline-inbox-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many writes wait for the disk."""
        return self._queue.qsize()

    async def record(self, arrival: Arrival) -> Recorded:
        """Write an arrival; return once it is on the disk.

        Raises
        ------
        InboxFull: too many writes wait, or the disk refuses.
        """
        size = len(arrival.draft.body)
        if self._queue.qsize() >= QUEUE_LIMIT or self._waiting_bytes + size > QUEUE_LIMIT_BYTES:
            raise InboxFull("more writes wait for the disk than the inbox queues; retry in a second")
        self._waiting_bytes += size
        future = self._submit(arrival)
        future.add_done_callback(lambda _: self._forget(size))
        recorded: Recorded = await future
        return recorded

    async def execute(self, work: Callable[[Connection], T]) -> T:
        """Run `work` inside the next transaction; return its result once that is on the disk.

        `work` may run again where its transaction had to be repeated.

        Raises
        ------
        InboxFull: the database cannot write just now.
        InboxRefused: the database refuses what was to be written.
        """
        result: T = await self._submit(work)
        return result

    async def close(self) -> None:
        """Write what waits, then end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _forget(self, size: int) -> None:
        self._waiting_bytes -= size

    def _submit(self, work: Arrival | Callable[[Connection], Any]) -> asyncio.Future[Any]:
        if self._closed:
            raise InboxError("the inbox is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Write(work, future))
        return future

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            for part in self._parts(batch):
                self._loop.call_soon_threadsafe(_deliver, part, self._commit(part))
            self._keep_log_short()
        if self._checkpointer is not None:
            self._checkpointer.close()
        if self._held is not None:
            self._held.close()

    def _keep_log_short(self) -> None:
        if self._checkpointer is None or self._held is None:
            return
        self._checkpointer.written()
        if self._checkpointer.finish_wanted:
            self._checkpointer.finish_wanted = False
            checkpoint(self._held.connection)

    def _next_batch(self) -> list[_Write] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch, size = [first], first.size
        while len(batch) < BATCH_LIMIT and size < BATCH_LIMIT_BYTES:
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                break
            if write is None:
                self._queue.put(None)
                break
            batch.append(write)
            size += write.size
        return batch

    def _parts(self, batch: list[_Write]) -> list[list[_Write]]:
        """Return the batch as the transactions that it is to be."""
        if self._together:
            return [batch]
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
            except Exception as failed:
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
        else:
            with self._held.begin():
                yield self._held


def _perform(connection: Connection, works: list[Arrival | Callable[[Connection], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(works)
    arrivals = [(index, work) for index, work in enumerate(works) if isinstance(work, Arrival)]
    if arrivals:
        recorded = record(connection, [arrival for _, arrival in arrivals])
        for (index, _), result in zip(arrivals, recorded, strict=True):
            results[index] = result
    for index, work in enumerate(works):
        if not isinstance(work, Arrival):
            results[index] = work(connection)
    return results


def _is_conflict(failed: Exception) -> bool:
    """Return whether another gateway's transaction was in the way."""
    cause = failed.orig if isinstance(failed, DBAPIError) else failed
    return isinstance(cause, Vanished) or getattr(cause, "sqlstate", None) in (_DEADLOCK, _SERIALIZATION)


def _is_transient(failed: Exception) -> bool:
    """Return whether the database cannot write anything just now: locked, full, or away."""
    return isinstance(failed, _TRANSIENT)


def _explained(failed: Exception) -> Exception:
    """Return a database's error as ours: what failed and what can be done."""
    if not isinstance(failed, _DATABASE):
        return failed
    cause = str(getattr(failed, "orig", None) or failed).partition("\n")[0]
    if _is_transient(failed):
        return InboxFull(f"the inbox cannot write: {cause}; free disk space or end what locks it, then retry")
    return InboxRefused(f"the inbox cannot hold this: {cause}")


def _deliver(batch: list[_Write], results: list[Any]) -> None:
    for write, result in zip(batch, results, strict=True):
        if write.future.done():  # the caller was cancelled; the write stands
            continue
        if isinstance(result, Exception):
            write.future.set_exception(result)
        else:
            write.future.set_result(result)
