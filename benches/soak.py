"""Thousands of runs one after another: what grows, what is left over, and whether all states are right."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx

from benches._arms import Arm, await_, bench, load
from benches._figures import table
from benches._processes import Tree, command, descriptors, is_zombie, memory_mib

#: Runs that are outstanding at once, so that the worker is always busy.
AHEAD = 8
#: Processes may still leave for so long after the last run.
SETTLE_SECONDS = 15.0
#: What counts as flat, from the end of the first fifth to the end.
FLAT_MIB = 25.0
FLAT_DESCRIPTORS = 3


@dataclass(frozen=True)
class Sample:
    """What the processes used at one moment.

    Parameters
    ----------
    runs: how many were completed.
    memory_mib: proportional memory by part.
    descriptors: open file descriptors by part; the largest number of any one child.
    """

    runs: int
    memory_mib: dict[str, float]
    descriptors: dict[str, int]
    children: int
    zombies: int


def main() -> None:
    """Soak the system, print what it used on the way, and end with an error when something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=10)
    given = parser.parse_args()
    print(load(), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        bench(Path(folder)) as made,
        made.arm("hookline") as arm,
    ):
        began, before = time.monotonic(), arm.count()
        samples: list[Sample] = []
        for index in range(given.samples):
            wanted = given.runs * (index + 1) // given.samples
            asyncio.run(send_to(arm, wanted - (samples[-1].runs if samples else 0)))
            settle(arm)
            samples.append(sample(arm, wanted))
            print(f"  {samples[-1]}; {load()}", flush=True)
        took = time.monotonic() - began
        states = Counter(str(run["state_name"]) for run in arm.runs().values())
        stamps = len(arm.bench.stamps())
    report(samples, states, took)
    check(samples, states, given.runs + before, stamps)


async def send_to(arm: Arm, runs: int) -> None:
    """Send so many events, keeping a few ahead of the worker, and wait until all runs have ended."""
    bodies = iter([arm.request(arm.next_number(), "timed", {}) for _ in range(runs)])

    async def sender(client: httpx.AsyncClient) -> None:
        for url, body in bodies:
            (await client.post(f"{url}?wait=60", json=body)).raise_for_status()

    async with httpx.AsyncClient(timeout=90) as client:
        await asyncio.gather(*(sender(client) for _ in range(AHEAD)))


def settle(arm: Arm) -> None:
    """Wait until no run is under way and the processes of the last ones are gone."""
    running = ("PENDING", "RUNNING", "SCHEDULED")
    await_("no run is under way", lambda: arm.count(states=running) == 0)
    deadline = time.monotonic() + SETTLE_SECONDS
    while any(is_zombie(pid) for pid in Tree(arm.pid).pids()) and time.monotonic() < deadline:
        time.sleep(0.25)


def sample(arm: Arm, runs: int) -> Sample:
    """Look at all processes of the system."""
    tree = Tree(arm.pid).pids()
    zombies = [pid for pid in tree if is_zombie(pid)]
    zygotes = [pid for pid in tree if pid not in zombies and "hookline.worker.zygote" in command(pid)]
    zygote, children = zygotes[0], zygotes[1:]
    parts = {
        "server": arm.bench.system.server.pid,
        "gateway": arm.bench.system.gateway.pid,
        "worker": arm.pid,
        "zygote": zygote,
    }
    memory = {part: memory_mib(pid) for part, pid in parts.items()}
    opened = {part: len(descriptors(pid)) for part, pid in parts.items()}
    memory["children"] = sum(memory_mib(pid) for pid in children)
    opened["a child"] = max((len(descriptors(pid)) for pid in children), default=0)
    return Sample(runs, memory, opened, len(children), len(zombies))


def report(samples: list[Sample], states: Counter[str], took: float) -> None:
    """Print the samples as one table."""
    parts, holders = list(samples[0].memory_mib), list(samples[0].descriptors)
    head = [
        "runs",
        *(f"{part} MiB" for part in parts),
        *(f"{each} fds" for each in holders),
        "children",
        "zombies",
    ]
    rows = [
        [
            str(each.runs),
            *(f"{each.memory_mib[part]:.0f}" for part in parts),
            *(str(each.descriptors[holder]) for holder in holders),
            str(each.children),
            str(each.zombies),
        ]
        for each in samples
    ]
    print(f"\n{samples[-1].runs} runs in {took:.0f} s; states {dict(states)}; proportional memory (PSS)\n")
    print(table(head, rows))


def check(samples: list[Sample], states: Counter[str], runs: int, stamps: int) -> None:
    """Fail where something of ours grew or was left over, or a run did not end as it should."""
    assert states == {"Completed": runs}, f"{dict(states)} instead of {runs} Completed"
    assert stamps == runs, f"{stamps} first tasks of {runs} runs"
    assert all(each.zombies == 0 for each in samples), "a process was left as a zombie"
    first, last = samples[len(samples) // 5], samples[-1]
    for part in ("gateway", "worker", "zygote", "children"):
        grown = last.memory_mib[part] - first.memory_mib[part]
        assert grown < FLAT_MIB, f"{part}: {grown:.0f} MiB more than after {first.runs} runs"
    for holder in ("gateway", "worker", "zygote", "a child"):
        more = last.descriptors[holder] - first.descriptors[holder]
        assert more <= FLAT_DESCRIPTORS, (
            f"{holder}: {more} file descriptors more than after {first.runs} runs"
        )


if __name__ == "__main__":
    main()
