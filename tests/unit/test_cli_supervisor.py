"""The supervisor: what it starts it keeps running, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hookline.supervisor import Service, ServiceFailed, Supervisor
from tests.support.up import until

#: A process that says it is ready by a file, and counts its starts in it.
COUNTING = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).open('a').write('x'); time.sleep(600)"
#: One that has a child of its own, and does not listen to SIGTERM.
STUBBORN = (
    "import pathlib, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); time.sleep(600)"
)


class Told(list[str]):
    """What the supervisor said, which a test can wait for."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def say(self, line: str) -> None:
        self.append(line)
        self._news.set()

    async def news(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def wait_for(self, text: str) -> str:
        async with asyncio.timeout(20):
            while not (found := [line for line in self if text in line]):
                await self.news()
        return found[-1]


def service(tmp_path: Path, code: str, name: str = "service", **details: timedelta) -> Service:
    """Return a service that runs some Python and is ready once its file is there."""
    sign = tmp_path / name

    async def ready() -> bool:
        return sign.exists()

    return Service(
        name=name,
        command=(sys.executable, "-S", "-c", code, str(sign)),
        env={},
        log=tmp_path / "logs" / f"{name}.log",
        ready=ready,
        **details,
    )


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie that nobody has collected does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_a_service_that_dies_is_started_again(tmp_path: Path) -> None:
    """It says how the process ended, starts another, and says when that is ready."""
    told = Told()
    pids: list[dict[str, int]] = []
    async with Supervisor(told.say, lambda now: pids.append(dict(now))) as supervisor:
        await supervisor.start(service(tmp_path, COUNTING))
        os.kill(pids[-1]["service"], signal.SIGKILL)
        assert "SIGKILL" in await told.wait_for("ended unexpectedly")
        await told.wait_for("service is running again")
        assert (tmp_path / "service").read_text().startswith("x")
        assert pids[-1] != pids[0]
    assert not alive(pids[-1]["service"])


GIVING_UP = (
    "import signal, sys; from pathlib import Path\n"
    "signal.signal(signal.SIGUSR1, lambda *_: sys.exit('sources.yaml:3:1: no YAML'))\n"
    "Path(sys.argv[1]).touch()\n"
    "while True: signal.pause()"
)


async def test_a_service_that_gives_up_is_quoted(tmp_path: Path) -> None:
    """The last line of its log says why; nobody reads the log to find that a file has a slip."""
    told = Told()
    pids: dict[str, int] = {}
    async with Supervisor(told.say, pids.update) as supervisor:
        await supervisor.start(service(tmp_path, GIVING_UP))
        os.kill(pids["service"], signal.SIGUSR1)
        assert (await told.wait_for("ended unexpectedly")).endswith("\n    sources.yaml:3:1: no YAML")


async def test_a_service_that_ends_while_starting_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """The end of its log is quoted, and it is not tried again."""
    async with Supervisor(Told().say) as supervisor:
        with pytest.raises(ServiceFailed, match="exit code 3 while starting") as failed:
            await supervisor.start(service(tmp_path, "import sys; print('no such table'); sys.exit(3)"))
    assert "no such table" in str(failed.value)


async def test_a_service_that_never_gets_ready_is_an_error(tmp_path: Path) -> None:
    """It does nothing while patience lasts, so it is stuck: it is ended, and its log said to be empty."""
    slow = service(tmp_path, "import time; time.sleep(600)", patience=timedelta(milliseconds=300))
    pids: dict[str, int] = {}
    async with Supervisor(Told().say, pids.update) as supervisor:
        with pytest.raises(ServiceFailed, match=r"stood still for 0.3 s.*wrote nothing"):
            await supervisor.start(slow)
    assert not alive(pids["service"])


@pytest.mark.parametrize(
    "doing", ["sum(range(2000))", "print('migration', flush=True); time.sleep(0.05)"], ids=["busy", "telling"]
)
async def test_a_service_that_gets_on_may_take_its_time(tmp_path: Path, doing: str) -> None:
    """On a loaded machine a start takes many times the patience; what it does is told meanwhile."""
    code = (
        "import pathlib, sys, time\nend = time.monotonic() + 1.5\n"
        f"while time.monotonic() < end: {doing}\n"
        "pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    )
    told = Told()
    async with Supervisor(Told().say) as supervisor:
        await supervisor.start(service(tmp_path, code, patience=timedelta(milliseconds=400)), tell=told.say)
    assert "of processor time; " in told[0]
    assert ("migration" if "print" in doing else "nothing in its log yet") in told[-1]


#: Answers each connection with its process id, on the socket that it was handed.
ANSWERING = (
    "import os, pathlib, socket, sys\n"
    "assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDS'] == '1'\n"
    "door = socket.socket(fileno=3); pathlib.Path(sys.argv[1]).open('a').write('x')\n"
    "while True: there, _ = door.accept(); there.sendall(str(os.getpid()).encode()); there.close()"
)


def ask(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as there:
        return int(there.recv(100))


async def test_a_door_stays_open_while_its_service_is_away(tmp_path: Path) -> None:
    """Who connects after a SIGKILL is not refused: the connection waits for the next process."""
    told = Told()
    pids: dict[str, int] = {}
    door = socket.create_server(("127.0.0.1", 0))
    port = door.getsockname()[1]
    answering = replace(service(tmp_path, ANSWERING), sockets=[door])
    async with Supervisor(told.say, pids.update) as supervisor:
        await supervisor.start(answering)
        first = await asyncio.to_thread(ask, port)
        assert first == pids["service"]
        os.kill(first, signal.SIGKILL)
        # Until it is dead it may still take a connection.
        await told.wait_for("ended unexpectedly")
        assert await asyncio.to_thread(ask, port) == pids["service"] != first
    with pytest.raises(ConnectionRefusedError):
        ask(port)


async def test_a_service_that_was_well_is_away_for_a_moment_only(tmp_path: Path) -> None:
    """However often it is killed; one that does not get ready again is tried later and later."""
    told = Told()
    pids: dict[str, int] = {}
    prompt = replace(service(tmp_path, COUNTING), longest_delay=timedelta(milliseconds=20))
    async with Supervisor(told.say, pids.update) as supervisor:
        await supervisor.start(prompt)
        for number in range(3):
            os.kill(pids["service"], signal.SIGKILL)
            async with asyncio.timeout(20):
                while len([line for line in told if "is running again" in line]) == number:
                    await told.news()
    assert [line for line in told if "ended" in line and "in 0.02 s" not in line] == []


async def test_a_service_that_is_killed_while_it_starts_again_is_not_kept_waiting(tmp_path: Path) -> None:
    """It had no chance to get ready; only what ends by itself before that is tried later and later."""
    told = Told()
    pids: dict[str, int] = {}
    sign = tmp_path / "service"
    may_be_ready = True

    async def ready() -> bool:
        return may_be_ready and sign.exists()

    killed = replace(service(tmp_path, COUNTING), ready=ready, longest_delay=timedelta(milliseconds=20))
    async with Supervisor(told.say, pids.update) as supervisor:
        await supervisor.start(killed)
        may_be_ready = False
        for starts in range(2, 6):
            os.kill(pids["service"], signal.SIGKILL)
            wanted = "x" * starts
            await asyncio.to_thread(until, lambda wanted=wanted: sign.read_text() == wanted, "its next start")
    assert len([line for line in told if "starting it again in 0.02 s" in line]) == 4


async def test_what_does_not_stop_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the grace the whole process group goes."""
    told = Told()
    pids: dict[str, int] = {}
    async with Supervisor(told.say, pids.update) as supervisor:
        await supervisor.start(service(tmp_path, STUBBORN, grace=timedelta(milliseconds=200)))
        child = int((tmp_path / "service").read_text())
        assert alive(child)
    await told.wait_for("did not stop")
    assert not alive(pids["service"])
    until(lambda: not alive(child), "the child's end")


async def test_services_stop_in_reverse_order(tmp_path: Path) -> None:
    """What was started last stops first, because it may need the others to stop well."""
    order = tmp_path / "order"
    code = (
        "import pathlib, signal, sys, time\n"
        "me = pathlib.Path(sys.argv[1])\n"
        "def end(*_): (me.parent / 'order').open('a').write(me.name + ' '); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); me.touch(); time.sleep(600)"
    )
    async with Supervisor(Told().say) as supervisor:
        for name in ("server", "gateway", "worker"):
            await supervisor.start(service(tmp_path, code, name))
    assert order.read_text().split() == ["worker", "gateway", "server"]


async def test_a_command_is_run_to_its_end(tmp_path: Path) -> None:
    """Its exit code comes back, its output is in the log, that of an earlier run is not."""
    log = tmp_path / "command.log"
    log.write_text("of an earlier run")
    async with Supervisor(Told().say) as supervisor:
        command = (sys.executable, "-S", "-c", "print('done'); raise SystemExit(4)")
        assert await supervisor.run(command, env={}, log=log) == 4
    assert log.read_text() == "done\n"


@pytest.fixture
def killed_supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Give a process whose supervisor has started a stubborn service with a child."""
    code = f"""
import asyncio, pathlib, sys
from hookline.supervisor import Service, Supervisor
sign = pathlib.Path({str(tmp_path / "service")!r})
async def ready(): return sign.exists()
async def main():
    async with Supervisor(print, lambda pids: print(*pids.values(), flush=True)) as supervisor:
        command = (sys.executable, "-S", "-c", {STUBBORN!r}, str(sign))
        log = sign.with_suffix(".log")
        await supervisor.start(Service(name="service", command=command, env={{}}, log=log, ready=ready))
        await asyncio.Event().wait()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_guardian_ends_what_a_killed_supervisor_left(
    tmp_path: Path, killed_supervisor: subprocess.Popen[str]
) -> None:
    """SIGKILL of the supervisor: its services and their children end all the same, stubborn ones too."""
    assert killed_supervisor.stdout is not None
    pid = int(killed_supervisor.stdout.readline())
    until(lambda: (tmp_path / "service").exists() and (tmp_path / "service").read_text(), "its child")
    child = int((tmp_path / "service").read_text())
    killed_supervisor.kill()
    until(lambda: not alive(pid) and not alive(child), "the end of both", 15)
