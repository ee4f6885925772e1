"""How long it takes from the start of a request to the first task's body, beside stock Prefect."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from benches._arms import TITLES, Arm, Bench, Name, Sent, await_, bench, epoch, load
from benches._figures import ms, percentile, plot, table

#: Where a run's time goes, in the order in which it happens, by Prefect's own records.
_STEPS = (
    "accepted",
    "routed",
    "run_created",
    "Scheduled",
    "Pending",
    "Submitting",
    "Running",
    "first task",
    "Completed",
)


@dataclass(frozen=True)
class Series:
    """What became of events that were sent at one pace to one arm; durations in seconds.

    Parameters
    ----------
    first_task: from the start of each request to the first task's body.
    completed: from the start of each request to Completed, by Prefect's record.
    disagreement: the largest distance of the first task's own stamp and Prefect's record of its start.
    steps: median time after the start of the request at which each step was reached.
    """

    arm: Name
    pace: str
    first_task: tuple[float, ...]
    completed: tuple[float, ...]
    disagreement: float
    steps: dict[str, float]

    @property
    def title(self) -> str:
        """Return what is measured, for people."""
        return f"{TITLES[self.arm]}, {self.pace}"


def main() -> None:
    """Measure all arms, print one table, and draw the distributions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200, help="Events an arm and pace (default 200).")
    parser.add_argument("--alone", type=int, default=50, help="Events to the stock arms one at a time.")
    parser.add_argument("--arms", nargs="*", default=list(TITLES), choices=list(TITLES))
    parser.add_argument(
        "--paces", nargs="*", type=float, default=[1, 3, 5], help="Hookline's, events a second."
    )
    parser.add_argument("--plot", type=Path, default=Path("docs/images/latency.svg"))
    given = parser.parse_args()
    print(load(), flush=True)
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, bench(Path(folder)) as made:
        series = [each for name in given.arms for each in measure(made, name, given)]
    print(load())
    report(series, given.plot)


def measure(made: Bench, name: Name, given: argparse.Namespace) -> list[Series]:
    """Measure one arm at all of its paces."""
    series: list[Series] = []
    with made.arm(name) as arm:
        if name != "hookline":
            # At one a second stock runs pile up; this is what one takes that has the machine to itself.
            series.append(follow(arm, "one at a time", send_alone(arm, given.alone)))
        paces = given.paces if name == "hookline" else [1]
        series += [follow(arm, f"{pace:g} a second", send_at(arm, given.events, pace)) for pace in paces]
    return series


def send_alone(arm: Arm, events: int) -> list[Sent]:
    """Send each event a second after the run of the one before it has ended."""
    sent: list[Sent] = []
    for _ in range(events):
        before = arm.count()
        sent.append(arm.send())
        arm.await_count(before + 1)
        time.sleep(1)
    return sent


def send_at(arm: Arm, events: int, pace: float) -> list[Sent]:
    """Send so many events a second and wait until all of their runs have ended."""
    before = arm.count()
    sent: list[Sent] = []
    began = time.monotonic()
    for index in range(events):
        time.sleep(max(0.0, began + index / pace - time.monotonic()))
        sent.append(arm.send())
    arm.await_count(before + events, patience=120 + 10 * events)
    return sent


def follow(arm: Arm, pace: str, sent: list[Sent]) -> Series:
    """Look up what became of the events: in the ledger, and by Prefect's own records."""
    stamps, runs = arm.bench.stamps(), arm.runs()
    mine = [runs[each.number] for each in sent]
    assert all(run["state_type"] == "COMPLETED" for run in mine), {run["state_type"] for run in mine}
    tasks = _first_tasks(arm, mine)
    for each, run in zip(sent, mine, strict=True):
        times = (
            each.at,
            epoch(run["created"]),
            epoch(run["start_time"]),
            stamps[each.number],
            epoch(run["end_time"]),
        )
        assert list(times) == sorted(times), f"the clock and Prefect's records do not agree: {times}"
    made = Series(
        arm=arm.name,
        pace=pace,
        first_task=tuple(stamps[each.number] - each.at for each in sent),
        completed=tuple(epoch(run["end_time"]) - each.at for each, run in zip(sent, mine, strict=True)),
        disagreement=max(
            abs(tasks[run["id"]] - stamps[each.number]) for each, run in zip(sent, mine, strict=True)
        ),
        steps=_steps(arm, sent, mine, stamps),
    )
    print(f"{made.title}: first task p50 {ms(percentile(made.first_task, 0.5))}; {load()}", flush=True)
    return made


