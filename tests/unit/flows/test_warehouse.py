"""Loading into DuckDB: again and again, side by side, and when a process dies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.files import Contents, InvalidFile, validate
from tasks.resources import Fetched, Resource
from tasks.settings import task_settings
from tasks.warehouse import Loaded, WarehouseBusy, load_file, objects, profile, transaction

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def warehouse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("HOOKLINE_DATA", str(tmp_path))
    task_settings.cache_clear()
    yield task_settings().warehouse
    task_settings.cache_clear()


def valid(content: str, name: str = "orders.csv", at: datetime = NOON) -> tuple[Contents, Fetched]:
    """Put a file on disk as `fetch` would, and check it as `validate` would."""
    path = task_settings().data / f"{at:%H%M%S}-{name}"
    path.write_text(content)
    resource = Resource(url=f"https://files.example/{name}")
    fetched = Fetched(str(path), resource.name, len(content), "0" * 64, at)
    return validate.fn(resource, fetched), fetched


def load(content: str, name: str = "orders.csv", at: datetime = NOON) -> Loaded:
    return load_file("orders", *valid(content, name, at))


@contextlib.contextmanager
def process(code: str) -> Iterator[subprocess.Popen[str]]:
    """Start an interpreter, give it once it says `ready`; at the end give it a line, and wait for it."""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "HOOKLINE_DATA": str(task_settings().data)},
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.communicate("\n", timeout=30)


READY = "print('ready', flush=True)"


def rows(query: str = "SELECT * EXCLUDE _resource FROM raw.orders ORDER BY ALL") -> list[dict[str, Any]]:
    with transaction() as db:
        return objects(db.execute(query))


def test_a_file_becomes_a_table_with_typed_columns() -> None:
    loaded = load("id,paid_on,amount\n1,2026-01-02,1.5\n2,,\n")
    assert (loaded.table, loaded.rows, loaded.asset) == ("orders", 2, "duckdb://warehouse/raw/orders")
    assert rows() == [
        {"id": 1, "paid_on": "2026-01-02", "amount": 1.5},
        {"id": 2, "paid_on": None, "amount": None},
    ]


def test_loading_again_replaces_what_the_resource_gave_and_nothing_else() -> None:
    load("id\n1\n2\n")
    load("id\n9\n", name="others.csv")
    for _ in range(2):
        load("id\n2\n3\n")
    assert rows() == [{"id": 2}, {"id": 3}, {"id": 9}]


def test_a_fetch_that_was_overtaken_leaves_the_later_rows() -> None:
    """Two runs for one file may finish in the other order."""
    load("id\n2\n3\n", at=NOON + timedelta(seconds=1))
    late = load("id\n1\n", at=NOON)
    assert late.superseded
    assert late.rows == 2
    assert rows() == [{"id": 2}, {"id": 3}]


def test_new_columns_are_added_and_missing_ones_stay_empty() -> None:
    load("id,name\n1,a\n")
    load("ID,colour\n2,red\n", name="others.csv")
    assert rows() == [{"id": 1, "name": "a", "colour": None}, {"id": 2, "name": None, "colour": "red"}]


def test_values_of_another_type_are_taken_where_nothing_is_lost() -> None:
    load("id,name\n1,a\n")
    load("id,name\n2,7\n", name="others.csv")
    assert rows() == [{"id": 1, "name": "a"}, {"id": 2, "name": "7"}]


@pytest.mark.parametrize("value", ["1.5", "seven"])
def test_values_that_do_not_fit_their_column_are_refused_and_nothing_changes(value: str) -> None:
    """DuckDB itself would make a 2 of the 1.5."""
    load("id\n1\n")
    with pytest.raises(InvalidFile, match=f"'id' of raw.\"orders\" is BIGINT; '{value}' does not fit"):
        load(f"id,new\n{value},x\n", name="others.csv")
    assert rows() == [{"id": 1}]


def test_ndjson_is_loaded_with_what_it_nests() -> None:
    load_file("orders", *valid('{"id": 1, "to": {"city": "Bonn"}}\n{"id": 2}\n', "orders.ndjson"))
    assert rows() == [{"id": 1, "to": {"city": "Bonn"}}, {"id": 2, "to": None}]


def test_column_names_are_only_names() -> None:
    load('id,"a"" FROM x; DROP TABLE loads; --"\n1,2\n')
    assert rows("SELECT count(*) AS loads FROM loads") == [{"loads": 1}]
    assert list(rows()[0]) == ["id", 'a" FROM x; DROP TABLE loads; --']


def test_figures_tell_of_each_column() -> None:
    contents, _ = valid("id,name\n1,b\n2,\n3,a\n")
    assert profile.fn(["id", "name"], contents) == [
        {"column": "id", "type": "BIGINT", "rows": 3, "nulls": 0, "values (about)": 3,
         "least": "1", "most": "3"},
        {"column": "name", "type": "VARCHAR", "rows": 3, "nulls": 1, "values (about)": 2,
         "least": "a", "most": "b"},
    ]  # fmt: skip


def test_an_error_rolls_everything_back() -> None:
    load("id\n1\n")
    with pytest.raises(RuntimeError, match="in the middle"), transaction() as db:  # noqa: PT012 (the point)
        db.execute("DELETE FROM raw.orders")
        raise RuntimeError("in the middle")
    assert rows() == [{"id": 1}]


def test_waiting_for_the_warehouse_has_an_end() -> None:
    with (
        transaction(),
        pytest.raises(WarehouseBusy, match="not free within"),
        transaction(wait=timedelta(seconds=0.1)),
    ):
        raise AssertionError("two transactions at once")


def test_a_program_that_holds_the_file_makes_the_warehouse_busy(warehouse: Path) -> None:
    """A database shell does not know our lock; DuckDB's own says no, and Prefect tries again."""
    load("id\n1\n")
    with (
        process(f"import duckdb; db = duckdb.connect({str(warehouse)!r}); {READY}; input()"),
        pytest.raises(WarehouseBusy, match="open in another process"),
    ):
        load("id\n2\n")
    load("id\n2\n")
    assert rows() == [{"id": 2}]


def test_processes_that_load_at_once_take_turns() -> None:
    """Each loads its own file three times over; in the end each row is there once."""
    load("id\n0\n")
    code = f"""
from tests.unit.flows.test_warehouse import load
{READY}
for _ in range(3):
    load("id\\n" + "\\n".join(map(str, range({{first}}, {{first}} + 500))), "{{first}}.csv")
"""
    with process(code.format(first=1000)) as one, process(code.format(first=2000)) as other, transaction():
        pass  # both have come to the lock, which this process holds
    assert (one.returncode, other.returncode) == (0, 0)
    counted = rows("SELECT count(*) AS rows, count(DISTINCT id) AS ids FROM raw.orders")
    assert counted == [{"rows": 1001, "ids": 1001}]


def test_a_process_that_is_killed_while_loading_leaves_no_trace() -> None:
    """The lock is free again, and none of its rows is there."""
    load("id\n1\n")
    code = """
from tasks.warehouse import transaction
with transaction() as db:
    db.execute("INSERT INTO raw.orders (id) SELECT range FROM range(100000)")
    print("ready", flush=True)
    input()
"""
    with process(code) as child:
        child.kill()
    load("id\n2\n")
    assert rows() == [{"id": 2}]
