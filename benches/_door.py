"""What the benches of the front door share: the servers, the load, the disk, and the look into the inbox."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hookline.inbox import Inbox
from hookline.triggers import Trigger
from tests.support.servers import PrefectServer, free_port, wait_for_http

SECRET = "bench-secret-of-the-github-source"  # noqa: S105 # made up, for a gateway that lives a minute
KEY = "bench-key-which-is-long-enough"
BODY_BYTES = 1024
#: Different bodies; each is sent many times, with an id of its own each time.
BODIES = 1_000
#: One event in so many is expected by a trigger and goes to the dispatcher.
MATCH_ONE_IN = 100


@dataclass
class Gateway:
    """A gateway in a process of its own.

    Parameters
    ----------
    folder: its data folder; also where the load's files are.
    """

    folder: Path
    prefect: PrefectServer
    env: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox.db"

    def start(self) -> None:
        env = {
            **self.prefect.env,
            "HOOKLINE_DATA": str(self.folder),
            "HOOKLINE_PORT": str(self.port),
            "HOOKLINE_SOURCES": str(self.folder / "sources.yaml"),
            "HOOKLINE_API_KEYS": KEY,
            "GITHUB_WEBHOOK_SECRET": SECRET,
            **self.env,
        }
        log = self.folder / "gateway.log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hookline", "gateway"], env=env, stdout=out, stderr=subprocess.STDOUT
            )
        wait_for_http(f"{self.url}/healthz", self.process, log)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._pid)

    def memory_mib(self) -> float:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(pid: int, timeout_seconds: float = 60) -> float:
    """Wait until a process uses less than a tenth of a processor; return for how long, in seconds."""
    started = time.monotonic()
    before = cpu_seconds(pid)
    while time.monotonic() - started < timeout_seconds:
        time.sleep(1)
        now = cpu_seconds(pid)
        if now - before < 0.1:
            break
        before = now
    return time.monotonic() - started


@contextlib.contextmanager
def running(folder: Path, sources: str, **env: str) -> Iterator[tuple[Gateway, PrefectServer]]:
    """Give a gateway with its dispatcher, beside a stock Prefect server that has the triggers' deployment."""
    folder.mkdir(parents=True)
    (folder / "sources.yaml").write_text(sources)
    prefect = PrefectServer(folder / "prefect", stock=True)
    gateway = Gateway(folder, prefect, env)
    try:
        prefect.start()
        _make_deployment(prefect)
        asyncio.run(_keep_triggers(gateway))
        gateway.start()
        yield gateway, prefect
        if gateway.process is not None and gateway.process.poll() is not None:
            sys.exit(f"the gateway ended: {(folder / 'gateway.log').read_text()[-2000:]}")
    except SystemExit:
        print((folder / "gateway.log").read_text()[-2000:], file=sys.stderr)
        raise
    finally:
        gateway.stop()
        prefect.stop()


def _make_deployment(prefect: PrefectServer) -> None:
    with httpx.Client(base_url=prefect.api_url, timeout=30) as client:
        client.post("/work_pools/", json={"name": "bench", "type": "process"}).raise_for_status()
        flow = client.post("/flows/", json={"name": "bench"})
        deployment = {"name": "matched", "flow_id": flow.json()["id"], "work_pool_name": "bench"}
        # A stock server on SQLite answers 503 where two of its transactions met.
        for _ in range(20):
            answer = client.post("/deployments/", json=deployment)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.2)
        answer.raise_for_status()


async def _keep_triggers(gateway: Gateway) -> None:
    triggers = [
        Trigger(
            flow="bench",
            deployment="matched",
            name=name,
            expect=(expected,),
            where='data.ref == "refs/heads/main"',
            parameters={"ref": "{{ event.payload.ref }}"},
        )
        for name, expected in (("webhooks", "github.push"), ("events", "bench.push"))
    ]
    async with Inbox.open(f"sqlite:///{gateway.inbox.absolute()}") as inbox:
        await inbox.save_trigger_set(triggers)


def write_bodies(folder: Path, mode: str) -> None:
    """Write what wrk sends: bodies of 1 KiB, one in a hundred of which a trigger wants."""
    bodies = [_body(mode, number) for number in range(BODIES)]
    folder.mkdir(exist_ok=True)
    (folder / "bodies.txt").write_text("\n".join(bodies) + "\n")
    signed = [hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest() for body in bodies]
    (folder / "signatures.txt").write_text("\n".join(signed) + "\n")


