"""Each way in which a flow run can end, in a warm worker on a real server, told by Prefect's own API."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import PrefectServer
from tests.support.waiting import eventually
from tests.support.workers import Pool, is_alive, working

PROJECT = Path(__file__).parent.parent / "support" / "warm_project"


class Ends:
    """A pool with a warm worker; `run` starts a flow of `jobs/ends.py` in it."""

    def __init__(self, pool: Pool, folder: Path, notes: Path) -> None:
        self.pool = pool
        self.folder = folder
        self._notes = notes
        self._deployments: dict[str, str] = {}

    def run(self, flow: str, **parameters: object) -> str:
        return self.pool.run(self._deployments.get(flow) or self.deploy(flow), **parameters)

    def deploy(self, flow: str, **more: object) -> str:
        self._deployments[flow] = self.pool.deploy(self.folder, f"jobs.ends.{flow}", **more)
        return self._deployments[flow]

    def notes(self, test: str) -> Path:
        return self._notes / test


def lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm") / "project"
    shutil.copytree(PROJECT, folder)
    return folder


@pytest.fixture(scope="module")
def ends(prefect_server: PrefectServer, folder: Path) -> Iterator[Ends]:
    pool = Pool(prefect_server, "ends")
    ends = Ends(pool, folder, folder)
    ends.deploy("eat_memory", job_variables={"memory_limit_mb": 700})
    ends.deploy("speak")
    with working(prefect_server, "ends", folder) as worker:
        ends.worker = worker  # type: ignore[attr-defined]
        yield ends


def test_a_flow_that_returns_is_completed(ends: Ends) -> None:
    """Scheduled, Pending, Submitting, Running, Completed: as with Prefect's own workers."""
    run = ends.run("succeed", a=2)
    assert ends.pool.await_state(run)["state_type"] == "COMPLETED"
    assert ends.pool.states(run) == [
        ("SCHEDULED", "Scheduled"),
        ("PENDING", "Pending"),
        ("PENDING", "Submitting"),
        ("RUNNING", "Running"),
        ("COMPLETED", "Completed"),
    ]


def test_a_flow_that_raises_is_failed_and_its_hook_is_called(ends: Ends) -> None:
    notes = ends.notes("fail")
    run = ends.run("fail", notes=str(notes))
    assert "ValueError: as it should" in ends.pool.await_state(run)["state"]["message"]
    eventually(lambda: lines(notes) == ["hook FAILED"], "the hook is called after the state is set")
    ends.pool.await_log(run, 'raise ValueError("as it should")')


def test_sys_exit_is_a_crash(ends: Ends) -> None:
    run = ends.run("leave_politely")
    assert (
        ends.pool.await_state(run)["state"]["message"] == "Execution was aborted by Python system exit call."
    )
    assert ends.pool.read(run)["state_type"] == "CRASHED"


def test_os_exit_is_a_crash_with_its_status_and_the_crashed_hook_is_called(ends: Ends) -> None:
    notes = ends.notes("leave_at_once")
    run = ends.run("leave_at_once", notes=str(notes))
    assert "Process exited with status code: 7." in ends.pool.await_state(run, "CRASHED")["state"]["message"]
    eventually(lambda: lines(notes) == ["ran", "hook CRASHED"], "the hook is called, in a process of its own")


def test_sigkill_is_a_crash(ends: Ends) -> None:
    run = ends.run("be_killed")
    assert "Process exited with status code: -9." in ends.pool.await_state(run, "CRASHED")["state"]["message"]


def test_memory_beyond_the_limit_fails_the_run_alone(ends: Ends) -> None:
    run = ends.run("eat_memory")
    assert "MemoryError" in ends.pool.await_state(run, "FAILED")["state"]["message"]


def test_a_flow_timeout_is_timed_out(ends: Ends) -> None:
    run = ends.run("take_too_long")
    assert ends.pool.await_state(run, "FAILED")["state_name"] == "TimedOut"


def test_a_task_timeout_fails_its_flow(ends: Ends) -> None:
    run = ends.run("wait_for_a_slow_task")
    assert "TaskRunTimeoutError" in ends.pool.await_state(run, "FAILED")["state"]["message"]


def test_cancelling_stops_the_process_and_calls_the_cancellation_hook_alone(ends: Ends) -> None:
    notes = ends.notes("cancel")
    run = ends.run("wait_forever", notes=str(notes))
    eventually(lambda: lines(notes), "the flow has begun")
    ends.pool.prefect.set_state(run, "CANCELLING")
    assert ends.pool.await_state(run)["state_type"] == "CANCELLED"
    eventually(lambda: lines(notes)[1:] == ["hook CANCELLING"], "the hook is called after the state is set")
    pid = int(lines(notes)[0].split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_sigterm_from_outside_is_a_crash_that_the_engine_reports(ends: Ends) -> None:
    notes = ends.notes("sigterm")
    run = ends.run("wait_forever", notes=str(notes))
    pid = int(eventually(lambda: lines(notes), "the flow has begun")[0].split()[1])
    os.kill(pid, signal.SIGTERM)
    assert ends.pool.await_state(run)["state_type"] == "CRASHED"
    eventually(lambda: lines(notes)[1:] == ["hook CRASHED"], "the hook is called after the state is set")


def test_a_flow_that_suspends_itself_goes_on_in_another_process_when_it_is_resumed(ends: Ends) -> None:
    notes = ends.notes("suspend")
    run = ends.run("suspend_once", notes=str(notes))
    ends.pool.await_state(run, "PAUSED")
    ends.pool.prefect.post(f"/flow_runs/{run}/resume", {})
    assert ends.pool.await_state(run)["state_type"] == "COMPLETED"
    began = [line for line in lines(notes) if line.startswith("began")]
    assert len(set(began)) == 2
    assert lines(notes)[-1] == "went on"


def test_a_flow_that_is_suspended_from_outside_stops_at_its_next_task(ends: Ends) -> None:
    notes = ends.notes("suspended")
    run = ends.run("be_suspended", notes=str(notes))
    eventually(lambda: lines(notes), "the flow has begun")
    state = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}
    ends.pool.prefect.post(f"/flow_runs/{run}/set_state", {"state": state})
    pid = int(lines(notes)[0].split()[1])
    eventually(lambda: not is_alive(pid), "the process has left")
    assert len(lines(notes)) < 600
    assert ends.pool.read(run)["state_name"] == "Suspended"


