"""The arms that are compared: Hookline, `serve` and the process worker, on one Prefect server, in turn."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import httpx

from benches._processes import Tree, command
from hookline.cli import services
from tests.support.prefect import PrefectHttp
from tests.support.system import REPOSITORY, Process, System

PROJECT = REPOSITORY / "benches" / "flows_under_test"
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
LOOK_SECONDS = 0.5
READY_SECONDS = 90.0

Name = Literal["hookline", "serve", "process"]
TITLES: dict[Name, str] = {
    "hookline": "Hookline",
    "serve": "stock `serve`",
    "process": "stock process worker, tuned",
}
#: What deployments and types of events begin with, for each arm.
_PREFIX: dict[Name, str] = {"hookline": "warm", "serve": "serve", "process": "process"}
#: Flows by the last part of the event's type; and what their deployments end with.
_SUFFIX = {"timed": "", "fibos": "-fibo"}
#: The process worker polls as often as it sensibly can; see docs/benchmarks.md.
_TUNED = {"PREFECT_WORKER_QUERY_SECONDS": "0.5"}

_numbers = itertools.count(1)


@contextlib.contextmanager
def bench(folder: Path, extra: Mapping[str, str] | None = None) -> Iterator[Bench]:
    """Give a Prefect server, as `hookline up` starts it, that has the deployments of all arms.

    Parameters
    ----------
    extra: environment of all processes of all arms, such as the server's database.
    """
    system = System(folder, PROJECT, extra=extra or {})
    # Who ends a bench ends what it started: each process has a session of its own, and would stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        system.start()
        system.worker.stop()
        system.gateway.stop()
        made = Bench(system, PrefectHttp(system.api), folder / "ledger.txt")
        made.deploy_stock()
        yield made
    finally:
        system.stop()


@dataclass
class Bench:
    """One Prefect server and what runs flows for it.

    Parameters
    ----------
    system: the server, and Hookline's gateway and worker.
    prefect: the server as somebody outside sees it.
    ledger: where first tasks write the time.
    """

    system: System
    prefect: PrefectHttp
    ledger: Path

    @contextlib.contextmanager
    def arm(self, name: Name, *, limit: int | None = None) -> Iterator[Arm]:
        """Start one arm's processes, let two runs through, and stop the processes at the end.

        No other arm's processes run meanwhile.

        Parameters
        ----------
        limit: how many runs at once, at most; None is what the arm does by itself.
        """
        start = {"hookline": self._hookline, "serve": self._serve, "process": self._process}[name]
        with start(limit) as process:
            arm = Arm(self, name, process)
            for _ in range(2):  # nothing is measured that happens once
                before = arm.count()
                arm.send()
                arm.await_count(before + 1)
            yield arm

    @contextlib.contextmanager
    def _hookline(self, limit: int | None) -> Iterator[int]:
        service = services.worker(self.system.plan)
        options = () if limit is None else ("--limit", str(limit))
        worker = self.system._process(service, self.system.extra, (*service.command, *options))
        self.system.gateway.start()
        try:
            with self._online("warm"):
                worker.start()
            yield worker.pid
        finally:
            worker.stop()
            self.system.gateway.stop()

    @contextlib.contextmanager
    def _serve(self, limit: int | None) -> Iterator[int]:
        extra = {} if limit is None else {"BENCH_LIMIT": str(limit)}
        with self._running("serve", [sys.executable, "serve.py"], extra) as pid:
            await_("`serve` has made its triggers", lambda: self._automations("serve") == len(_SUFFIX))
            yield pid

    @contextlib.contextmanager
    def _process(self, limit: int | None) -> Iterator[int]:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "process"]
        command += [] if limit is None else ["--limit", str(limit)]
        with contextlib.ExitStack() as stack:
            with self._online("process"):
                pid = stack.enter_context(self._running("process", command, _TUNED))
            yield pid

    @contextlib.contextmanager
    def _running(self, name: str, command: list[str], extra: dict[str, str]) -> Iterator[int]:
        with (self.system.folder / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.system.place, env=self.stock_env | extra, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    @contextlib.contextmanager
    def _online(self, pool: str) -> Iterator[None]:
        """Wait at the end for a worker that was not there at the beginning."""

        def heartbeats() -> dict[str, str]:
            rows = self.prefect.post(f"/work_pools/{pool}/workers/filter", {})
            return {row["id"]: row["last_heartbeat_time"] for row in rows}

        before = heartbeats()
        yield
        await_(f"a worker of pool {pool} is online", lambda: heartbeats() != before)

    @property
    def stock_env(self) -> dict[str, str]:
        """The environment of the stock arms: the server's, without Hookline's own variables."""
        env = self.system.server.service.env
        kept = {name: value for name, value in env.items() if not name.startswith("HOOKLINE_")}
        return kept | {"BENCH_PYTHON": sys.executable, "PYTHONPATH": str(self.system.place)}

    def deploy_stock(self) -> None:
        """Deploy the process worker's arm as stock Prefect does."""
        self.prefect.pool("process")
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", "stock.yaml",
             "--all"],
            cwd=self.system.place, env=self.stock_env, text=True, capture_output=True, check=False,
            timeout=READY_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert self._automations("process") == len(_SUFFIX)

    def _automations(self, prefix: str) -> int:
        expected = {f"bench.{prefix}.{kind}" for kind in _SUFFIX}
        rows = self.prefect.post("/automations/filter", {})
        return sum(bool(expected & set(row["trigger"].get("expect") or ())) for row in rows)

    def stamps(self) -> dict[int, float]:
        """Return what the runs wrote down by the event's number, in seconds since the epoch; each once."""
        found: dict[int, float] = {}
        for line in self.ledger.read_text().splitlines():
            number, nanoseconds = line.split()
            assert int(number) not in found, f"event {number} ran twice"
            found[int(number)] = int(nanoseconds) / 1e9
        return found


