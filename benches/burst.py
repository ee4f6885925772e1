"""1,000 events at once until all runs are Completed, beside stock triggers with `serve` on 100 events."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benches._door import cpu_seconds
from tests.support.prefect import PrefectHttp
from tests.support.servers import running_prefect
from tests.support.system import REPOSITORY, System, running_system

PROJECT = REPOSITORY / "benches" / "burst_project"
#: Senders that deliver the burst at the same time.
SENDERS = 32
LOOK_SECONDS = 0.5
#: What a Prefect server on SQLite says when its writers meet.
LOCKED = re.compile(r"database is locked")
ERROR = re.compile(r"\bERROR\b|Traceback")


@dataclass(frozen=True)
class Burst:
    """What became of one burst; times in seconds from its first event.

    Parameters
    ----------
    events: how many were sent.
    accepted: when the last was acknowledged.
    created, completed: when the last run was there, and Completed.
    started: the time from acknowledgement to Running of each run, sorted.
    locked, errors: lines of the server's log that say so.
    server_cpu: processor time that the server took.
    """

    events: int
    accepted: float
    created: float
    completed: float
    started: tuple[float, ...]
    locked: int
    errors: int
    server_cpu: float

    @property
    def rate(self) -> float:
        """Return how many runs a second were completed."""
        return self.events / self.completed

    def __str__(self) -> str:
        middle = statistics.median(self.started)
        return (
            f"{self.events:>5} events: accepted in {self.accepted:.2f} s, created in {self.created:.1f} s,"
            f" completed in {self.completed:.1f} s = {self.rate:.2f} runs/s; until Running {middle:.1f} s,"
            f" last {self.started[-1]:.1f} s; server {self.server_cpu / self.events * 1000:.0f} ms CPU a run;"
            f" database is locked {self.locked}, errors {self.errors}"
        )


def main() -> None:
    """Measure both, print both and what they are to each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--stock-events", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20, help="How long one burst may take at most.")
    parser.add_argument("--only", choices=("hookline", "stock"))
    given = parser.parse_args()
    ours: list[Burst] = []
    stock: list[Burst] = []
    for _ in range(given.rounds):
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
        with tempfile.TemporaryDirectory(prefix="burst-") as folder:
            if given.only != "stock":
                ours.append(hookline_burst(Path(folder) / "hookline", given.events, given.minutes * 60))
                print(f"  hookline {ours[-1]}", flush=True)
            if given.only != "hookline":
                stock.append(stock_burst(Path(folder) / "stock", given.stock_events, given.minutes * 60))
                print(f"  stock    {stock[-1]}", flush=True)
    if ours and stock:
        mine, theirs = (statistics.median(burst.rate for burst in bursts) for bursts in (ours, stock))
        print(f"completed: {mine:.2f} runs/s, stock {theirs:.2f} runs/s: {mine / theirs:.1f} times")


def hookline_burst(folder: Path, events: int, patience: float) -> Burst:
    """Send a burst to a whole Hookline, as `up` starts it, and follow it to its end."""
    with running_system(System(folder, PROJECT)) as system:
        warm_up(system)
        return follow(
            system.api,
            system.server.pid,
            system.server.log_text,
            lambda: asyncio.run(send(f"{system.url}/events", [_event(n) for n in range(events)])),
            patience,
        )


def stock_burst(folder: Path, events: int, patience: float) -> Burst:
    """Send a burst to a stock server whose trigger's deployment is served by `flow.serve()`."""
    with running_prefect(folder, stock=True) as prefect:
        log = (folder / "serve.log").open("ab")
        serving = subprocess.Popen(
            [sys.executable, str(PROJECT / "stock.py")],
            cwd=PROJECT, env=prefect.env, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            http = PrefectHttp(prefect.api_url)
            _await(lambda: bool(http.post("/deployments/filter", {})), 60)
            _await(lambda: bool(http.post("/automations/filter", {})), 60)
            assert prefect.process is not None
            bodies = [[_stock_event(n)] for n in range(events)]
            return follow(
                prefect.api_url,
                prefect.process.pid,
                prefect.log.read_text,
                lambda: asyncio.run(send(f"{prefect.api_url}/events", bodies)),
                patience,
            )
        finally:
            serving.terminate()
            serving.wait(60)
            log.close()


def warm_up(system: System) -> None:
    """Let one event through, so that nothing is measured that happens once."""
    answer = httpx.post(f"{system.url}/events?wait=60", json=_event(-1), timeout=70).raise_for_status().json()
    assert answer["dispatches"][0]["flow_run"]["state"] == "COMPLETED", answer


def follow(
    api: str, server: int, log: Callable[[], str], send_all: Callable[[], float], patience: float
) -> Burst:
    """Send and look on, by the server's own API, until every run is Completed."""
    http = PrefectHttp(api)
    before = http.post("/flow_runs/count", {})
    log_before, cpu_before = log(), cpu_seconds(server)
    began = time.monotonic()
    accepted_at = time.time()
    sent = send_all()
    accepted = time.monotonic() - began
    wanted = before + int(sent)
    created = 0.0
    deadline = began + patience
    while True:
        if not created and http.post("/flow_runs/count", {}) >= wanted:
            created = time.monotonic() - began
        done = http.post("/flow_runs/count", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
        if done >= wanted:
            break
        assert time.monotonic() < deadline, f"{done - before} of {sent} runs were Completed in time"
        time.sleep(LOOK_SECONDS)
    completed = time.monotonic() - began
    cpu = cpu_seconds(server) - cpu_before
    runs = http.runs(state={"type": {"any_": ["COMPLETED"]}})
    assert len(runs) == wanted, f"{len(runs)} runs for {wanted} events"
    started = sorted(_epoch(run["start_time"]) - accepted_at for run in runs)[before:]
    news = log()[len(log_before) :]
    return Burst(
        events=int(sent),
        accepted=accepted,
        created=created or completed,
        completed=completed,
        started=tuple(started),
        locked=len(LOCKED.findall(news)),
        errors=len(ERROR.findall(news)),
        server_cpu=cpu,
    )


async def send(url: str, bodies: list[Any]) -> float:
    """Deliver all bodies, several at a time; return how many were acknowledged, which must be all."""
    waiting = iter(bodies)
    acknowledged = 0

    async def sender(client: httpx.AsyncClient) -> None:
        nonlocal acknowledged
        for body in waiting:
            (await client.post(url, json=body)).raise_for_status()
            acknowledged += 1

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(sender(client) for _ in range(SENDERS)))
    assert acknowledged == len(bodies)
    return acknowledged


def _event(number: int) -> dict[str, Any]:
    return {"type": "bench.burst", "id": f"burst-{number}", "data": {"number": number}}


def _stock_event(number: int) -> dict[str, Any]:
    return {
        "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": "bench.burst",
        "resource": {"prefect.resource.id": f"bench.{number}"},
        "payload": {"number": number},
        "id": f"00000000-0000-4000-8000-{number:012x}",
    }


def _await(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the stock side did not get ready"
        time.sleep(0.2)


def _epoch(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
