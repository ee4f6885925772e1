"""Statements of Prefect's server on SQLite under `up`: each goes to its connection's thread once.

SQLAlchemy's adapter asks the thread for a cursor, for the execution, for the rows and for the cursor's end
one after the other; a flow run takes hundreds of statements. The thread does the same in one visit here.
A statement that fails also leaves no cursor behind (docs/decisions/0004-prefect-server-garbage.md).
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_cursor

T = TypeVar("T")

_stock_execute = AsyncAdapt_aiosqlite_cursor.execute


class _Result(NamedTuple):
    description: Any
    rows: list[Any]
    last_row_id: int | None
    row_count: int


def visit_once() -> None:
    """Run each statement in one visit."""
    cursor: Any = AsyncAdapt_aiosqlite_cursor
    cursor.execute, cursor.executemany = _execute, _execute_many


def _execute(self: Any, operation: Any, parameters: Any = None) -> None:
    """Run a statement and take its rows, as the adapter's own `execute` does."""
    if self.server_side:  # rows that are asked for little by little
        _stock_execute(self, operation, parameters)
        return
    result = _visit(self, _in_thread, operation, parameters)
    self.description = result.description
    if result.description:
        self.lastrowid = self.rowcount = -1
        self._rows = deque(result.rows)
    else:
        self.lastrowid, self.rowcount = result.last_row_id, result.row_count


def _execute_many(self: Any, operation: Any, rows: Any) -> None:
    """Run a statement once for each of some rows, as the adapter's own `executemany` does."""
    self.description = None
    self.lastrowid, self.rowcount = _visit(self, _many_in_thread, operation, rows)


def _visit(cursor: Any, work: Callable[..., T], operation: Any, values: Any) -> T:
    """Do work in the thread of a cursor's connection, and raise its errors as the adapter does."""
    connection = cursor._connection
    try:
        result: T = cursor.await_(connection._execute(work, connection._conn, operation, values))
    except Exception as error:
        cursor._adapt_connection._handle_exception(error)
        raise  # never reached: the line above raises
    return result


def _in_thread(connection: sqlite3.Connection, operation: str, parameters: Any) -> _Result:
    with closing(connection.cursor()) as cursor:
        if parameters is None:
            cursor.execute(operation)
        else:
            cursor.execute(operation, parameters)
        rows = cursor.fetchall() if cursor.description else []
        return _Result(cursor.description, rows, cursor.lastrowid, cursor.rowcount)


def _many_in_thread(connection: sqlite3.Connection, operation: str, rows: Any) -> tuple[int | None, int]:
    with closing(connection.cursor()) as cursor:
        cursor.executemany(operation, rows)
        return cursor.lastrowid, cursor.rowcount
