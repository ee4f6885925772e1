"""Opening the inbox's database and bringing its schema up to date."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool, StaticPool

from hookline.errors import InboxError
from hookline.inbox.chain import link_hash
from hookline.private_files import make_private_file

#: Another process may hold the write lock for a while (a backup, a vacuum); wait, then say so. Senders
#: wait as long, and most of them give up after 10 seconds.
BUSY_TIMEOUT_SECONDS = 5
READERS = 4

# Alembic keeps what it works on in its modules.
_one_migration = threading.Lock()


def inbox_url(address: str) -> URL:
    """Return the inbox's address with the driver that the inbox uses.

    Raises
    ------
    InboxError: not an SQLite or PostgreSQL address.
    """
    try:
        url = make_url(address)
    except SQLAlchemyError:
        raise InboxError(
            "HOOKLINE_DATABASE is not an SQLAlchemy address; write sqlite:////folder/inbox.db"
            " or postgresql://user@host/name"
        ) from None
    match url.get_backend_name():
        case "sqlite":
            return url.set(drivername="sqlite")
        case "postgresql":
            return url.set(drivername="postgresql+psycopg")
        case other:
            raise InboxError(f"HOOKLINE_DATABASE is {other}; the inbox works on sqlite and postgresql")


def is_in_memory(url: URL) -> bool:
    """Return whether the database is gone with its connection."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def open_engine(url: URL, *, writing: bool) -> Engine:
    """Return an engine for the inbox: one connection for the writer, a few for readers."""
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url, writing=writing)
    return _open_postgresql(url, writing=writing)


def _open_postgresql(url: URL, *, writing: bool) -> Engine:
    engine = create_engine(
        url,
        # What a reader reads belongs to one moment, as it does in SQLite.
        isolation_level="READ COMMITTED" if writing else "REPEATABLE READ",
        pool_size=1 if writing else READERS,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_SECONDS}s'")
            # A 202 is a promise, whatever the server's default is; stronger settings stay.
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone()[0] == "off":
                cursor.execute("SET synchronous_commit = on")
        connection.commit()

    return engine


def _open_sqlite(url: URL, *, writing: bool) -> Engine:
    in_memory = is_in_memory(url)
    if not in_memory:
        database = str(url.database)
        # SQLite gives its log and its index the permissions of the database, when it makes them.
        for path in (database, f"{database}-wal", f"{database}-shm"):
            if path == database or Path(path).exists():
                make_private_file(Path(path))
    pool: dict[str, Any] = (
        {"poolclass": StaticPool}
        if in_memory
        # The writer's and the checkpointer's connection, or those of the readers.
        else {"poolclass": QueuePool, "pool_size": 2 if writing else READERS, "max_overflow": 0}
    )
    arguments = {
        "timeout": BUSY_TIMEOUT_SECONDS,
        "check_same_thread": False,
        # Recording has a statement for each number of rows; see recording.py.
        "cached_statements": 512,
    }
    engine = create_engine(url, connect_args=arguments, **pool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # We say BEGIN ourselves; the driver would begin late and deferred.
        connection.isolation_level = None
        connection.create_function("chain_hash", 2, link_hash, deterministic=True)
        for pragma in (
            # Takes effect on an empty database only; retention then gives space back in small steps.
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            # A 202 is a promise: every commit is on the disk, not in the operating system's cache.
            "synchronous=FULL",
            "cache_size=-32000",
            "temp_store=MEMORY",
            # A log that is written over costs less than one that grows.
            "journal_size_limit=268435456",
            # The writer does not checkpoint in the middle of a commit; see checkpointing.py.
            "wal_autocheckpoint=0" if writing else "wal_autocheckpoint=1000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # The writer has begun by itself; see writer.py. What else writes takes the lock at once, as it does.
        if not connection.connection.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the database to the newest schema; safe to call from several processes at once.

    Parameters
    ----------
    revision: an older one, for tests of what comes after it.

    Raises
    ------
    InboxError: the database cannot be opened or migrated.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    try:
        with _one_migration, engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                # Several gateways may start together: one migrates, the others wait for it.
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4280)")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except SQLAlchemyError as failed:
        where = engine.url.render_as_string(hide_password=True)
        raise InboxError(f"The inbox at {where} cannot be opened: {failed.__cause__ or failed}") from failed