@dataclass(frozen=True)
class Sent:
    """One event that was sent.

    Parameters
    ----------
    number: by which its run is found.
    at: when the request began, in seconds since the epoch.
    event_id: its tracking id in Hookline.
    """

    number: int
    at: float
    event_id: str | None


@dataclass
class Arm:
    """One way from an event to a flow run, with its processes running.

    Parameters
    ----------
    pid: the process that starts flow runs.
    """

    bench: Bench
    name: Name
    pid: int
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    @staticmethod
    def next_number() -> int:
        """Return a number that no other event has."""
        return next(_numbers)

    def send(self, kind: str = "timed", **data: Any) -> Sent:
        """Send an event that starts one run of a flow; return once it is acknowledged."""
        number = self.next_number()
        url, body = self.request(number, kind, data)
        content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        at = time.time()
        answer = self._client.post(url, content=content, headers=headers)
        assert answer.is_success, f"{answer.status_code} {answer.text[:500]}"
        return Sent(number, at, answer.json()["id"] if self.name == "hookline" else None)

    def request(self, number: int, kind: str, data: dict[str, Any]) -> tuple[str, Any]:
        """Return the address and the body of the request for an event."""
        data = {"number": number, "ledger": str(self.bench.ledger), **data}
        type = f"bench.{_PREFIX[self.name]}.{kind}"
        if self.name == "hookline":
            return f"{self.bench.system.url}/events", {"type": type, "id": f"bench-{number}", "data": data}
        event = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": type,
            "resource": {"prefect.resource.id": f"bench.{number}"},
            "payload": data,
        }
        return f"{self.bench.system.api}/events", [event]

    def parts(self) -> dict[str, Tree]:
        """Return the processes that are at work: the server, the gateway, the worker, and the runs' own."""
        parts = {"server": Tree(self.bench.system.server.pid)}
        if self.name == "hookline":
            parts["gateway"] = Tree(self.bench.system.gateway.pid)
        # Where runs are not told apart from who starts them they are counted together.
        zygotes = [pid for pid in Tree(self.pid).pids() if "hookline.worker.zygote" in command(pid)]
        if zygotes:
            return {**parts, "worker": Tree(self.pid, alone=True), "runs": Tree(zygotes[0])}
        return {**parts, "worker and runs": Tree(self.pid)}

    def count(self, kind: str = "timed", states: tuple[str, ...] = FINAL) -> int:
        """Return how many of the arm's runs are in a final state."""
        body = {**self._deployment(kind), "flow_runs": {"state": {"type": {"any_": states}}}}
        return int(self.bench.prefect.post("/flow_runs/count", body))

    def await_count(self, wanted: int, kind: str = "timed", *, patience: float = 120) -> None:
        """Return when so many of the arm's runs are in a final state."""
        await_(f"{wanted} runs of {self.name} are final", lambda: self.count(kind) >= wanted, patience)

    def runs(self, kind: str = "timed") -> dict[int, dict[str, Any]]:
        """Return the arm's runs by the number of their event, as Prefect has them."""
        rows: list[dict[str, Any]] = []
        while True:
            body = {**self._deployment(kind), "limit": 200, "offset": len(rows), "sort": "ID_DESC"}
            page = self.bench.prefect.post("/flow_runs/filter", body)
            rows += page
            if len(page) < 200:
                return {row["parameters"]["number"]: row for row in rows}

    def _deployment(self, kind: str) -> dict[str, Any]:
        return {"deployments": {"name": {"any_": [_PREFIX[self.name] + _SUFFIX[kind]]}}}


def await_(what: str, condition: Callable[[], bool], patience: float = READY_SECONDS) -> None:
    """Return when a condition holds that gives no sign of itself."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {patience:g} s"
        time.sleep(LOOK_SECONDS)


def epoch(text: str) -> float:
    """Return one of Prefect's times in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def load() -> str:
    """Return how busy the machine is."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


__all__ = ["FINAL", "TITLES", "Arm", "Bench", "Name", "Process", "Sent", "await_", "bench", "epoch", "load"]
