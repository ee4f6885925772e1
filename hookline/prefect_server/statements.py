"""Statements of Prefect's server on SQLite under `up`: each goes to its connection's thread once.

SQLAlchemy's adapter asks the thread for a cursor, for the execution, for the rows and for the cursor's end
one after the other; a flow run takes hundreds of statements. The thread does the same in one visit here.
A statement that fails also leaves no cursor behind (docs/decisions/0004-prefect-server-garbage.md).
"""

from __future__ import annotations

import sqlite3
from collections import deque
from typing import Any, NamedTuple

from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_cursor

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
    connection = self._connection
    try:
        result = self.await_(connection._execute(_in_thread, connection._conn, operation, parameters))
    except Exception as error:
        self._adapt_connection._handle_exception(error)
        raise  # never reached: the line above raises
    self.description = result.description
    if result.description:
        self.lastrowid = self.rowcount = -1
        self._rows = deque(result.rows)
    else:
        self.lastrowid, self.rowcount = result.last_row_id, result.row_count


def _execute_many(self: Any, operation: Any, rows: Any) -> None:
    """Run a statement once for each of some rows, as the adapter's own `executemany` does."""
    connection = self._connection
    try:
        result = self.await_(connection._execute(_many_in_thread, connection._conn, operation, rows))
    except Exception as error:
        self._adapt_connection._handle_exception(error)
        raise  # never reached: the line above raises
    self.description = None
    self.lastrowid, self.rowcount = result


def _in_thread(connection: sqlite3.Connection, operation: str, parameters: Any) -> _Result:
    cursor = connection.cursor()
    try:
        if parameters is None:
            cursor.execute(operation)
        else:
            cursor.execute(operation, parameters)
        rows = cursor.fetchall() if cursor.description else []
        return _Result(cursor.description, rows, cursor.lastrowid, cursor.rowcount)
    finally:
        cursor.close()


def _many_in_thread(connection: sqlite3.Connection, operation: str, rows: Any) -> tuple[int | None, int]:
    cursor = connection.cursor()
    try:
        cursor.executemany(operation, rows)
        return cursor.lastrowid, cursor.rowcount
    finally:
        cursor.close()
