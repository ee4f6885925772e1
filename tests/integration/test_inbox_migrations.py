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
from hookline.event import new_id, now
from hookline.inbox import Inbox
from hookline.inbox.engine import inbox_url, migrate, open_engine
from hookline.inbox.proving import prove
from hookline.inbox.records import id_at, to_micros
from hookline.inbox.schema import metadata
from tests.support.inboxes import draft


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


async def test_what_an_older_version_wrote_is_told_apart(address: str) -> None:
    """Before the chain it is counted, and one less is noticed; beside it, one has to say until when."""
    engine = open_engine(inbox_url(address), writing=True)
    migrate(engine, "0004")
    at_us = to_micros(now())
    with engine.begin() as connection:
        for number in range(3):
            _write_as_before(connection, id_at(at_us + number), at_us + number)
    migrate(engine)
    async with Inbox.open(address) as inbox:
        await inbox.record(draft("sent"))
        found = await inbox.read(prove)
        assert (found.before, found.covered, found.faults) == (3, 1, ())

        later_us = to_micros(now())
        await inbox.write(lambda c: _write_as_before(c, id_at(later_us), later_us))
        assert (await inbox.read(prove)).faults
        beside = await inbox.read(lambda c: prove(c, older_until=now()))
        assert (beside.before, beside.covered, beside.faults) == (4, 1, ())

        await inbox.write(
            lambda c: c.execute(text("DELETE FROM events WHERE accepted_us = :at"), {"at": at_us})
        )
        await inbox.write(lambda c: c.execute(text("UPDATE counters SET value = value - 1")))
        assert (await inbox.read(lambda c: prove(c, older_until=now()))).faults
    engine.dispose()


def _write_as_before(connection: Connection, event_id: str, at_us: int) -> None:
    """Accept an event with the statements of the version before, which names all of its columns."""
    connection.execute(
        text(
            "INSERT INTO events (id, door, source, type, time_us, accepted_us, status, digest, size)"
            " VALUES (:id, 'd', 's', 't', :at, :at, 'accepted', :digest, 2)"
        ),
        {"id": event_id, "at": at_us, "digest": b"x"},
    )
    connection.execute(
        text(
            "INSERT INTO counters (name, shard, value) VALUES ('received', 0, 1)"
            " ON CONFLICT (name, shard) DO UPDATE SET value = counters.value + 1"
        )
    )
