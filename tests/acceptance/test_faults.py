"""Nothing that was acknowledged is lost and nothing runs twice, whatever is killed, locked or full meanwhile.

The judge is outside the product: each sender's own log, what each flow run wrote down, and Prefect's API.
The long form is `scripts/bench faults`. A run is repeated with the seed that it prints: HOOKLINE_FAULT_SEED.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator

import pytest

from tests.support.faults import Means, Ordeal, Scenario, deploy_ledger, plan_faults
from tests.support.system import REPOSITORY, System, running_system

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux's"),
    pytest.mark.slow,
]

SEED = int(os.environ.get("HOOKLINE_FAULT_SEED") or random.randrange(10**6))  # noqa: S311 (not secret)
SECONDS = 9.0
FAULTS = {
    "kill gateway": 2,
    "kill worker": 1,
    "kill server": 1,
    "lock inbox": 1,
    "fill disk": 1,
    "refuse writes": 1,
    "jump clock": 2,
}


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ordeal]:
    """Give a whole system to which everything can be done that this machine allows."""
    folder = tmp_path_factory.mktemp("faults")
    means = Means(folder)
    for kind, why in means.missing.items():
        print(f"without {kind!r}: {why}")
    system = System(
        folder,
        REPOSITORY / "tests" / "support" / "fault_project",
        extra={"LEDGER": str(folder / "ledger")},
        gateway_extra=means.gateway_env(),
    )
    with means.small_disk(system.data, mebibytes=48), running_system(system, deploy_ledger):
        yield Ordeal(system, means, folder / "ledger", print)


def test_every_acknowledged_event_starts_its_one_run_through_kills_locks_full_disks_and_jumps(
    ordeal: Ordeal,
) -> None:
    """The oracle finds each acknowledged event on the disk, and one completed run for each that acts;
    `hookline audit` says the same."""
    faults = plan_faults(SEED, SECONDS, FAULTS, ordeal.missing)
    scenario = Scenario(SEED, events=120, senders=3, act_one_in=6, seconds=SECONDS, faults=faults)
    print(f"HOOKLINE_FAULT_SEED={SEED}")
    logs = ordeal.endure(scenario, "honest", patience_seconds=60)
    ordeal.heal()
    verdict = ordeal.judge(logs, patience_seconds=60)
    print(verdict)
    assert verdict.is_clean, f"HOOKLINE_FAULT_SEED={SEED}: {verdict}"
    assert verdict.acknowledged == 120
    assert ordeal.contradictions(verdict) == []


def test_a_build_that_acknowledges_before_the_commit_is_caught(ordeal: Ordeal) -> None:
    """The same oracle finds events that were acknowledged and are gone after a kill."""
    scenario = Scenario(SEED, events=20, senders=2, act_one_in=10, seconds=0.5, faults=())
    with ordeal.sabotaged("ack-before-commit"):
        logs = ordeal.endure(scenario, "hasty", patience_seconds=30)
        ordeal.system.gateway.kill()
    verdict = ordeal.oracle.judge(logs)
    assert verdict.lost, str(verdict)


def test_a_build_whose_idempotency_key_is_random_is_caught(ordeal: Ordeal) -> None:
    """The same oracle finds dispatches with two runs after a disk that refused writes for a moment."""
    scenario = Scenario(SEED, events=20, senders=2, act_one_in=1, seconds=0.1, faults=())
    with ordeal.sabotaged("random-idempotency-key"):
        logs = ordeal.endure(scenario, "forgetful", patience_seconds=30)
        ordeal.until(lambda: ordeal.oracle.runs_of(logs) > 0, "the first run is there", 30)
        with ordeal.refused_writes():
            ordeal.until(lambda: bool(ordeal.oracle.doubled(logs)), "a dispatch has two runs", 30)
