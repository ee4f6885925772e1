"""Statements as text, straight to the database's driver: for what every event or every run needs.

SQLAlchemy's own take ten times as long to put together as SQLite takes to run them. Many rows go into one
statement: the interpreter is given up and taken again with every call into SQLite, and while the event loop
is busy each of those costs more than the row itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection

#: Rows in one statement. Each number of rows has a statement of its own, which the driver keeps.
ROWS_AT_ONCE = 64

Row = Sequence[Any]


class Driver:
    """The driver's cursor inside the writer's transaction; statements are written with `?`.

    Parameters
    ----------
    connection: inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.connection.cursor()
        self._placeholder = "?" if connection.dialect.paramstyle == "qmark" else "%s"

    def run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement; return the driver's cursor."""
        if self._placeholder != "?":
            statement = statement.replace("?", self._placeholder)
        return self._cursor.execute(statement, values)

    def insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Row], ending: str = "") -> int:
        """Insert rows, many with one statement; return how many were inserted."""
        inserted = 0
        for few in _portions(rows):
            statement = _insertion(table, columns, len(few), self._placeholder, ending)
            inserted += self._cursor.execute(statement, tuple(chain.from_iterable(few))).rowcount
        return inserted

    def run_for(self, statement: str, values: Sequence[Any], keys: Sequence[str]) -> set[str]:
        """Run a statement for many keys; return the first column of its rows.

        Parameters
        ----------
        statement: with `IN ({keys})` behind all of its `?`.
        values: those of the `?`.
        """
        found: set[str] = set()
        for few in _portions(keys):
            spelled = statement.replace("{keys}", ", ".join(["?"] * len(few)))
            found.update(row[0] for row in self.run(spelled, (*values, *few)).fetchall())
        return found


def _portions(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


@functools.lru_cache(maxsize=1024)
def _insertion(table: str, columns: tuple[str, ...], rows: int, placeholder: str, ending: str) -> str:
    values = f"({', '.join([placeholder] * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([values] * rows)}{ending}"  # noqa: S608 # names of ours
