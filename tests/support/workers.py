"""Real workers for tests: `prefect worker start` in a process of its own, and the runs that it is given."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hookline.worker import WarmWorker
from tests.support.prefect import PrefectHttp
from tests.support.servers import PrefectServer
from tests.support.waiting import eventually

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
SET_WORKING_DIRECTORY = "prefect.deployments.steps.set_working_directory"


@dataclass
class Worker:
    """A worker on a work pool, started with Prefect's own command line."""

    server: PrefectServer
    pool: str
    folder: Path
    name: str = "worker"
    env: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.pool}-{self.name}.log"

    def start(self) -> Worker:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", self.pool,
                 "--name", self.name, *self.options],
                cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**self.server.env, "PREFECT_LOGGING_LEVEL": "INFO", **self.env},
            )  # fmt: skip
        eventually(self._has_started, f"worker {self.name} on {self.pool} starts", 60)
        return self

    def _has_started(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"The worker left with {self.process.returncode}:\n{self.output()}")
        return "started!" in self.output()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def ask_to_stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout_seconds: float = 60) -> None:
        if self.process is not None and self.process.poll() is None:
            self.ask_to_stop()
            try:
                self.process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


@contextmanager
def working(
    server: PrefectServer, pool: str, folder: Path, name: str = "worker", *options: str, **env: str
) -> Iterator[Worker]:
    """Start a worker and stop it at the end, whatever happened."""
    worker = Worker(server, pool, folder, name, env, options)
    try:
        yield worker.start()
    finally:
        worker.stop()


class Pool:
    """A work pool with deployments of flows in a folder, seen through Prefect's HTTP API alone."""

    def __init__(self, server: PrefectServer, name: str, type: str = "warm", **pool: Any) -> None:
        self.prefect = PrefectHttp(server.api_url)
        self.server = server
        self.name = name
        self.prefect.post("/work_pools/", {"name": name, "type": type, **pool})

    def deploy(self, folder: Path, entrypoint: str, **more: Any) -> str:
        """Deploy a flow of a local project as `prefect deploy` does; return the deployment's id."""
        flow = entrypoint.replace(":", ".").rsplit(".", 1)[1].replace("_", "-")
        steps = [{SET_WORKING_DIRECTORY: {"directory": str(folder)}}]
        name = more.pop("name", f"{self.name}-{flow}")
        return self.prefect.deployment(flow, name, self.name, entrypoint=entrypoint, pull_steps=steps, **more)

    def run(self, deployment: str, scheduled: str | None = None, **parameters: Any) -> str:
        """Create a flow run, as the UI does; return its id."""
        details = {"scheduled_time": scheduled} if scheduled else {}
        body = {"parameters": parameters, "state": {"type": "SCHEDULED", "state_details": details}}
        return str(self.prefect.post(f"/deployments/{deployment}/create_flow_run", body)["id"])

    def read(self, run_id: str) -> dict[str, Any]:
        run: dict[str, Any] = self.prefect.get(f"/flow_runs/{run_id}")
        return run

    def await_state(self, run_id: str, *types: str, timeout_seconds: float = 40) -> dict[str, Any]:
        """Return the run once it is in one of the states; in a final one without any."""
        wanted = set(types) or FINAL

        def look() -> dict[str, Any] | None:
            run = self.read(run_id)
            assert run["state_type"] in wanted, run["state_type"]
            return run

        found = eventually(look, f"flow run {run_id} is in one of {sorted(wanted)}", timeout_seconds)
        assert found is not None
        return found

    def states(self, run_id: str) -> list[tuple[str, str]]:
        """Return the history of a run as (type, name), oldest first."""
        states = self.prefect.get(f"/flow_run_states/?flow_run_id={run_id}")
        return [(s["type"], s["name"]) for s in sorted(states, key=lambda s: s["timestamp"])]

    def logs(self, run_id: str) -> list[str]:
        """Return the messages in a run's log, oldest first."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [entry["message"] for entry in self.prefect.post("/logs/filter", body)]

    def await_log(self, run_id: str, text: str) -> str:
        """Return the message in a run's log that contains a text, once it is there."""
        return eventually(
            lambda: next((m for m in self.logs(run_id) if text in m), None),
            f"{text!r} is in the log of {run_id}",
        )

    def await_final(self, *run_ids: str, timeout_seconds: float = 60) -> list[dict[str, Any]]:
        """Return the runs once all of them are in a final state."""

        def look() -> list[dict[str, Any]]:
            runs = self.prefect.runs(id={"any_": list(run_ids)})
            assert all(run["state_type"] in FINAL for run in runs), [run["state_type"] for run in runs]
            return runs

        return eventually(look, f"{len(run_ids)} flow runs are final", timeout_seconds)


def warm_template(**defaults: Any) -> dict[str, Any]:
    """Return the template of a pool of type `warm` whose job variables have other defaults."""
    template = WarmWorker.get_default_base_job_template()
    for name, value in defaults.items():
        template["variables"]["properties"][name]["default"] = value
    return template


def is_alive(pid: int) -> bool:
    """Return whether a process lives, zombies excepted."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"
