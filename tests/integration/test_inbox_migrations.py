"""Migrations arrive at the schema that `hookline/inbox/schema.py` says, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, inspect, text

import hookline.lineage.schema  # noqa: F401 (adds the tables of lineage to the metadata)
from hookline.event import new_id
from hookline.inbox import Inbox
from hookline.inbox.engine import inbox_url, migrate, open_engine
from hookline.inbox.schema import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'inbox.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def migrated(address: str) -> Iterator[Engine]:
    engine = open_engine(inbox_url(address), writing=True)
    migrate(engine)
    yield engine
    engine.dispose()


def partial_indexes(connection: Connection) -> dict[str, Any]:
    """Return the partial indexes with their conditions, which Alembic does not compare."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'")
        )
    else:
        rows = connection.execute(
            text("SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '% WHERE %'")
        )
    return {name: sql.partition(" WHERE ")[2] for name, sql in rows}


def test_migrations_arrive_at_the_schema(migrated: Engine) -> None:
    """Tables, columns, types and indexes."""
    with migrated.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False}
        )
        assert compare_metadata(context, metadata) == []


def test_partial_indexes_have_their_conditions(migrated: Engine, tmp_path: Path, request: Any) -> None:
    """As many, by the same names, with the same conditions as tables that are made of the schema itself."""
    with migrated.connect() as connection:
        found = partial_indexes(connection)
        connection.rollback()
        if connection.dialect.name == "sqlite":
            made = create_engine(f"sqlite:///{tmp_path / 'made.db'}")
            metadata.create_all(made)
        else:
            with request.getfixturevalue("postgres_server").database() as url:
                made = create_engine(inbox_url(url))
                metadata.create_all(made)
                with made.connect() as other:
                    wanted = partial_indexes(other)
                made.dispose()
                assert found == wanted
                return
    with made.connect() as other:
        assert found == partial_indexes(other)
    made.dispose()


def test_tables_without_rowids_have_none(migrated: Engine) -> None:
    """SQLite keeps events and dispatches in order of their ids, and nowhere else."""
    if migrated.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has no such thing")
    with migrated.connect() as connection:
        for name in ("events", "dispatches"):
            sql = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": name})
            assert "WITHOUT ROWID" in str(sql)
        assert connection.scalar(text("PRAGMA auto_vacuum")) == 2


async def test_several_gateways_may_start_together(address: str) -> None:
    """One migrates, the others wait for it."""

    async def start() -> int:
        async with Inbox.open(address) as inbox:
            return (await inbox.trigger_set())[0]

    assert await asyncio.gather(*(start() for _ in range(4))) == [0] * 4


def test_migrating_again_changes_nothing(migrated: Engine) -> None:
    """A gateway that starts again finds the schema as it is."""
    before = inspect(migrated).get_table_names()
    migrate(migrated)
    assert inspect(migrated).get_table_names() == before


async def test_an_earlier_version_may_go_on_writing(address: str) -> None:
    """While gateways are replaced one by one: what it writes leaves out the columns that it does not know."""
    engine = open_engine(inbox_url(address), writing=True)
    migrate(engine)
    event_id = new_id()
    row = {
        "id": event_id, "door": "events/local", "source": "local", "type": "order.paid", "time_us": 1,
        "accepted_us": 1, "status": "accepted", "digest": b"0" * 16, "size": 0, "traceparent": "00-1",
    }  # fmt: skip
    names = ", ".join(row)
    with engine.begin() as connection:
        values = names.replace(", ", ", :")
        connection.execute(text(f"INSERT INTO events ({names}) VALUES (:{values})"), row)  # noqa: S608 # ours
    engine.dispose()
    async with Inbox.open(address) as inbox:
        stored = await inbox.event(event_id)
    assert stored is not None
    assert (stored.traceparent, stored.tracestate) == ("00-1", None)
