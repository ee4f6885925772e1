"""Fixtures that every test may use. A Prefect server is started once a session, and only if asked for."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.servers import PrefectServer, running_prefect

pytest_plugins = ["tests.support.postgres"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A script's `&` ignores it, which is inherited; and Prefect's worker, asked to stop, sends itself one.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Give a real Prefect server, shared by the session: name things uniquely in it."""
    with running_prefect(tmp_path_factory.mktemp("prefect")) as server:
        yield server
