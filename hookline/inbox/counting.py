"""Exact totals: counted in the same transaction as what they count."""

from __future__ import annotations

from sqlalchemy import Connection, select

from hookline.inbox.schema import counters

#: As text: it is part of every transaction, and building it costs more than running it.
ADD = (
    "INSERT INTO counters (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value"
)


def add(connection: Connection, name: str, amount: int) -> None:
    """Add to a total; a total that does not exist yet starts at 0."""
    if not amount:
        return
    statement = ADD if connection.dialect.paramstyle == "qmark" else ADD.replace("?", "%s")
    connection.exec_driver_sql(statement, (name, amount))


def totals(connection: Connection) -> dict[str, int]:
    """Return all totals by name."""
    rows = connection.execute(select(counters.c.name, counters.c.value))
    return dict(rows.tuples().all())