def _first_tasks(arm: Arm, runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return when each run's first task started, by Prefect's record; all three tasks must be Completed."""
    first: dict[str, float] = {}
    for start in range(0, len(runs), 50):
        ids = [run["id"] for run in runs[start : start + 50]]
        # Prefect records tasks from their events, and may still be at it.
        await_(f"3 tasks of each of {len(ids)} runs are Completed", partial(_are_done, arm, ids))
        for row in _tasks(arm, ids):
            first[row["flow_run_id"]] = min(first.get(row["flow_run_id"], inf), epoch(row["start_time"]))
    return first


def _are_done(arm: Arm, ids: list[str]) -> bool:
    rows = _tasks(arm, ids)
    return len(rows) == 3 * len(ids) and all(row["state_type"] == "COMPLETED" for row in rows)


def _tasks(arm: Arm, ids: list[str]) -> list[dict[str, Any]]:
    body = {"flow_runs": {"id": {"any_": ids}}, "limit": 200}
    rows: list[dict[str, Any]] = arm.bench.prefect.post("/task_runs/filter", body)
    return rows


def _steps(
    arm: Arm, sent: list[Sent], runs: list[dict[str, Any]], stamps: dict[int, float]
) -> dict[str, float]:
    after: dict[str, list[float]] = {}

    def note(step: str, at: float, each: Sent) -> None:
        after.setdefault(step, []).append(at - each.at)

    for each, run in zip(sent, runs, strict=True):
        if each.event_id is not None:
            receipt = arm._client.get(f"{arm.bench.system.url}/events/{each.event_id}").json()["receipt"]
            for step in ("accepted", "routed", "run_created"):
                note(step, epoch(receipt[step]), each)
        else:
            note("run_created", epoch(run["created"]), each)
        for state in arm.bench.prefect.get(f"/flow_run_states/?flow_run_id={run['id']}"):
            note(state["name"], epoch(state["timestamp"]), each)
        note("first task", stamps[each.number], each)
    return {step: statistics.median(after[step]) for step in _STEPS if step in after}


def report(series: list[Series], picture: Path) -> None:
    """Print the tables and draw the plot."""
    print("\nMedian time after the start of the request at which each step was reached:\n")
    steps = [step for step in _STEPS if any(step in each.steps for each in series)]
    print(
        table(
            ["", *steps],
            [[each.title, *(ms(each.steps[s]) if s in each.steps else "" for s in steps)] for each in series],
        )
    )
    print("\nFrom the start of the request:\n")
    rows = []
    for each in series:
        figures = [
            ms(percentile(values, share))
            for values in (each.first_task, each.completed)
            for share in (0.5, 0.95, 1.0)
        ]
        rows.append([each.title, str(len(each.first_task)), *figures, ms(each.disagreement)])
    head = ["", "events", "first task p50", "p95", "max", "Completed p50", "p95", "max", "records differ by"]
    print(table(head, rows))
    hookline = [each for each in series if each.arm == "hookline"]
    for each in series:
        if hookline and each.arm != "hookline":
            times = percentile(each.first_task, 0.5) / percentile(hookline[0].first_task, 0.5)
            print(
                f"\n{each.title}: {times:.1f} times as long as {hookline[0].title} (p50 to the first task)",
                end="",
            )
    print()
    note = "Each dot is an event; long marks are medians, short ones p95. One server, the same flow file."
    plot(
        picture,
        "From the start of the request to the first task",
        note,
        [(s.title, s.first_task) for s in series],
    )
    print(f"Drawn: {picture}")


if __name__ == "__main__":
    main()
