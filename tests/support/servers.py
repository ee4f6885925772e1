"""Real processes for tests: started on free loopback ports, waited for by signal, always stopped."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_http(url: str, process: subprocess.Popen[bytes], log: Path, timeout_seconds: float = 60) -> None:
    """Return once `url` answers 200; fail with the log's end when the process ends or time runs out."""
    deadline = time.monotonic() + timeout_seconds
    with httpx.Client(timeout=2) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise AssertionError(
                    f"{url}: process ended with {process.returncode}\n{log.read_text()[-4000:]}"
                )
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).status_code == 200:
                    return
            # The process gives no other signal of readiness; poll its health endpoint.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
    raise AssertionError(f"{url} did not answer within {timeout_seconds} s\n{log.read_text()[-4000:]}")


@dataclass
class PrefectServer:
    """A real Prefect server in a process of its own, with its own folder and port.

    `stop()`, `kill()` (SIGKILL) and `start()` again keep the same port and database. It is started as
    `up` starts it; `stock` is how Prefect does, which on SQLite stands still for a minute now and then
    (decision 0004).
    """

    home: Path
    port: int = field(default_factory=free_port)
    extra_env: Mapping[str, str] = field(default_factory=dict)
    stock: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def env(self) -> dict[str, str]:
        """The environment for a process that talks to this server."""
        return {
            **os.environ,
            "PREFECT_API_URL": self.api_url,
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            **self.extra_env,
        }

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    def start(self) -> PrefectServer:
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect" if self.stock else "hookline.prefect_server",
                 "server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui"],
                env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_for_http(f"{self.api_url}/health", self.process, self.log)
        return self

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)


@contextlib.contextmanager
def running_prefect(home: Path, *, stock: bool = False, **extra_env: str) -> Iterator[PrefectServer]:
    """Start a Prefect server and stop it at the end, whatever happened."""
    server = PrefectServer(home, extra_env=extra_env, stock=stock)
    try:
        yield server.start()
    finally:
        server.stop()
