"""Transactions of Prefect's server on SQLite under `up`: those that may write take turns from their start.

Prefect begins most of them as readers. One that has read and then writes fails at once, whatever the busy
timeout, when anybody else has written in between: SQLite does not let it write upon what it has not seen.
The request is answered 503, and has to be made again. docs/decisions/0005-prefect-server-transactions.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration

#: Whether this task, or one that waits for it, has the turn.
_has_turn: ContextVar[bool] = ContextVar("has_turn", default=False)
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def take_turns() -> None:
    """Let transactions that may write take turns."""
    setattr(AioSqliteConfiguration, "begin_transaction", _begin_transaction)  # noqa: B010 (mypy: a method)


@asynccontextmanager
async def _begin_transaction(
    configuration: AioSqliteConfiguration, session: Any, with_for_update: bool = False
) -> AsyncGenerator[Any, None]:
    """Begin a transaction that has the database's write lock from its start.

    The turn is a lock of the event loop's: who waits for it is called in order and at once, where SQLite
    would have him ask again and again.
    """
    if _has_turn.get():  # within another: as Prefect has it, since to wait would be for ever
        mode = "IMMEDIATE" if with_for_update else "DEFERRED"
        async with _begun(session, mode) as transaction:
            yield transaction
        return
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with turn:
        mark = _has_turn.set(True)
        try:
            async with _begun(session, "IMMEDIATE") as transaction:
                yield transaction
        finally:
            _has_turn.reset(mark)


@asynccontextmanager
async def _begun(session: Any, mode: str) -> AsyncGenerator[Any, None]:
    mark = SQLITE_BEGIN_MODE.set(mode)
    try:
        async with session.begin() as transaction:
            yield transaction
    finally:
        SQLITE_BEGIN_MODE.reset(mark)
