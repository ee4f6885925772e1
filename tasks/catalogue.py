"""The catalogue in the warehouse: what each loaded table holds, and how its columns change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import duckdb
import orjson
from prefect import task
from prefect.assets import add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.tasks import MaterializingTask
from pydantic import Field, TypeAdapter

from hookline import Event
from tasks.resources import TABLE_NAME
from tasks.warehouse import (
    RAW,
    RESOURCE_COLUMN,
    RETRIES,
    columns_of,
    figures_of,
    quoted,
    table_asset,
    transaction,
)

CATALOGUE = table_asset("catalogue")

_TABLE = """
CREATE TABLE IF NOT EXISTS catalogue (
    table_name VARCHAR, cause VARCHAR, catalogued_at TIMESTAMPTZ, row_count BIGINT, columns VARCHAR,
    PRIMARY KEY (table_name, cause)
)
"""

_TABLE_NAME = TypeAdapter(Annotated[str, Field(pattern=TABLE_NAME)])


class NotLoadedError(ValueError):
    """There is no such table in the warehouse."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a table holds at a moment.

    Parameters
    ----------
    table: the table, without its schema.
    rows: how many it has.
    columns: their types by name, in order.
    figures: quality figures, one object for each column.
    """

    table: str
    rows: int
    columns: dict[str, str]
    figures: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Changes:
    """How a table's columns changed.

    Parameters
    ----------
    table: the table, without its schema.
    added: columns that are new, with their types.
    removed: columns that are gone, with the types they had.
    retyped: columns that changed their type, with the type from before and the one of now.
    """

    table: str
    added: dict[str, str]
    removed: dict[str, str]
    retyped: dict[str, tuple[str, str]]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.retyped)


@task(name="name table", cache_policy=NO_CACHE)
def name_table(event: Event | None, table: str | None) -> str:
    """Return the table that a `dataset.loaded` event tells of, or the one that was given by hand.

    Parameters
    ----------
    event: an event whose data has a member `table`.
    table: the table, for a run that no event has started.

    Raises
    ------
    ValueError: there is neither, or it cannot be a table's name.
    """
    if table is None and event is not None and isinstance(event.data, dict):
        table = event.data.get("table")
    if table is None:
        raise ValueError("No table to look at: give `table`, or start this flow with a dataset.loaded event.")
    return _TABLE_NAME.validate_python(table)


@task(name="look at table", **RETRIES)
def look_at(table: str) -> Look:
    """Measure a loaded table as it is now.

    Parameters
    ----------
    table: the table in the schema `raw`.

    Raises
    ------
    NotLoadedError: there is no such table.
    WarehouseBusy: the warehouse did not become free in time. Prefect tries again.
    """
    target = f"{RAW}.{quoted(table)}"
    with transaction() as db:
        try:
            columns = columns_of(db, target)
        except duckdb.CatalogException:
            raise NotLoadedError(f"There is no table {target} in the warehouse.") from None
        rows = db.execute(f"SELECT count(*) FROM {target}").fetchone()
        columns.pop(RESOURCE_COLUMN, None)
        figures = [figures_of(db, target, column) for column in columns]
    return Look(table, rows[0] if rows else 0, columns, figures)


@task(name="look up last entry", **RETRIES)
def last_columns(table: str, cause: str) -> dict[str, str] | None:
    """Return a table's columns as the catalogue knew them last; None if it did not know the table.

    Parameters
    ----------
    table: the table, without its schema.
    cause: what this entry is made for. An entry that an earlier attempt made for it does not count, so
        that a retry finds the same changes.

    Raises
    ------
    WarehouseBusy: the warehouse did not become free in time. Prefect tries again.
    """
    with transaction() as db:
        db.execute(_TABLE)
        entry = db.execute(
            "SELECT columns FROM catalogue WHERE table_name = ? AND cause <> ?"
            " ORDER BY catalogued_at DESC LIMIT 1",
            [table, cause],
        ).fetchone()
    return None if entry is None else dict(orjson.loads(entry[0]))


@task(name="compare", cache_policy=NO_CACHE)
def compare(before: dict[str, str] | None, look: Look) -> Changes:
    """Return how a table's columns changed; nothing did if the table is new.

    Parameters
    ----------
    before: its columns before, or None.
    look: the table now.
    """
    now = look.columns
    then = now if before is None else before
    return Changes(
        look.table,
        added={name: kind for name, kind in now.items() if name not in then},
        removed={name: kind for name, kind in then.items() if name not in now},
        retyped={
            name: (then[name], kind) for name, kind in now.items() if name in then and then[name] != kind
        },
    )


@materialize(CATALOGUE, name="write entry", **RETRIES)
def write_entry(look: Look, cause: str) -> None:
    """Write what a table holds into the catalogue; see `cataloguing`.

    Parameters
    ----------
    look: the table.
    cause: what the entry is made for; a second one for the same replaces the first.

    Raises
    ------
    WarehouseBusy: the warehouse did not become free in time. Prefect tries again.
    """
    with transaction() as db:
        db.execute(_TABLE)
        db.execute(
            "INSERT OR REPLACE INTO catalogue VALUES (?, ?, ?, ?, ?)",
            [look.table, cause, datetime.now(UTC), look.rows, orjson.dumps(look.columns).decode()],
        )
    add_asset_metadata(CATALOGUE, {"table": look.table, "rows": look.rows, "columns": len(look.columns)})


def cataloguing(table: str) -> MaterializingTask[[Look, str], None]:
    """Return the `write_entry` task for one table, whose asset the catalogue depends on.

    Parameters
    ----------
    table: the table in the schema `raw`.
    """
    return write_entry.with_options(asset_deps=[table_asset(f"{RAW}/{table}")])