def _body(mode: str, number: int) -> str:
    ref = "refs/heads/main" if number % MATCH_ONE_IN == 0 else f"refs/heads/branch-{number}"
    data: dict[str, Any] = {
        "ref": ref,
        "number": number,
        "repository": {"id": number, "full_name": f"acme/shop-{number}", "private": False},
        "pusher": {"name": "ada", "email": "ada@example.com"},
        "commits": [],
    }
    match mode:
        case "webhooks":
            document = data
        case "events":
            # wrk puts the id in front.
            kind = "bench.push" if number % MATCH_ONE_IN == 0 else "bench.check"
            document = {"type": kind, "subject": f"acme/shop-{number}", "data": data}
        case _:
            document = {
                "occurred": "2026-11-24T03:00:00Z",
                "event": "bench.push",
                "resource": {"prefect.resource.id": f"bench.{number}"},
                "payload": data,
            }
    room = BODY_BYTES - len(json.dumps(document)) - 60
    message = "The harbour list was brought up to date. "
    data["commits"] = [{"id": f"{number:040x}", "message": (message * 30)[: max(room, 0)]}]
    text = json.dumps(document)
    return text if mode == "webhooks" else text[1:]


@dataclass(frozen=True)
class Load:
    """What one run of the load generator saw."""

    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    requests: int
    not_2xx: int
    socket_errors: int
    statuses: dict[str, int]
    #: Share of one core that the load generator and the server took.
    generator_cores: float
    server_cores: float


def drive(url: str, mode: str, folder: Path, *, connections: int, seconds: float, pid: int) -> Load:
    """Send requests as fast as they are answered, over a fixed number of connections.

    Parameters
    ----------
    url: the server.
    mode: `webhooks`, `events` or `prefect`.
    folder: where `write_bodies` has written.
    pid: the server's process, whose processor time is taken.
    """
    script = str(Path(__file__).with_name("_wrk.lua"))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", script, url]
    command += ["--", mode, str(folder), *([KEY] if mode == "events" else [])]
    before, started = cpu_seconds(pid), time.perf_counter()
    before_children = os.times().children_user + os.times().children_system
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"wrk failed: {(done.stdout + done.stderr)[-2000:]}")
    output = done.stdout
    took = time.perf_counter() - started
    children = os.times().children_user + os.times().children_system - before_children
    server = cpu_seconds(pid) - before
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    result = json.loads(line.removeprefix("RESULT "))
    statuses: dict[str, int] = {}
    for each in result["statuses"]:
        for status, count in each.items():
            statuses[status] = statuses.get(status, 0) + count
    return Load(
        per_second=result["requests"] / result["seconds"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        max_ms=result["max_ms"],
        requests=result["requests"],
        not_2xx=result["not_2xx"],
        socket_errors=result["socket_errors"],
        statuses=statuses,
        generator_cores=children / took,
        server_cores=server / took,
    )


def acknowledged(folder: Path) -> list[str]:
    """Return the tracking ids of all that was answered 202."""
    ids: list[str] = []
    for path in sorted(folder.glob("acknowledged-*.txt")):
        ids += path.read_text().split()
    return ids


def missing_from_inbox(inbox: Path, ids: list[str]) -> list[str]:
    """Return those ids that the inbox does not hold, with their bodies."""
    with contextlib.closing(sqlite3.connect(inbox)) as database:
        there = {
            row[0]
            for row in database.execute("SELECT events.id FROM events JOIN bodies ON event_id = events.id")
        }
    return [each for each in ids if each not in there]


def fsync_ms(folder: Path, times: int = 200) -> tuple[float, float]:
    """Return the median and the 99th percentile of writing 4 KiB through to the disk."""
    path = folder / "fsync.probe"
    took: list[float] = []
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for _ in range(times):
            os.write(handle, b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(handle)
            took.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(handle)
        path.unlink()
    return statistics.median(took), sorted(took)[int(times * 0.99)]


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder lies on."""
    output = subprocess.run(["df", "-T", str(folder)], capture_output=True, text=True, check=True).stdout
    return output.splitlines()[-1].split()[1]


def require_wrk() -> None:
    """End with advice where the load generator is missing."""
    if shutil.which("wrk") is None:
        sys.exit("This bench drives its load with wrk: apt install wrk (or brew install wrk).")


def load_average() -> str:
    """Return how busy the machine was in the last minutes, which is a part of any figure."""
    return " ".join(f"{each:.1f}" for each in os.getloadavg())
