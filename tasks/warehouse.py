"""The DuckDB warehouse: one file, one writing process at a time; loading files into its tables."""

from __future__ import annotations

import contextlib
import fcntl
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from prefect import task
from prefect.assets import Asset, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import MaterializingTask, Task, exponential_backoff

from tasks.files import Contents, InvalidFile
from tasks.resources import Fetched
from tasks.settings import task_settings

#: Loaded tables lie in a schema of their own, so that no event can name one of ours.
RAW = "raw"
#: The column that says which resource a row came from.
RESOURCE_COLUMN = "_resource"

# Extensions are never fetched from the network; those that are needed are built in.
_CONFIG: dict[str, Any] = {"autoinstall_known_extensions": False}

_LEDGER = """
CREATE TABLE IF NOT EXISTS loads (
    table_name VARCHAR, resource VARCHAR, sha256 VARCHAR, row_count BIGINT,
    fetched_at TIMESTAMPTZ, loaded_at TIMESTAMPTZ, PRIMARY KEY (table_name, resource)
)
"""


class WarehouseBusy(Exception):
    """Another process holds the warehouse; another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A resource whose rows are in the warehouse.

    Parameters
    ----------
    table: the table, without its schema.
    resource: the resource's name.
    rows: how many rows came from it.
    sha256: what the file's bytes hash to, in hex.
    asset: the key of the asset that the table is.
    superseded: a later fetch of the same resource was loaded already, and was left as it is.
    """

    table: str
    resource: str
    rows: int
    sha256: str
    asset: str
    superseded: bool = False


