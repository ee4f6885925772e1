"""How warm workers share a pool, keep to its limits, and are replaced when they die."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.servers import PrefectServer
from tests.support.waiting import eventually
from tests.support.workers import Pool, is_alive, warm_template, working

PROJECT = Path(__file__).parent.parent / "support" / "warm_project"


def lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def began(notes: Path) -> list[int]:
    """Return the processes that have begun, in their order."""
    return [int(line.split()[1]) for line in lines(notes) if line.startswith("began")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "project"
    shutil.copytree(PROJECT, folder)
    return folder


class Holding:
    """Runs of `hold` in a pool, which go on until they are let go."""

    def __init__(self, server: PrefectServer, folder: Path, name: str, **more: object) -> None:
        self.pool = Pool(server, name, **more)
        self.folder = folder
        self.notes = folder / f"{name}.notes"
        self.until = folder / f"{name}.until"
        self.deployment = self.pool.deploy(folder, "jobs.held.hold")

    def run(self, deployment: str | None = None) -> str:
        return self.pool.run(deployment or self.deployment, notes=str(self.notes), until=str(self.until))

    def await_begun(self, count: int) -> list[int]:
        return eventually(
            lambda: len(began(self.notes)) >= count and began(self.notes), f"{count} have begun", 60
        )

    def let_go(self) -> None:
        self.until.touch()


@pytest.fixture
def shared(prefect_server: PrefectServer, folder: Path) -> Iterator[Holding]:
    holding = Holding(prefect_server, folder, "shared", concurrency_limit=2)
    with working(prefect_server, "shared", folder, "one"), working(prefect_server, "shared", folder, "two"):
        yield holding


# Two runs at a time, of many, on a server that shares two processors with them.
@pytest.mark.timeout(300)
def test_two_workers_share_a_pool_within_its_limit_and_start_nothing_twice(shared: Holding) -> None:
    """Limit 2, six runs: never more than two at once, each of them once."""
    runs = [shared.run() for _ in range(6)]
    shared.await_begun(2)
    running = shared.pool.prefect.runs(id={"any_": runs}, state={"type": {"any_": ["PENDING", "RUNNING"]}})
    assert len(running) == 2
    shared.let_go()
    finished = shared.pool.await_final(*runs, timeout_seconds=90)
    assert [run["run_count"] for run in finished] == [1] * 6
    assert len(began(shared.notes)) == 6


def test_the_queue_with_the_higher_priority_goes_first(prefect_server: PrefectServer, folder: Path) -> None:
    holding = Holding(prefect_server, folder, "queues")
    for name, priority in (("urgent", 1), ("later", 10)):
        holding.pool.prefect.post("/work_pools/queues/queues", {"name": name, "priority": priority})
    urgent, later = (
        holding.pool.deploy(folder, "jobs.held.tell_time", name=name, work_queue_name=name)
        for name in ("urgent", "later")
    )
    told = {name: folder / f"{name}.told" for name in ("first", "urgent", "later")}
    with working(prefect_server, "queues", folder, "worker", "--limit", "1"):
        first = holding.run()
        holding.await_begun(1)
        last = holding.pool.run(later, notes=str(told["later"]))
        next_one = holding.pool.run(urgent, notes=str(told["urgent"]))
        holding.let_go()
        holding.pool.await_final(first, last, next_one)
    assert float(lines(told["urgent"])[0]) < float(lines(told["later"])[0])


def test_a_deployment_with_limit_1_runs_one_after_the_other(
    prefect_server: PrefectServer, folder: Path
) -> None:
    """Prefect gives the second its slot when it asks again; the worker asks at the time that it is told."""
    holding = Holding(prefect_server, folder, "limited")
    limited = holding.pool.deploy(
        folder, "jobs.held.hold", name="one-at-a-time", concurrency_limit=1,
        concurrency_options={"collision_strategy": "CANCEL_NEW"},
    )  # fmt: skip
    with working(prefect_server, "limited", folder):
        first = holding.run(limited)
        holding.await_begun(1)
        second = holding.run(limited)
        assert holding.pool.await_state(second)["state_type"] == "CANCELLED"
        holding.let_go()
        assert holding.pool.await_state(first)["state_type"] == "COMPLETED"


def test_a_paused_pool_starts_nothing_until_it_is_resumed(
    prefect_server: PrefectServer, folder: Path
) -> None:
    holding = Holding(prefect_server, folder, "paused")
    holding.let_go()
    with working(prefect_server, "paused", folder):
        assert holding.pool.await_state(holding.run())["state_type"] == "COMPLETED"
        holding.pool.prefect.patch("/work_pools/paused", {"is_paused": True})
        waiting = holding.run()
        other = Holding(prefect_server, folder, "not-paused")
        other.let_go()
        with working(prefect_server, "not-paused", folder):
            assert other.pool.await_state(other.run())["state_type"] == "COMPLETED"
        assert holding.pool.read(waiting)["state_type"] == "SCHEDULED"
        holding.pool.prefect.patch("/work_pools/paused", {"is_paused": False})
        assert holding.pool.await_state(waiting)["state_type"] == "COMPLETED"


def test_a_scheduled_run_starts_at_its_time(prefect_server: PrefectServer, folder: Path) -> None:
    pool = Pool(prefect_server, "scheduled")
    deployment = pool.deploy(folder, "jobs.held.tell_time")
    told = folder / "scheduled.told"
    with working(prefect_server, "scheduled", folder):
        due = datetime.now(UTC) + timedelta(seconds=3)
        run = pool.run(deployment, scheduled=due.isoformat(), notes=str(told))
        assert pool.await_state(run)["state_type"] == "COMPLETED"
    assert 0 <= float(lines(told)[0]) - due.timestamp() < 2


def test_polling_alone_is_enough(prefect_server: PrefectServer, folder: Path) -> None:
    """Starts, cancellations: all of it, where websockets do not get through."""
    holding = Holding(prefect_server, folder, "polled")
    with working(prefect_server, "polled", folder, **_without_websockets(folder)) as worker:
        run = holding.run()
        holding.await_begun(1)
        assert "The event stream is closed" in worker.output()
        holding.pool.prefect.set_state(run, "CANCELLING")
        assert holding.pool.await_state(run)["state_type"] == "CANCELLED"


def _without_websockets(folder: Path) -> dict[str, str]:
    """Return an environment in which every websocket is refused, and nothing else."""
    site = folder / "no-websockets"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(
        "import websockets.asyncio.client as client\n"
        "async def refuse(self):\n"
        "    raise OSError('websockets are blocked here')\n"
        "client.connect.__aenter__ = refuse\n"
    )
    return {
        "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


def test_a_worker_that_is_asked_to_stop_lets_its_runs_finish(
    prefect_server: PrefectServer, folder: Path
) -> None:
    holding = Holding(prefect_server, folder, "drained")
    with working(prefect_server, "drained", folder) as worker:
        run = holding.run()
        holding.await_begun(1)
        worker.ask_to_stop()
        not_taken = holding.run()
        holding.let_go()
        assert holding.pool.await_state(run)["state_type"] == "COMPLETED"
        assert worker.process is not None
        assert worker.process.wait(30) == 0
    assert holding.pool.read(not_taken)["state_type"] == "SCHEDULED"


def test_a_worker_that_is_asked_to_stop_hands_back_what_takes_too_long(
    prefect_server: PrefectServer, folder: Path
) -> None:
    """With `when_lost: retry` the run goes back to the pool, and the next worker runs it."""
    holding = Holding(prefect_server, folder, "handed", base_job_template=warm_template(drain_seconds=0.2))
    again = holding.pool.deploy(folder, "jobs.held.hold", name="again", job_variables={"when_lost": "retry"})
    with working(prefect_server, "handed", folder, "old") as old:
        run, given_up = holding.run(again), holding.run()
        holding.await_begun(2)
        old.stop()
    assert holding.pool.read(run)["state_name"] == "AwaitingRetry"
    assert holding.pool.read(given_up)["state_type"] == "CRASHED"
    with working(prefect_server, "handed", folder, "new"):
        holding.await_begun(3)
        holding.let_go()
        assert holding.pool.await_state(run)["state_type"] == "COMPLETED"


def test_runs_of_a_worker_that_died_are_crashed_or_run_again_by_the_next(
    prefect_server: PrefectServer, folder: Path
) -> None:
    """SIGKILL: its flow runs die with it, and the next worker on the machine says so in Prefect."""
    holding = Holding(prefect_server, folder, "orphaned")
    again = holding.pool.deploy(folder, "jobs.held.hold", name="again", job_variables={"when_lost": "retry"})
    with working(prefect_server, "orphaned", folder, "old") as old:
        lost, retried = holding.run(), holding.run(again)
        processes = holding.await_begun(2)
        old.kill()
        eventually(lambda: not any(is_alive(pid) for pid in processes), "the flows died with their worker")
    assert holding.pool.read(lost)["state_type"] == "RUNNING"
    with working(prefect_server, "orphaned", folder, "new"):
        assert holding.pool.await_state(lost)["state_type"] == "CRASHED"
        holding.await_begun(3)
        holding.let_go()
        assert holding.pool.await_state(retried)["state_type"] == "COMPLETED"
        eventually(lambda: "hook CRASHED" in lines(holding.notes), "the hook of the lost run is called")


def test_a_run_outlives_a_server_that_is_away_while_it_runs(
    tmp_path: Path, folder: Path, prefect_server: PrefectServer
) -> None:
    """It ends while nobody can be told, waits, and is Completed, with its logs and tasks, once one can."""
    server = PrefectServer(tmp_path / "prefect")
    server.start()
    try:
        holding = Holding(server, folder, "outliving")
        in_task = holding.pool.deploy(folder, "jobs.held.hold_in_a_task")
        with working(server, "outliving", folder):
            run = holding.run(in_task)
            holding.await_begun(1)
            server.kill()
            holding.let_go()
            eventually(lambda: "ended" in lines(holding.notes), "the flow has ended")
            server.start()
            assert holding.pool.await_state(run, timeout_seconds=90)["state_type"] == "COMPLETED"
            holding.pool.await_log(run, "Finished in state Completed()")
            body = {"task_runs": {"flow_run_id": {"any_": [run]}}}
            eventually(
                lambda: (
                    [t["state_type"] for t in holding.pool.prefect.post("/task_runs/filter", body)]
                    == ["COMPLETED"]
                ),
                "its task run is Completed",
            )
    finally:
        server.stop()


def test_a_process_can_run_several_runs_and_keeps_nothing_of_them(
    prefect_server: PrefectServer, folder: Path
) -> None:
    """`runs_per_process: 2`: two runs in a process, the third in another; each finds a clean environment."""
    pool = Pool(prefect_server, "reused", base_job_template=warm_template(runs_per_process=2, processes=1))
    deployment = pool.deploy(folder, "jobs.held.tell_process")
    told = folder / "reused.told"
    with working(prefect_server, "reused", folder):
        for _ in range(3):
            assert pool.await_state(pool.run(deployment, notes=str(told)))["state_type"] == "COMPLETED"
    first, second, third = (line.split() for line in lines(told))
    assert first[0] == second[0] != third[0]
    assert {first[2], second[2], third[2]} == {"None"}


#: What is not here, made out of what is: another version of Prefect, another system.
ELSEWHERE = {
    "untested-prefect": "nurseries.choose_nursery.__defaults__ = ('0.0.0', 'linux')",
    "no-fork": "nurseries.choose_nursery.__defaults__ = (nurseries.TESTED_VERSION, 'darwin')",
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_where_processes_cannot_be_forked_runs_are_right_if_less_warm(
    prefect_server: PrefectServer, folder: Path, where: str
) -> None:
    """Success, crash with its hook, cancellation."""
    holding = Holding(prefect_server, folder, where)
    crash = holding.pool.deploy(folder, "jobs.ends.leave_at_once")
    crashed_notes = folder / f"{where}.crashed"
    site = folder / where
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'worker' in sys.argv or '--pool' in sys.orig_argv:\n"
        f"    from hookline.worker import nurseries\n    {ELSEWHERE[where]}\n"
    )
    with working(prefect_server, where, folder, PYTHONPATH=str(site)):
        crashed = holding.pool.run(crash, notes=str(crashed_notes))
        cancelled = holding.run()
        holding.await_begun(1)
        holding.pool.prefect.set_state(cancelled, "CANCELLING")
        # Without a way to tell it why it is stopped, the engine says Crashed before the worker has its word.
        holding.pool.await_state(cancelled, "CANCELLED")
        holding.let_go()
        assert holding.pool.await_state(holding.run())["state_type"] == "COMPLETED"
        assert "status code: 7." in holding.pool.await_state(crashed)["state"]["message"]
        eventually(lambda: lines(crashed_notes) == ["ran", "hook CRASHED"], "the crashed hook is called")
