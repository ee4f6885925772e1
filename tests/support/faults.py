"""What can befall a system, at moments that a seed chooses, and the run of a scenario through all of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hookline.inbox import Inbox
from hookline.triggers import Trigger
from tests.support.oracle import ACT, Oracle, Verdict
from tests.support.prefect import PrefectHttp
from tests.support.sender import Spec
from tests.support.system import REPOSITORY, System, python_module
from tests.support.waiting import eventually
from tests.support.workers import SET_WORKING_DIRECTORY

#: Where the library that moves a process's clock may be (Debian's package faketime).
_FAKETIME = "**/faketime/libfaketime.so.1"
#: Another process that takes the write lock of an SQLite database and keeps it until its input ends.
_LOCKER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
#: How often Prefect is asked whether everything is at rest; each look reads all runs.
_LOOK_SECONDS = 0.5
KINDS = (
    "kill gateway", "kill worker", "kill server", "lock inbox", "fill disk", "refuse writes", "jump clock",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault: when, in seconds from the start, what, and how long or how far, in seconds."""

    at: float
    kind: str
    size: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:6.1f} s {self.kind}" + (f" {self.size:+.1f} s" if self.size else "")


@dataclass(frozen=True)
class Scenario:
    """What is sent and what happens meanwhile.

    Parameters
    ----------
    seed: of everything that is random in it.
    events, senders, act_one_in, seconds: see `tests.support.sender.Spec`.
    faults: in order of time.
    """

    seed: int
    events: int
    senders: int
    act_one_in: int
    seconds: float
    faults: tuple[Fault, ...]


class Means:
    """What this machine allows to be done to a system.

    Parameters
    ----------
    folder: where the clock's file is.
    """

    def __init__(self, folder: Path) -> None:
        self.clock_file = folder / "clock"
        self._library = next(Path("/usr/lib").glob(_FAKETIME), None) if sys.platform == "linux" else None
        self.missing: dict[str, str] = {}
        if self._library is None:
            self.missing["jump clock"] = "libfaketime is not installed (Debian's package faketime)"
        if sys.platform != "linux" or os.geteuid() != 0:
            self.missing["fill disk"] = "mounting a small tmpfs needs root on Linux"

    def gateway_env(self) -> dict[str, str]:
        """The environment that lets the gateway's clock be moved; its monotonic clock is left alone."""
        if self._library is None:
            return {}
        self.set_clock(0)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, offset_seconds: float) -> None:
        new = self.clock_file.with_suffix(".new")
        new.write_text(f"{offset_seconds:+.1f}s\n")
        new.rename(self.clock_file)

    @contextlib.contextmanager
    def small_disk(self, folder: Path, mebibytes: int) -> Iterator[None]:
        """Put a file system of its own, and small, in the place of a folder, where that is allowed."""
        folder.mkdir(parents=True, exist_ok=True)
        if "fill disk" in self.missing:
            yield
            return
        options = f"size={mebibytes}m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def plan_faults(
    seed: int, seconds: float, numbers: dict[str, int], missing: dict[str, str]
) -> tuple[Fault, ...]:
    """Return faults at moments that the seed chooses, all within a time.

    Parameters
    ----------
    numbers: how many of each kind.
    missing: the kinds that cannot be had here.
    """
    chance = random.Random(seed)  # noqa: S311 (repeatable, not secret)
    faults = []
    for kind in KINDS:
        for _ in range(numbers.get(kind, 0)):
            at, size = chance.uniform(0.05, 0.9) * seconds, chance.random()
            if kind in ("lock inbox", "fill disk", "refuse writes"):
                fault = Fault(at, kind, 0.5 + 2.5 * size)
            elif kind == "jump clock":
                fault = Fault(at, kind, (size * 2 - 1) * 7200)
            else:
                fault = Fault(at, kind)
            if kind not in missing:
                faults.append(fault)
    return tuple(sorted(faults, key=lambda fault: fault.at))


def deploy_ledger(system: System) -> None:
    """Deploy the project of the fault tests, as `hookline deploy` does, but through the doors behind it."""
    http = PrefectHttp(system.api)
    http.pool("warm", "warm")
    http.deployment(
        "write-down", "on-act", "warm", entrypoint="flows.ledger.write_down",
        job_variables={"when_lost": "retry"},
        pull_steps=[{SET_WORKING_DIRECTORY: {"directory": str(system.place)}}],
    )  # fmt: skip
    act = Trigger(flow="write-down", deployment="on-act", name="act", expect=(ACT,), passes_event=True)

    async def keep() -> None:
        async with Inbox.open(f"sqlite:///{system.inbox}") as inbox:
            await inbox.save_trigger_set([act])

    asyncio.run(keep())


