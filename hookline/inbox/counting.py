"""Exact totals: counted in the same transaction as what they count."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from hookline.inbox.driver import Driver
from hookline.inbox.schema import counters

# As text: it is part of every transaction, and building it costs more than running it. Gateways that share
# an inbox count in different rows, or each would wait for the other's commit.
_ADD = (
    "INSERT INTO counters (name, shard, value) VALUES (?, {shard}, ?)"
    " ON CONFLICT (name, shard) DO UPDATE SET value = counters.value + excluded.value"
)
_FURTHEST = (
    "INSERT INTO counters (name, shard, value) VALUES (?, 0, ?) ON CONFLICT (name, shard) DO UPDATE"
    " SET value = CASE WHEN counters.value > excluded.value THEN counters.value ELSE excluded.value END"
)
_ADD_SQLITE = _ADD.format(shard="0")
_ADD_POSTGRESQL = _ADD.format(shard="mod(pg_backend_pid(), 16)").replace("?", "%s")

#: Not a count: up to which accepted time retention has taken events, the unfinished ones left aside.
FORGOTTEN_THROUGH = "forgotten_through_us"


def add(connection: Connection, name: str, amount: int = 1) -> None:
    """Add to a total; a total that does not exist yet starts at 0."""
    if amount:
        connection.exec_driver_sql(add_statement(connection), (name, amount))


def add_statement(connection: Connection) -> str:
    """Return the statement that adds to a total; its values are the name and the amount."""
    return _ADD_POSTGRESQL if connection.dialect.name == "postgresql" else _ADD_SQLITE


def totals(connection: Connection) -> dict[str, int]:
    """Return all totals by name."""
    rows = connection.execute(
        select(counters.c.name, func.sum(counters.c.value)).group_by(counters.c.name)
    ).tuples()
    return {name: int(value) for name, value in rows}


def forget_through(connection: Connection, at_us: int) -> None:
    """Write down that retention took an event of this time."""
    Driver(connection).run(_FURTHEST, (FORGOTTEN_THROUGH, at_us))


def pruned_events(totals: dict[str, int]) -> int:
    """Return how many events retention has taken, of whatever status."""
    names = (name for name in totals if name.startswith("pruned.") and name != "pruned.duplicates")
    return sum(totals[name] for name in names)
