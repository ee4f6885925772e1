"""One deploy at a time, over all processes and machines that share an inbox."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from hookline.errors import InboxError
from hookline.inbox.engine import inbox_url, is_in_memory
from hookline.private_files import make_private_file

#: A lock gives no signal when it is free; it is asked for again this often.
POLL_SECONDS = 0.2
#: Beside 4280, which is that of migrations.
_ADVISORY = 4281

_Try = Callable[[], bool]


@contextlib.asynccontextmanager
async def deploy_lock(address: str, waiting: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """Hold the lock of an inbox's deploys; it ends with its process, or with its connection.

    Parameters
    ----------
    address: the inbox's SQLAlchemy address.
    waiting: called once where another deploy is under way.

    Raises
    ------
    InboxError: the address or the folder cannot be used, or the database does not answer.
    """
    url = inbox_url(address)
    if is_in_memory(url):
        yield
        return
    lock = _file_lock if url.get_backend_name() == "sqlite" else _session_lock
    with lock(url) as take:
        told = False
        while not await asyncio.to_thread(take):
            if not told:
                waiting()
                told = True
            await asyncio.sleep(POLL_SECONDS)
        yield


@contextlib.contextmanager
def _file_lock(url: URL) -> Iterator[_Try]:
    path = Path(f"{url.database}.deploy-lock")
    make_private_file(path)
    handle = os.open(path, os.O_RDWR)

    def take() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield take
    finally:
        os.close(handle)


@contextlib.contextmanager
def _session_lock(url: URL) -> Iterator[_Try]:
    """Take an advisory lock of PostgreSQL's, which belongs to the connection."""
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"connect_timeout": 5}
    )
    connection: Connection | None = None

    def take() -> bool:
        nonlocal connection
        try:
            connection = connection or engine.connect()
            return bool(connection.scalar(text(f"SELECT pg_try_advisory_lock({_ADVISORY})")))
        except SQLAlchemyError as failed:
            where = url.render_as_string(hide_password=True)
            raise InboxError(f"The inbox at {where} cannot be opened: {failed.__cause__ or failed}") from None

    try:
        yield take
    finally:
        # The lock goes with the session.
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.close()
        engine.dispose()