class Ordeal:
    """A system, what befalls it, and what became of what was sent to it meanwhile.

    Parameters
    ----------
    system: running.
    means: what can be done to it.
    ledger: the file that its flow writes to.
    say: told what happens.
    """

    def __init__(self, system: System, means: Means, ledger: Path, say: Callable[[str], None]) -> None:
        self.system = system
        self.oracle = Oracle(system.api, ledger, system.inbox)
        self._means = means
        self.missing = means.missing
        self._say = say
        self._pause = threading.Event()
        self._filler = system.data / "filler"
        #: Processes that ended by themselves, which a supervisor has to start again.
        self.gave_up: list[str] = []

    def endure(self, scenario: Scenario, name: str, patience_seconds: float) -> list[Path]:
        """Send what a scenario sends, with what happens meanwhile; return the senders' logs at the end."""
        logs = [self.system.folder / f"{name}-{n}.log" for n in range(scenario.senders)]
        senders = self._start_senders(scenario, name, logs)
        try:
            began = time.monotonic()
            for fault in scenario.faults:
                self.pass_time(began + fault.at - time.monotonic())
                self._say(str(fault))
                self.strike(fault)
            self.until(
                lambda: all(s.poll() is not None for s in senders), "senders are done", patience_seconds
            )
        finally:
            for sender in senders:
                sender.kill()
                sender.wait(10)
        assert all(sender.returncode == 0 for sender in senders), "a sender was refused; its output says why"
        return logs

    def _start_senders(
        self, scenario: Scenario, name: str, logs: list[Path]
    ) -> list[subprocess.Popen[bytes]]:
        senders = []
        for number, log in enumerate(logs):
            share = scenario.events // scenario.senders
            spec = Spec(
                url=self.system.url, log=str(log), name=f"{name}-{number}", events=share,
                act_one_in=scenario.act_one_in, seconds=scenario.seconds, seed=scenario.seed * 1000 + number,
            )  # fmt: skip
            log.touch()
            senders.append(subprocess.Popen(spec.command(), cwd=REPOSITORY, start_new_session=True))
        return senders

    def strike(self, fault: Fault) -> None:
        """Let one fault happen, and end it where it is one that lasts."""
        match fault.kind.split(" "):
            case "kill", process:
                self.system.processes[process].kill()
                self.system.processes[process].start(wait=False)
            case "lock", _:
                with self.locked(self.system.inbox):
                    self.pass_time(fault.size)
            case "fill", _:
                with self.full_disk():
                    self.pass_time(fault.size)
            case "refuse", _:
                with self.refused_writes():
                    self.pass_time(fault.size)
            case "jump", _:
                self._means.set_clock(fault.size)

    @contextlib.contextmanager
    def locked(self, database: Path) -> Iterator[None]:
        """Let another process hold a database's write lock meanwhile."""
        locker = subprocess.Popen(
            [sys.executable, "-I", "-c", _LOCKER, str(database)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            assert locker.stdout is not None
            assert locker.stdout.readline() == b"locked\n"
            yield
        finally:
            locker.communicate(timeout=10)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave no byte on the data folder's disk meanwhile."""
        filler = os.open(self._filler, os.O_WRONLY | os.O_CREAT)
        try:
            with contextlib.suppress(OSError):
                while True:
                    os.write(filler, b"x" * 65536)
            with contextlib.suppress(OSError):
                while True:
                    os.write(filler, b"x")
            yield
        finally:
            os.close(filler)
            self._filler.unlink()

    @contextlib.contextmanager
    def refused_writes(self) -> Iterator[None]:
        """Let every write of the gateway to a file fail meanwhile, also one over what is there already."""
        pid = self.system.gateway.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

    @contextlib.contextmanager
    def sabotaged(self, sabotage: str) -> Iterator[None]:
        """Let a deliberately broken gateway stand in for the real one, which is left to be started."""
        gateway, honest = self.system.gateway, self.system.gateway.service
        gateway.kill()
        broken = python_module("tests.support.sabotage", sabotage, "gateway")
        gateway.service = replace(honest, command=broken)
        try:
            gateway.start()
            yield
        finally:
            gateway.kill()
            gateway.service = honest

    def heal(self) -> None:
        """Set the clock right and see that every process runs."""
        if "jump clock" not in self._means.missing:
            self._means.set_clock(0)
        for process in self.system.processes.values():
            self.tend()
            process.await_ready()

    def tend(self) -> None:
        """Start again what ended by itself, as a supervisor does."""
        for name, process in self.system.processes.items():
            if process.process is not None and process.process.poll() is not None:
                self.gave_up.append(f"{name}: {process.tail().strip().splitlines()[-1:]}")
                process.start(wait=False)

    def judge(self, logs: list[Path], patience_seconds: float) -> Verdict:
        """Wait until everything is at rest, then let the oracle judge."""
        end = time.monotonic() + patience_seconds
        while not self.oracle.is_at_rest(logs) and time.monotonic() < end:
            self.pass_time(_LOOK_SECONDS)
        return self.oracle.judge(logs)

    def contradictions(self, verdict: Verdict) -> list[str]:
        """Return where `hookline audit` does not say what the oracle says."""
        done = self.system.run("audit", "--deep", "--json")
        if not done.stdout.startswith("{"):
            return [f"audit left with {done.returncode}: {done.stderr[-1000:]}"]
        said = json.loads(done.stdout)
        statuses = {"dispatched": verdict.acting, "ignored": verdict.acknowledged - verdict.acting}
        started = {"started": verdict.runs}
        pairs = {
            "exit code": (done.returncode, 0),
            "balances": (said["balances"], True),
            "received": (said["received"], verdict.acknowledged),
            "events": (said["events"], {name: number for name, number in statuses.items() if number}),
            "dispatches": (said["dispatches"], {name: number for name, number in started.items() if number}),
            "runs": (said["runs"], verdict.runs),
            "gone": (said["gone"], 0),
            "covered by the chain": (said["chain"]["events"], verdict.acknowledged),
            "unknown runs": (said["unknown"], 0),
        }
        return [f"{name}: {ours}, not {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]

    def pass_time(self, seconds: float) -> None:
        """Let a time pass, in which the processes are looked after."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.tend()
            self._pause.wait(min(left, 0.2))

    def until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for a condition; meanwhile the processes are looked after."""

        def look() -> bool:
            self.tend()
            return condition()

        eventually(look, what, seconds)
