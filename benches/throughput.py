"""Runs a second of a three-task flow by worker processes and database, beside stock Prefect."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benches._arms import TITLES, Arm, Bench, Name, bench, epoch, load
from benches._figures import table
from tests.support.postgres import running_postgres

DATABASES = ("sqlite", "postgresql")
#: Senders that deliver the events at the same time.
SENDERS = 8


@dataclass(frozen=True)
class Rate:
    """How fast the events of one burst became completed runs.

    Parameters
    ----------
    limit: runs at once, at most.
    runs_per_second: over the time from the first request to the last Completed, by Prefect's record.
    steady: the same over the middle half of the runs, without the burst's beginning and end.
    cpu_ms: processor time a run, by part.
    """

    arm: Name
    database: str
    limit: int
    runs: int
    runs_per_second: float
    steady: float
    cpu_ms: dict[str, float]


def main() -> None:
    """Measure each arm on each database with each number of processes, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=120, help="Runs for Hookline (default 120).")
    parser.add_argument("--stock-runs", type=int, default=20, help="Runs for each stock arm (default 20).")
    parser.add_argument("--limits", nargs="*", type=int, default=[1, 2, 4])
    parser.add_argument("--databases", nargs="*", default=list(DATABASES), choices=DATABASES)
    parser.add_argument("--arms", nargs="*", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    rates: list[Rate] = []
    for database in given.databases:
        with (
            tempfile.TemporaryDirectory(prefix="throughput-") as folder,
            environment(database) as extra,
            bench(Path(folder), extra) as made,
        ):
            for name in given.arms:
                for limit in given.limits:
                    runs = given.runs if name == "hookline" else given.stock_runs
                    rates += measure(made, database, name, limit, runs, given.rounds)
    report(rates)


@contextlib.contextmanager
def environment(database: str) -> Iterator[dict[str, str]]:
    """Give the environment of a Prefect server on a database of its own."""
    if database == "sqlite":
        yield {}
        return
    with running_postgres() as server, server.database() as url:
        yield {"PREFECT_API_DATABASE_CONNECTION_URL": url.replace("postgresql://", "postgresql+asyncpg://")}


def measure(made: Bench, database: str, name: Name, limit: int, runs: int, rounds: int) -> list[Rate]:
    """Send bursts to one arm with so many processes."""
    rates: list[Rate] = []
    with made.arm(name, limit=limit) as arm:
        for _ in range(rounds):
            rates.append(burst(arm, database, limit, runs))
            print(f"  {rates[-1]}; {load()}", flush=True)
    return rates


def burst(arm: Arm, database: str, limit: int, runs: int) -> Rate:
    """Send events as fast as they are acknowledged, wait for their runs, and see how fast they came."""
    known = set(arm.runs())
    parts = arm.parts()
    before = {part: tree.cpu_seconds() for part, tree in parts.items()}
    count = arm.count()
    began = time.time()
    asyncio.run(send_all(arm, runs))
    arm.await_count(count + runs, patience=60 + 6 * runs)
    used = {part: tree.cpu_seconds() - before[part] for part, tree in parts.items()}
    mine = [run for number, run in arm.runs().items() if number not in known]
    assert len(mine) == runs
    assert all(run["state_type"] == "COMPLETED" for run in mine)
    ends = sorted(epoch(run["end_time"]) for run in mine)
    low, high = runs // 4, (3 * runs) // 4
    return Rate(
        arm=arm.name,
        database=database,
        limit=limit,
        runs=runs,
        runs_per_second=runs / (ends[-1] - began),
        steady=(high - low) / (ends[high] - ends[low]),
        cpu_ms={part: seconds / runs * 1000 for part, seconds in used.items()},
    )


async def send_all(arm: Arm, events: int) -> None:
    """Send events, several at a time."""
    bodies = iter([arm.request(arm.next_number(), "timed", {}) for _ in range(events)])

    async def sender(client: httpx.AsyncClient) -> None:
        for url, body in bodies:
            (await client.post(url, json=body)).raise_for_status()

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(sender(client) for _ in range(SENDERS)))


def report(rates: list[Rate]) -> None:
    """Print medians over the rounds."""
    parts = list(dict.fromkeys(part for rate in rates for part in rate.cpu_ms))
    head = [
        "",
        "database",
        "processes",
        "runs",
        "runs/s",
        "in the middle",
        *(f"CPU {part}" for part in parts),
    ]
    rows: list[list[str]] = []
    for key in dict.fromkeys((rate.arm, rate.database, rate.limit) for rate in rates):
        same = [rate for rate in rates if (rate.arm, rate.database, rate.limit) == key]
        rows.append(
            [
                TITLES[key[0]],
                key[1],
                str(key[2]),
                "+".join(str(rate.runs) for rate in same),
                f"{statistics.median(rate.runs_per_second for rate in same):.2f}",
                f"{statistics.median(rate.steady for rate in same):.2f}",
                *(
                    f"{statistics.median(rate.cpu_ms.get(part, 0.0) for rate in same):.0f} ms"
                    for part in parts
                ),
            ]
        )
    print(f"\nOn {os.cpu_count()} processors; processor time a run:\n")
    print(table(head, rows))


if __name__ == "__main__":
    main()
