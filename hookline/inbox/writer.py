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
from sqlalchemy.exc import SQLAlchemyError

from hookline.errors import InboxError, InboxFull
from hookline.inbox.checkpointing import Checkpointer, checkpoint
from hookline.inbox.recording import record
from hookline.inbox.records import Arrival, Recorded

T = TypeVar("T")

#: Writes that may wait for the disk, and bytes of bodies; beyond this the door says 503 instead of growing.
QUEUE_LIMIT = 4096
QUEUE_LIMIT_BYTES = 128 * 1024 * 1024
#: Writes in one transaction; a larger one would only keep the first of it waiting.
BATCH_LIMIT = 512


@dataclass(slots=True)
class _Write:
    """One write that waits: an arrival, or a piece of work on the connection."""

    work: Arrival | Callable[[Connection], Any]
    future: asyncio.Future[Any]


class Writer:
    """The one thread that writes to the inbox.

    Parameters
    ----------
    engine: an engine whose transactions take the write lock at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._waiting_bytes = 0
        # SQLite's one connection is held; PostgreSQL's comes from the pool, which tries whether it lives.
        self._held = engine.connect() if engine.dialect.name == "sqlite" else None
        self._checkpointer = Checkpointer(engine) if self._held is not None else None
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
        if self._queue.qsize() >= QUEUE_LIMIT or self._waiting_bytes >= QUEUE_LIMIT_BYTES:
            raise InboxFull("more writes wait for the disk than the inbox queues; retry in a second")
        size = len(arrival.draft.body)
        self._waiting_bytes += size
        try:
            recorded: Recorded = await self._submit(arrival)
        finally:
            self._waiting_bytes -= size
        return recorded

    async def execute(self, work: Callable[[Connection], T]) -> T:
        """Run `work` inside the next transaction; return its result once that is on the disk."""
        result: T = await self._submit(work)
        return result

    async def close(self) -> None:
        """Write what waits, then end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _submit(self, work: Arrival | Callable[[Connection], Any]) -> asyncio.Future[Any]:
        if self._closed:
            raise InboxError("the inbox is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Write(work, future))
        return future

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            results = self._commit(batch)
            self._loop.call_soon_threadsafe(_deliver, batch, results)
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
        batch = [first]
        while len(batch) < BATCH_LIMIT:
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                break
            if write is None:
                self._queue.put(None)
                break
            batch.append(write)
        return batch

    def _commit(self, batch: list[_Write]) -> list[Any]:
        """Return each write's result, or the error that it ended with."""
        try:
            with self._transaction() as connection:
                return _perform(connection, [write.work for write in batch])
        except Exception as failed:
            if len(batch) == 1:
                return [_explained(failed)]
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


def _explained(failed: Exception) -> Exception:
    """Return a database's error as ours: what failed and what can be done."""
    if not isinstance(failed, SQLAlchemyError | sqlite3.Error | psycopg.Error):
        return failed
    cause = str(getattr(failed, "orig", None) or failed)
    return InboxFull(f"the inbox cannot write: {cause}; free disk space or end what locks it, then retry")


def _deliver(batch: list[_Write], results: list[Any]) -> None:
    for write, result in zip(batch, results, strict=True):
        if write.future.done():  # the caller was cancelled; the write stands
            continue
        if isinstance(result, Exception):
            write.future.set_exception(result)
        else:
            write.future.set_result(result)
