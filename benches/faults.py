"""10,000 events through kills, locks, a full disk and a jumping clock: is one lost or doubled?"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.support.faults import Means, Ordeal, Scenario, deploy_ledger, plan_faults
from tests.support.system import REPOSITORY, System, running_system

#: How often each kind of fault happens in a minute.
PER_MINUTE = {
    "kill gateway": 2.0,
    "kill worker": 1.0,
    "kill server": 0.5,
    "lock inbox": 1.0,
    "fill disk": 1.0,
    "refuse writes": 1.0,
    "jump clock": 1.0,
}


def main() -> None:
    """Run one ordeal; exit 1 where the oracle found anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument(
        "--act-one-in", type=int, default=20, help="One event in so many starts a flow run; the rest is kept."
    )
    parser.add_argument(
        "--minutes", type=float, default=5, help="How long events are sent and faults happen."
    )
    parser.add_argument("--patience", type=float, default=15, help="Minutes until all is at rest after that.")
    parser.add_argument("--seed", type=int, default=None, help="Repeats the moments and kinds of a run.")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed  # noqa: S311 (not secret)
    print(f"--seed {seed}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        sys.exit(0 if ordeal(Path(folder), seed, given) else 1)


def ordeal(folder: Path, seed: int, given: argparse.Namespace) -> bool:
    """Return whether nothing was lost and nothing doubled."""
    means = Means(folder)
    for kind, why in means.missing.items():
        print(f"without {kind!r}: {why}")
    seconds = given.minutes * 60
    numbers = {kind: round(rate * given.minutes) for kind, rate in PER_MINUTE.items()}
    scenario = Scenario(
        seed, given.events, given.senders, given.act_one_in, seconds,
        plan_faults(seed, seconds, numbers, means.missing),
    )  # fmt: skip
    system = System(
        folder,
        REPOSITORY / "tests" / "support" / "fault_project",
        extra={"LEDGER": str(folder / "ledger")},
        gateway_extra=means.gateway_env(),
    )
    with means.small_disk(system.data, mebibytes=128), running_system(system, deploy_ledger):
        trial = Ordeal(system, means, folder / "ledger", lambda line: print(line, flush=True))
        began = time.monotonic()
        logs = trial.endure(scenario, "sender", patience_seconds=given.patience * 60)
        print(f"all acknowledged after {time.monotonic() - began:.0f} s", flush=True)
        trial.heal()
        verdict = trial.judge(logs, patience_seconds=given.patience * 60)
        print(f"at rest after {time.monotonic() - began:.0f} s")
        deaths = {name: process.deaths for name, process in system.processes.items()}
        print(f"killed: {deaths}; ended by themselves: {len(trial.gave_up)}")
        for line in sorted(set(trial.gave_up)):
            print(f"  {line}")
        contradictions = trial.contradictions(verdict)
    print(verdict)
    print(f"the audit {'contradicts' if contradictions else 'agrees with'} the oracle")
    for line in contradictions:
        print(f"  {line}")
    return (
        verdict.is_clean
        and not contradictions
        and verdict.acknowledged == given.events // given.senders * given.senders
    )


if __name__ == "__main__":
    main()
