"""Transactions of Prefect's server on SQLite take turns: none fails because another wrote in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from hookline.prefect_server import transactions

STOCK = AioSqliteConfiguration.begin_transaction
PATIENCE_SECONDS = 20


class Counter:
    """A database of Prefect's kind with one number in it."""

    def __init__(self, configuration: AioSqliteConfiguration) -> None:
        self._configuration = configuration

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        engine = await self._configuration.engine()
        async with (
            await self._configuration.session(engine) as session,
            self._configuration.begin_transaction(session),
        ):
            yield session

    async def read(self, session: AsyncSession) -> int:
        return int((await session.execute(sa.text("SELECT value FROM counter"))).scalar_one())

    async def write(self, session: AsyncSession, value: int) -> None:
        await session.execute(sa.text("UPDATE counter SET value = :value"), {"value": value})

    async def fail_after_writing(self) -> None:
        async with self.transaction() as session:
            await self.write(session, 9)
            raise RuntimeError("on purpose")


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    """Give a counter that stands at 0."""
    configuration = AioSqliteConfiguration(connection_url=f"sqlite+aiosqlite:///{tmp_path}/prefect.db")
    engine = await configuration.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE counter (value INTEGER)"))
        await connection.execute(sa.text("INSERT INTO counter VALUES (0)"))
    yield Counter(configuration)
    await engine.dispose()


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transactions take turns for one test."""
    monkeypatch.setattr(AioSqliteConfiguration, "begin_transaction", STOCK)
    transactions.take_turns()


async def test_stock_refuses_who_has_read_before_another_wrote(counter: Counter) -> None:
    """What is mended: with Prefect's own transactions that one fails at once, and its request is a 503."""
    async with counter.transaction() as first:
        value = await counter.read(first)
        async with counter.transaction() as second:
            await counter.write(second, 1)
        with pytest.raises(OperationalError, match="locked"):
            await counter.write(first, value + 1)


@pytest.mark.usefixtures("turns")
async def test_two_that_read_and_then_write_both_succeed(counter: Counter) -> None:
    """The second begins only once the first is committed, so it reads what the first wrote."""
    first_has_read, second_wants_to_begin = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with counter.transaction() as session:
            value = await counter.read(session)
            first_has_read.set()
            await second_wants_to_begin.wait()
            await counter.write(session, value + 1)

    async def second() -> None:
        await first_has_read.wait()
        second_wants_to_begin.set()
        async with counter.transaction() as session:
            await counter.write(session, await counter.read(session) + 1)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(first(), second())
        async with counter.transaction() as session:
            assert await counter.read(session) == 2


@pytest.mark.usefixtures("turns")
async def test_a_transaction_within_another_does_not_wait_for_it(counter: Counter) -> None:
    """A reader that begins inside a transaction goes on: to wait for the turn would be for ever."""
    async with asyncio.timeout(PATIENCE_SECONDS), counter.transaction(), counter.transaction() as inner:
        assert await counter.read(inner) == 0


@pytest.mark.usefixtures("turns")
async def test_the_turn_passes_on_when_a_transaction_fails(counter: Counter) -> None:
    """A transaction that raises is rolled back, and the next one begins."""
    with pytest.raises(RuntimeError, match="on purpose"):
        await counter.fail_after_writing()
    async with asyncio.timeout(PATIENCE_SECONDS), counter.transaction() as session:
        assert await counter.read(session) == 0
