"""A whole Hookline on free ports, started as `hookline up` does; each of its processes can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hookline.cli import services
from hookline.cli.services import Plan
from hookline.settings import Settings
from hookline.supervisor import Service
from tests.support.servers import free_port
from tests.support.waiting import eventually

REPOSITORY = Path(__file__).parents[2]
#: Prefect's server, which makes its database when it starts for the first time.
PATIENCE_SECONDS = 120


async def _ask(service: Service) -> bool:
    return await service.ready()


async def _always() -> bool:
    return True


@dataclass
class Process:
    """One process of the system; `kill` is SIGKILL, and `start` starts it again."""

    service: Service
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, wait: bool = True) -> None:
        self.service.log.parent.mkdir(parents=True, exist_ok=True)
        with self.service.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.service.command, cwd=self.folder, env=dict(self.service.env), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if wait:
            self.await_ready()

    def await_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.service.name} left with {self.process.returncode}:\n{self.tail()}")
            return asyncio.run(_ask(self.service))

        eventually(ready, f"{self.service.name} is ready", PATIENCE_SECONDS)

    def kill(self) -> None:
        """Kill the process itself and nothing of what it started, as the kernel does when memory runs out."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
            self.deaths += 1

    def stop(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        # What it may have left in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def log_text(self) -> str:
        return self.service.log.read_text(errors="replace")

    def tail(self) -> str:
        return self.log_text()[-3000:]


@dataclass
class System:
    """Prefect's server, the gateway and a warm worker, on SQLite.

    Parameters
    ----------
    folder: everything is in it.
    project: the project that is deployed; it is copied.
    extra: environment of all processes.
    gateway_extra: environment of the gateway alone.
    worker_options: what `hookline worker` gets besides the pool.
    """

    folder: Path
    project: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    gateway_extra: Mapping[str, str] = field(default_factory=dict)
    worker_options: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        self.place = self.folder / "project"
        settings = Settings(data=self.data, port=free_port(), prefect_port=free_port())
        self.plan = Plan(settings, None, {})
        self.server = self._process(services.server(self.plan), self.extra)
        self.gateway = self._process(services.gateway(self.plan, []), {**self.extra, **self.gateway_extra})
        worker = services.worker(self.plan)
        self.worker = self._process(worker, self.extra, (*worker.command, *self.worker_options))

    def _process(self, service: Service, extra: Mapping[str, str], command: Sequence[str] = ()) -> Process:
        env = {
            **{name: value for name, value in service.env.items() if not name.startswith("HOOKLINE_")},
            **{name: service.env[name] for name in ("HOOKLINE_DATA", "HOOKLINE_URL")},
            "HOOKLINE_PORT": str(self.plan.settings.port),
            # Beside the data folder, so that a test may spoil one without the other.
            "PREFECT_HOME": str(self.folder / "prefect"),
            # The engine under test is the one beside these tests.
            "PYTHONPATH": str(REPOSITORY),
            **extra,
        }
        log = self.folder / "logs" / service.log.name
        # The worker is not waited for: it may be started while the server is away, and then waits itself.
        ready = _always if service.log.name == "worker.log" else service.ready
        service = Service(
            name=service.name, command=command or service.command, env=env, log=log, ready=ready
        )
        return Process(service, self.place)

    @property
    def url(self) -> str:
        return self.plan.settings.gateway_url

    @property
    def api(self) -> str:
        return self.plan.prefect_api

    @property
    def inbox(self) -> Path:
        return self.data / "inbox.db"

    @property
    def processes(self) -> dict[str, Process]:
        return {"server": self.server, "gateway": self.gateway, "worker": self.worker}

    def start(self, deploy: Callable[[System], None] | None = None) -> System:
        """Start the server, deploy the project, then start the rest.

        Parameters
        ----------
        deploy: does what `hookline deploy` would, whose processes take some seconds.
        """
        if not self.place.exists():
            shutil.copytree(self.project, self.place, ignore=shutil.ignore_patterns("__pycache__"))
        self.gateway.start(wait=False)
        self.server.start()
        (deploy or _deploy)(self)
        self.worker.start()
        self.gateway.await_ready()
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `hookline` command to its end."""
        return subprocess.run(
            [*services.HOOKLINE, *arguments], cwd=self.place, env=dict(self.gateway.service.env),
            text=True, capture_output=True, timeout=180, check=False,
        )  # fmt: skip

    def stop(self) -> None:
        for process in (self.worker, self.gateway, self.server):
            process.stop()


def _deploy(system: System) -> None:
    done = system.run("deploy", "--create-pool")
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def running_system(system: System, deploy: Callable[[System], None] | None = None) -> Iterator[System]:
    """Start a system and stop all of it at the end, whatever happened."""
    try:
        yield system.start(deploy)
    finally:
        system.stop()


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of these tests in a process of its own."""
    return (sys.executable, "-P", "-m", module, *arguments)