def was_busy(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect to retry only what is transient."""
    return isinstance(state.data, WarehouseBusy)


#: How tasks that write to the warehouse are retried.
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": was_busy,
    "cache_policy": NO_CACHE,
}


def table_asset(table: str) -> Asset:
    """Return the asset that a table of the warehouse is, as `raw/orders` or `commits`."""
    return Asset(key=f"duckdb://warehouse/{table}")


@contextlib.contextmanager
def transaction(
    path: Path | None = None, *, wait: timedelta | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse for one transaction: committed at the end, rolled back on an error.

    One process at a time may have a DuckDB file open for writing, and nobody may read it meanwhile, so
    processes and threads take turns on a lock beside it. The system frees that lock when a process dies.

    Parameters
    ----------
    path: the file; by default the warehouse in the data folder.
    wait: how long to wait for one's turn; by default `TASKS_LOCK_WAIT_SECONDS`.

    Raises
    ------
    WarehouseBusy: it did not become free in time.
    """
    path = path or task_settings().warehouse
    wait = wait if wait is not None else timedelta(seconds=task_settings().lock_wait_seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _turn(path.with_name(path.name + ".lock"), wait), contextlib.closing(_connect(path)) as db:
        db.begin()
        try:
            yield db
        except BaseException:
            # Where the statement has ended the transaction itself, there is nothing to roll back.
            with contextlib.suppress(duckdb.TransactionException):
                db.rollback()
            raise
        db.commit()


@materialize(f"duckdb://warehouse/{RAW}", name="load", **RETRIES)
def load(table: str, contents: Contents, fetched: Fetched) -> Loaded:
    """Load a file into a table and record the table as an asset; see `load_file` and `loading`.

    Parameters
    ----------
    table: the table in the schema `raw`.
    contents: the file, validated.
    fetched: where the file came from.

    Raises
    ------
    WarehouseBusy: the warehouse did not become free in time. Prefect tries again.
    InvalidFile: the values do not fit the table's columns.
    """
    loaded = load_file(table, contents, fetched)
    add_asset_metadata(
        table_asset(f"{RAW}/{table}"),
        {"rows": loaded.rows, "sha256": loaded.sha256, "resource": loaded.resource},
    )
    return loaded


def loading(table: str, resource: str) -> MaterializingTask[[str, Contents, Fetched], Loaded]:
    """Return the `load` task for one table, whose asset depends on the resource's.

    Parameters
    ----------
    table: the table in the schema `raw`.
    resource: the resource's name.
    """
    return load.with_options(assets=[table_asset(f"{RAW}/{table}")], asset_deps=[resource])


def load_file(table: str, contents: Contents, fetched: Fetched) -> Loaded:
    """Load a valid file into a table, in one transaction, in place of the rows that it gave before.

    The table is made if it is not there, and gets the columns that it does not have. A fetch older than
    the one whose rows are in the table changes nothing.
    """
    target = f"{RAW}.{quoted(table)}"
    asset = table_asset(f"{RAW}/{table}").key
    with transaction() as db:
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {RAW}")
        db.execute(_LEDGER)
        later = db.execute(
            "SELECT row_count, sha256 FROM loads WHERE table_name = ? AND resource = ? AND fetched_at > ?",
            [table, fetched.name, fetched.fetched_at],
        ).fetchone()
        if later is not None:
            return Loaded(table, fetched.name, later[0], later[1], asset, superseded=True)
        _stage(db, contents)
        _fit_columns(db, target)
        db.execute(f"DELETE FROM {target} WHERE {RESOURCE_COLUMN} = ?", [fetched.name])
        db.execute(
            f"INSERT INTO {target} BY NAME SELECT *, ? AS {RESOURCE_COLUMN} FROM staged", [fetched.name]
        )
        db.execute(
            "INSERT OR REPLACE INTO loads VALUES (?, ?, ?, ?, ?, ?)",
            [table, fetched.name, fetched.sha256, contents.rows, fetched.fetched_at, datetime.now(UTC)],
        )
    return Loaded(table, fetched.name, contents.rows, fetched.sha256, asset)


@task(name="profile", cache_policy=NO_CACHE)
def profile(columns: Sequence[str], contents: Contents) -> list[dict[str, Any]]:
    """Return quality figures of some columns of a file, one object for each; needs no warehouse.

    Parameters
    ----------
    columns: which columns; several of these tasks share a file's columns between them.
    contents: the file, validated.
    """
    with contextlib.closing(duckdb.connect(config=_CONFIG)) as db:
        _stage(db, contents)
        return [figures_of(db, "staged", column) for column in columns]


def figures_of(db: duckdb.DuckDBPyConnection, table: str, column: str) -> dict[str, Any]:
    """Return a column's type, number of nulls, approximate number of values, smallest and largest.

    Parameters
    ----------
    db: an open database.
    table: the table, as SQL.
    column: the column's name.
    """
    name = quoted(column)
    row = db.execute(
        f"SELECT any_value(typeof({name})), count(*), count(*) - count({name}),"
        f" approx_count_distinct({name}), min({name})::VARCHAR, max({name})::VARCHAR FROM {table}"
    ).fetchone()
    kind, rows, nulls, values, least, most = row or (None, 0, 0, 0, None, None)
    return {
        "column": column,
        "type": kind,
        "rows": rows,
        "nulls": nulls,
        "values (about)": values,
        "least": _shortened(least),
        "most": _shortened(most),
    }


def objects(db: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the rows of the statement that was executed last as JSON-ready objects.

    Parameters
    ----------
    db: the connection, as `execute` returns it.
    """
    names = [column[0] for column in db.description or ()]
    return [dict(zip(names, map(_ready, row), strict=True)) for row in db.fetchall()]


def columns_of(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the columns of a table with their types, in order.

    Parameters
    ----------
    db: an open database.
    table: the table, as SQL.
    """
    return {row[0]: row[1] for row in db.execute(f"DESCRIBE {table}").fetchall()}


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(path), config=_CONFIG)
    except duckdb.IOException as wrong:
        # A process that does not know our lock, such as a DuckDB shell.
        if "lock" in str(wrong):
            raise WarehouseBusy(f"{path.name} is open in another process: {wrong}") from None
        raise


@contextlib.contextmanager
def _turn(lock: Path, wait: timedelta) -> Iterator[None]:
    deadline = time.monotonic() + wait.total_seconds()
    with lock.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    seconds = wait.total_seconds()
                    raise WarehouseBusy(f"{lock.name} was not free within {seconds:g} s.") from None
                # A blocking flock has no timeout; jitter keeps waiting processes out of step.
                time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 (spreads load; no secret)
            else:
                yield
                return


def _stage(db: duckdb.DuckDBPyConnection, contents: Contents) -> None:
    """Read the file into the temporary table `staged`, types inferred from all of it."""
    if contents.format == "csv":
        scan = "read_csv(?, header = true, delim = ?, quote = '\"', escape = '\"', sample_size = -1)"
        given = [contents.path, contents.delimiter]
    else:
        scan = "read_json(?, format = 'newline_delimited', sample_size = -1)"
        given = [contents.path]
    try:
        db.execute(f"CREATE OR REPLACE TEMP TABLE staged AS SELECT * FROM {scan}", given)
    except (duckdb.InvalidInputException, duckdb.ConversionException) as wrong:
        raise InvalidFile(f"DuckDB cannot read it: {str(wrong).splitlines()[0]}") from None
    read = db.execute("SELECT count(*) FROM staged").fetchone()
    if read is None or read[0] != contents.rows:
        raise InvalidFile(f"{contents.rows} rows were validated, but DuckDB reads {read and read[0]}")


def _fit_columns(db: duckdb.DuckDBPyConnection, target: str) -> None:
    """Make the table, or give it the columns that it lacks, and check that the values fit the others."""
    db.execute(
        f"CREATE TABLE IF NOT EXISTS {target} AS"
        f" SELECT *, NULL::VARCHAR AS {RESOURCE_COLUMN} FROM staged LIMIT 0"
    )
    there = {name.casefold(): kind for name, kind in columns_of(db, target).items()}
    for name, kind in columns_of(db, "staged").items():
        wanted = there.get(name.casefold())
        if wanted is None:
            db.execute(f"ALTER TABLE {target} ADD COLUMN {quoted(name)} {kind}")
        elif wanted != kind:
            # DuckDB would round a 1.5 into an integer column, so a value has to survive the way back.
            column = quoted(name)
            misfit = db.execute(
                f"SELECT {column}::VARCHAR FROM staged WHERE {column} IS NOT NULL"
                f" AND TRY_CAST(TRY_CAST({column} AS {wanted}) AS {kind}) IS DISTINCT FROM {column} LIMIT 1"
            ).fetchone()
            if misfit is not None:
                raise InvalidFile(
                    f"column {name!r} of {target} is {wanted}; {_shortened(misfit[0])!r} does not fit it"
                )


def _ready(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _shortened(value: str | None, most: int = 80) -> str | None:
    return value if value is None or len(value) <= most else value[: most - 1] + "…"
