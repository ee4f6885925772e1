"""Exact totals: counted in the same transaction as what they count."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from hookline.inbox.schema import counters


def add(connection: Connection, name: str, amount: int) -> None:
    """Add to a total; a total that does not exist yet starts at 0."""
    if not amount:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(counters)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"value": counters.c.value + statement.excluded.value}
        ),
        {"name": name, "value": amount},
    )


def totals(connection: Connection) -> dict[str, int]:
    """Return all totals by name."""
    rows = connection.execute(select(counters.c.name, counters.c.value))
    return dict(rows.tuples().all())
