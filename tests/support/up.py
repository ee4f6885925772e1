"""`hookline up` as a user runs it: a process in a project's folder, read by what it prints and leaves."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.servers import free_port

REPOSITORY = Path(__file__).parents[2]
HOOKLINE = [sys.executable, "-P", "-m", "hookline"]


def until(condition: Callable[[], Any], what: str, timeout_seconds: float = 30) -> Any:
    """Return the first true value of a condition that another process brings about, which sends no signal."""
    deadline = time.monotonic() + timeout_seconds
    pause = threading.Event()
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_seconds} s")
        pause.wait(0.05)


@dataclass
class Up:
    """A running `hookline up`.

    Parameters
    ----------
    project: the working directory.
    data: the data folder.
    """

    project: Path
    data: Path
    port: int = field(default_factory=free_port)
    prefect_port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None
    lines: list[str] = field(default_factory=list)
    _queue: queue.Queue[str | None] = field(default_factory=queue.Queue)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}/api"

    @property
    def home(self) -> Path:
        """A home folder of its own, so that a test can see that nothing is put there."""
        return self.data.parent / "home"

    @property
    def env(self) -> dict[str, str]:
        """The environment: that of the tests, without settings that belong to them or their machine."""
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HOOKLINE_", "PREFECT_"))
        }
        return env | {
            "HOME": str(self.home),
            "HOOKLINE_DATA": str(self.data),
            "HOOKLINE_PORT": str(self.port),
            "HOOKLINE_PREFECT_PORT": str(self.prefect_port),
        }

    def start(self, *arguments: str) -> Up:
        """Start it; `wait_for` tells when it is ready."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*HOOKLINE, "up", *arguments], cwd=self.project, env=self.env, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        return self

    def wait_for(self, text: str, timeout_seconds: float = 90) -> str:
        """Return the next line that holds a text.

        Raises
        ------
        AssertionError: the process ended first, or time ran out.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"{text!r} was not printed in {timeout_seconds} s:\n{self.output}"
                ) from None
            if line is None:
                raise AssertionError(f"up ended before it printed {text!r}:\n{self.output}")
            if text in line:
                return line

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `hookline` command beside it, to its end."""
        return subprocess.run(
            [*HOOKLINE, *arguments], cwd=self.project, env=self.env, text=True, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what it runs, by name."""
        pids: dict[str, int] = json.loads((self.data / "up.json").read_text())["processes"]
        return pids

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send it a signal and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=45)

    def leftovers(self) -> dict[int, str]:
        """Return the processes that belong to this system: those with its data folder in their variables."""
        mark = f"HOOKLINE_DATA={self.data}".encode()
        found: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        return found

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._queue.put(self.lines[-1])
        self._queue.put(None)


@contextlib.contextmanager
def running_up(project: Path, data: Path) -> Iterator[Up]:
    """Give a `hookline up` that is ready to be started, and stop what is left of it at the end."""
    up = Up(project, data)
    try:
        yield up
    finally:
        if up.process is not None and up.process.poll() is None:
            up.stop(signal.SIGTERM)


def copy_project(target: Path) -> Path:
    """Copy the project that this repository is, without the engine, and return its folder."""
    for name in ("flows", "tasks", "deployments"):
        shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "prefect.yaml", target / "prefect.yaml")
    return target


def runs_of(api: str, event_id: str) -> list[dict[str, Any]]:
    """Return the flow runs that carry an event's tag, by Prefect's own API."""
    asked = httpx.post(
        f"{api}/flow_runs/filter", json={"flow_runs": {"tags": {"all_": [f"event:{event_id}"]}}}, timeout=20
    )
    found: list[dict[str, Any]] = asked.raise_for_status().json()
    return found