def test_subflows_run_in_the_same_process(ends: Ends) -> None:
    run = ends.run("outer")
    assert ends.pool.await_state(run)["state_type"] == "COMPLETED"
    children = ends.pool.prefect.runs(parent_flow_run_id={"any_": [run]})
    assert [child["state_type"] for child in children] == ["COMPLETED", "COMPLETED"]


def test_an_asynchronous_flow_is_completed(ends: Ends) -> None:
    run = ends.run("asynchronous")
    assert ends.pool.await_state(run)["state_type"] == "COMPLETED"


@pytest.mark.parametrize("flow", ["yielding", "yielding_soon"])
def test_a_generator_flow_is_run_to_its_end(ends: Ends, flow: str) -> None:
    notes = ends.notes(flow)
    run = ends.run(flow, notes=str(notes))
    assert ends.pool.await_state(run)["state_type"] == "COMPLETED"
    assert lines(notes) == ["0", "1", "2"]


def test_a_persisted_result_is_where_it_is_with_any_worker(ends: Ends, prefect_server: PrefectServer) -> None:
    run = ends.run("keep")
    data = ends.pool.await_state(run, "COMPLETED")["state"]["data"]
    assert Path(data["storage_key"]).is_relative_to(prefect_server.home / "storage")
    assert Path(data["storage_key"]).exists()


def test_retries_of_flows_and_tasks_are_made_in_the_same_process(ends: Ends) -> None:
    flow = ends.run("succeed_at_last", notes=str(ends.notes("flow-retry")))
    task = ends.run("with_a_wavering_task", notes=str(ends.notes("task-retry")))
    assert ends.pool.await_state(flow)["run_count"] == 2
    assert ends.pool.read(flow)["state_type"] == "COMPLETED"
    assert ends.pool.await_state(task)["state_type"] == "COMPLETED"
    assert lines(ends.notes("task-retry")) == ["waver", "waver"]


def test_prints_logs_and_artifacts_arrive(ends: Ends) -> None:
    run = ends.run("speak")
    ends.pool.await_log(run, "printed")
    ends.pool.await_log(run, "logged")
    body = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    assert [found["key"] for found in ends.pool.prefect.post("/artifacts/filter", body)] == ["said"]


def test_a_flow_is_told_of_its_run_what_the_server_knows(ends: Ends) -> None:
    """The engine is spared a request for it, and must not be told anything else."""
    notes = ends.notes("itself")
    run = ends.run("know_itself", notes=str(notes))
    assert ends.pool.await_state(run)["state_type"] == "COMPLETED"
    assert lines(notes) == ["[]"]


def test_a_run_leaves_nothing_of_its_environment_to_the_next(ends: Ends) -> None:
    notes = ends.notes("mess")
    runs = []
    for _ in range(2):
        runs.append(ends.run("make_a_mess", notes=str(notes)))
        assert ends.pool.await_state(runs[-1])["state_type"] == "COMPLETED"
    assert lines(notes) == [f"None False {ends.folder} {run}" for run in runs]


def test_changed_code_is_run_next_and_a_syntax_error_fails_only_the_runs_of_its_file(ends: Ends) -> None:
    """No restart: what is on disk when a run starts is what runs."""
    file = ends.folder / "jobs" / "changing.py"
    source = "from pathlib import Path\nfrom prefect import flow\n\n@flow\ndef change(notes: str) -> None:\n"
    file.write_text(f"{source}    Path(notes).write_text('first')\n")
    notes = ends.notes("change")
    deployment = ends.pool.deploy(ends.folder, "jobs/changing.py:change")

    assert ends.pool.await_state(ends.pool.run(deployment, notes=str(notes)))["state_type"] == "COMPLETED"
    assert lines(notes) == ["first"]

    file.write_text(f"{source}    Path(notes).write_text('second, and longer')\n")
    assert ends.pool.await_state(ends.pool.run(deployment, notes=str(notes)))["state_type"] == "COMPLETED"
    assert lines(notes) == ["second, and longer"]

    file.write_text(f"{source}    this is no Python\n")
    broken = ends.pool.run(deployment, notes=str(notes))
    fine = ends.run("succeed")
    assert ends.pool.await_state(broken)["state_type"] == "CRASHED"
    assert "SyntaxError" in ends.pool.await_log(broken, "this is no Python")
    assert ends.pool.await_state(fine)["state_type"] == "COMPLETED"
