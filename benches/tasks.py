"""Many tasks in one flow, short and long, from the event to Completed, beside stock Prefect."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benches._arms import TITLES, Arm, Name, await_, bench, epoch, load
from benches._figures import ms, percentile, table

#: How many tasks, and of which number of Fibonacci's.
SHAPES = ((40, 10), (10, 33))


@dataclass(frozen=True)
class Taken:
    """How long runs of one shape took, in seconds from the start of each request.

    Parameters
    ----------
    begun: to the first line of the flow's body.
    completed: to Completed, by Prefect's record.
    """

    arm: Name
    count: int
    n: int
    begun: tuple[float, ...]
    completed: tuple[float, ...]


def main() -> None:
    """Measure each arm and shape, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10, help="Events an arm and shape (default 10).")
    parser.add_argument("--arms", nargs="*", default=list(TITLES), choices=list(TITLES))
    given = parser.parse_args()
    print(load(), flush=True)
    taken: list[Taken] = []
    with tempfile.TemporaryDirectory(prefix="tasks-") as folder, bench(Path(folder)) as made:
        for name in given.arms:
            with made.arm(name) as arm:
                for count, n in SHAPES:
                    taken.append(measure(arm, count, n, given.events))
                    print(f"  {TITLES[name]}, {count} x fibo({n}); {load()}", flush=True)
    report(taken)


def measure(arm: Arm, count: int, n: int, events: int) -> Taken:
    """Send events one after another, each once the run before it has ended."""
    sent = []
    for _ in range(events):
        before = arm.count("fibos")
        sent.append(arm.send("fibos", count=count, n=n))
        arm.await_count(before + 1, "fibos", patience=300)
    runs, stamps = arm.runs("fibos"), arm.bench.stamps()
    mine = [runs[each.number] for each in sent]
    assert all(run["state_type"] == "COMPLETED" for run in mine), {run["state_type"] for run in mine}
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
    for run in mine:
        body = {"flow_runs": {"id": {"any_": [run["id"]]}}, "task_runs": completed}
        # Prefect records tasks from their events, and may still be at it.
        await_(f"{count} tasks are Completed", partial(_counts, arm, body, count))
    return Taken(
        arm=arm.name,
        count=count,
        n=n,
        begun=tuple(stamps[each.number] - each.at for each in sent),
        completed=tuple(epoch(run["end_time"]) - each.at for each, run in zip(sent, mine, strict=True)),
    )


def _counts(arm: Arm, body: dict[str, Any], wanted: int) -> bool:
    return bool(arm.bench.prefect.post("/task_runs/count", body) == wanted)


def report(taken: list[Taken]) -> None:
    """Print medians and the slowest."""
    rows = [
        [
            TITLES[each.arm],
            f"{each.count} x fibo({each.n})",
            str(len(each.completed)),
            ms(percentile(each.begun, 0.5)),
            ms(percentile(each.completed, 0.5)),
            ms(max(each.completed)),
        ]
        for each in taken
    ]
    print("\nFrom the start of the request:\n")
    print(table(["", "tasks", "events", "flow's body p50", "Completed p50", "max"], rows))


if __name__ == "__main__":
    main()
