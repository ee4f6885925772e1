"""A statement of Prefect's server on SQLite gives what the adapter gives, in one visit to its thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_cursor
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from hookline.prefect_server import statements

_Cursor = AsyncAdapt_aiosqlite_cursor
WAYS = {
    "stock": (_Cursor.execute, _Cursor.executemany),
    "once": (statements._execute, statements._execute_many),
}


def go(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in zip(("execute", "executemany"), WAYS[way], strict=True):
        monkeypatch.setattr(_Cursor, name, method)


async def what_happens(folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], int]:
    """Return what statements of all kinds gave, and how often the connection's thread was visited."""
    go(way, monkeypatch)
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / way}.db")
    seen: list[Any] = []
    async with engine.connect() as connection:
        visits = await _count_visits(connection)
        await connection.execute(text("CREATE TABLE kept (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"))
        for name in ("a", "b"):
            made = await connection.execute(text("INSERT INTO kept (name) VALUES (:name)"), {"name": name})
            seen += [made.rowcount, made.lastrowid]
        many = text("INSERT INTO kept (name) VALUES (:name)")
        made = await connection.execute(many, [{"name": name} for name in "cde"])
        seen.append(made.rowcount)
        with pytest.raises(IntegrityError) as twice:
            await connection.execute(many, [{"name": name} for name in "fc"])
        seen.append(str(twice.value.orig))
        found = await connection.execute(text("SELECT id, name FROM kept ORDER BY id"))
        seen += [tuple(found.keys()), [tuple(row) for row in found]]
        seen.append((await connection.execute(text("UPDATE kept SET name = name || '!'"))).rowcount)
        returned = await connection.execute(text("DELETE FROM kept WHERE id = 1 RETURNING name"))
        seen.append(returned.scalars().all())
        for wrong in ("INSERT INTO kept (name) VALUES ('b!')", "SELECT nothing FROM nowhere"):
            with pytest.raises((IntegrityError, OperationalError)) as refused:
                await connection.execute(text(wrong))
            seen.append((type(refused.value), str(refused.value.orig)))
        async with connection.stream(text("SELECT name FROM kept")) as rows:
            seen.append([row.name async for row in rows])
        total = visits()
    await engine.dispose()
    return seen, total


async def _count_visits(connection: AsyncConnection) -> Any:
    raw: Any = (await connection.get_raw_connection()).driver_connection
    put, count = raw._tx.put_nowait, 0

    class Counted:
        def put_nowait(self, item: Any) -> None:
            nonlocal count
            count += 1
            put(item)

    raw._tx = Counted()
    return lambda: count


async def test_results_and_errors_are_those_of_the_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, counts, names, errors, and rows that are read little by little."""
    stock, visits_of_stock = await what_happens(tmp_path, "stock", monkeypatch)
    once, visits = await what_happens(tmp_path, "once", monkeypatch)
    assert once == stock
    assert visits < visits_of_stock / 2
