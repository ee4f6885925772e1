"""Process supervision: start processes, restart what dies, stop everything that was started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from hookline import guardian
from hookline.errors import HooklineError
from hookline.headway import Headway

#: Alone it guards; with a pipe and a command it becomes that command, under guard.
GUARDIAN = (sys.executable, "-I", "-S", guardian.__file__)
#: How often a starting process is asked whether it is ready: at first, and once it has taken a while.
READY_POLL_SECONDS = 0.05
LATER_POLL_SECONDS = 0.5
#: How often a process that takes its time to start is looked at, and what it does is told.
HEADWAY_SECONDS = 5.0
#: However busy it seems, a process that is not ready by then never will be.
LONGEST_START = timedelta(minutes=20)
#: A process that ran for this long and then died starts again without the delays of earlier deaths.
STEADY_SECONDS = 60.0
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
#: A log that has grown beyond this is moved aside; one older copy is kept.
LOG_LIMIT_BYTES = 20_000_000
LOG_CHECK_SECONDS = 60.0


class ServiceFailed(HooklineError):
    """A process ended, or did not get ready, while it was being started."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process that is kept running.

    Parameters
    ----------
    name: for people.
    command: program and arguments.
    env: its whole environment.
    log: the file that its output is added to.
    ready: answers whether it is ready for use; asked again and again.
    sockets: listening sockets that the process takes over, as systemd hands them (`LISTEN_FDS`). They stay
        open from one process to the next, so that who connects in between waits and is not refused.
    patience: how long it may stand still before it is ready, without output and without processor time.
    longest_delay: how long it may be away between its end and its next start, unless it ended by itself
        before it was ready.
    grace: how long it may take to stop before it is killed.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    ready: Callable[[], Awaitable[bool]]
    sockets: Sequence[socket.socket] = ()
    patience: timedelta = timedelta(seconds=60)
    longest_delay: timedelta = timedelta(seconds=LONGEST_DELAY_SECONDS)
    grace: timedelta = timedelta(seconds=10)


@dataclass(eq=False)
class _Kept:
    """A service and the process that is it just now."""

    service: Service
    process: asyncio.subprocess.Process
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """Starts services in process groups of their own and keeps them running until it is closed.

    An async context manager: leaving it stops what was started, in reverse order. Should this process
    be killed so that it can stop nothing, a guardian process does.

    Parameters
    ----------
    say: told in one line what happened to a service.
    changed: told the process ids by name whenever they change.
    """

    def __init__(
        self, say: Callable[[str], None], changed: Callable[[Mapping[str, int]], None] = lambda pids: None
    ) -> None:
        self._say = say
        self._changed = changed
        self._kept: list[_Kept] = []
        self._stopping = False
        self._guard_pipe = -1

    async def __aenter__(self) -> Self:
        reading, self._guard_pipe = os.pipe()
        await asyncio.create_subprocess_exec(*GUARDIAN, stdin=reading, start_new_session=True)
        os.close(reading)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        os.close(self._guard_pipe)

    async def start(self, service: Service, *, tell: Callable[[str], None] = lambda what: None) -> None:
        """Start a service, return once it is ready, and from then on keep it running.

        It may take as long as it needs while it gets on: a loaded machine is slow, and no reason to give up.

        Parameters
        ----------
        tell: told what it is doing, every few seconds.

        Raises
        ------
        ServiceFailed: it ended or stood still before it was ready; it is stopped, and not tried again.
        """
        kept = _Kept(service, await self._spawn(service.command, service.env, service.log, service.sockets))
        self._kept.append(kept)
        self._report()
        watching = asyncio.create_task(self._watch(kept, tell))
        starting = asyncio.create_task(self._ready(kept))
        try:
            await asyncio.wait((watching, starting), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                raise ServiceFailed(self._obituary(service, watching.result()))
            if not starting.result():
                code = kept.process.returncode
                raise ServiceFailed(self._obituary(service, f"ended with exit code {code} while starting"))
        finally:
            for task in (watching, starting):
                task.cancel()
            await asyncio.gather(watching, starting, return_exceptions=True)
        kept.keeper = asyncio.create_task(self._keep(kept))

    async def stop(self) -> None:
        """Stop everything that was started, the last first; what does not stop in its grace is killed."""
        self._stopping = True
        while self._kept:
            kept = self._kept[-1]
            if kept.keeper is not None:
                kept.keeper.cancel()
                await asyncio.gather(kept.keeper, return_exceptions=True)
            await self._end(kept)
            self._kept.remove(kept)

    def kill(self) -> None:
        """Kill everything that was started, at once; `stop` then returns soon."""
        for kept in self._kept:
            _signal_group(kept.process.pid, signal.SIGKILL)

    async def run(self, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> int:
        """Run a command to its end and return its exit code; it is ended when this is cancelled.

        Parameters
        ----------
        command, env: as of a `Service`.
        log: the file that its output replaces.
        """
        _remove(log)
        process = await self._spawn(command, env, log)
        try:
            return await process.wait()
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            self._forget(process.pid)

    async def _spawn(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        sockets: Sequence[socket.socket] = (),
    ) -> asyncio.subprocess.Process:
        log.parent.mkdir(parents=True, exist_ok=True)
        _limit_size(log)
        handed_over = [each.fileno() for each in sockets]
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *GUARDIAN,
                str(self._guard_pipe),
                ",".join(map(str, handed_over)),
                *command,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._guard_pipe, *handed_over),
                start_new_session=True,
            )

    async def _ready(self, kept: _Kept) -> bool:
        """Return True once the service is ready, False when its process ended first."""
        pause = READY_POLL_SECONDS
        while kept.process.returncode is None:
            if await kept.service.ready():
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(kept.process.wait(), pause)
            # On a busy machine every question takes processor time from the one who is to answer.
            pause = min(pause * 1.2, LATER_POLL_SECONDS)
        return False

    async def _watch(self, kept: _Kept, tell: Callable[[str], None]) -> str:
        """Tell how a starting service gets on; return what is wrong once it does not any more."""
        service = kept.service
        headway = Headway(kept.process.pid, service.log)
        while headway.elapsed < LONGEST_START:
            await asyncio.sleep(min(HEADWAY_SECONDS, service.patience.total_seconds()))
            tell(headway.look())
            if headway.stood_still >= service.patience:
                return f"has stood still for {service.patience.total_seconds():g} s, and is not ready"
        return f"was not ready after {LONGEST_START}"

    async def _keep(self, kept: _Kept) -> None:
        """Start the service again whenever its process ends, later and later while it keeps dying."""
        service = kept.service
        delay = FIRST_DELAY_SECONDS
        was_ready = True
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._ended(kept)
            if asyncio.get_running_loop().time() - started > STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            if was_ready or code < 0:
                # Whoever was killed while it started again is not to blame.
                delay = min(delay, service.longest_delay.total_seconds())
            self._say(
                f"{service.name} ended unexpectedly ({_manner(code)}); starting it again in {delay:g} s."
                f" Its log: {service.log}{_last_word(service.log) if code > 0 else ''}"
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
            kept.process = await self._spawn(service.command, service.env, service.log, service.sockets)
            self._report()
            was_ready = await self._ready(kept)
            if was_ready:
                self._say(f"{service.name} is running again.")

    async def _ended(self, kept: _Kept) -> int:
        """Return the exit code once the process has ended; its log is kept in size meanwhile."""
        while True:
            with contextlib.suppress(TimeoutError):
                code = await asyncio.wait_for(kept.process.wait(), LOG_CHECK_SECONDS)
                # Its own children must not live on beside those of its successor.
                _signal_group(kept.process.pid, signal.SIGKILL)
                self._forget(kept.process.pid)
                return code
            _limit_size(kept.service.log)

    async def _end(self, kept: _Kept) -> None:
        process = kept.process
        for each in kept.service.sockets:
            each.close()
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), kept.service.grace.total_seconds())
            except TimeoutError:
                self._say(f"{kept.service.name} did not stop within {kept.service.grace}; killing it.")
        # Also for what the process may have left behind in its group.
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        self._forget(process.pid)

    def _report(self) -> None:
        self._changed({kept.service.name: kept.process.pid for kept in self._kept})

    def _forget(self, group: int) -> None:
        """Tell the guardian that a process group has ended, lest it end another one of the same number."""
        # Without its guardian a supervisor still does everything but survive its own SIGKILL.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._guard_pipe, b"-%d\n" % group)

    def _obituary(self, service: Service, fate: str) -> str:
        last = service.log.read_text(errors="replace").strip().splitlines()[-8:]
        if not last:
            return f"{service.name} {fate}. It wrote nothing to its log ({service.log})."
        quoted = "".join(f"\n    {line}" for line in last)
        return f"{service.name} {fate}. The end of its log ({service.log}):{quoted}"


def _last_word(log: Path) -> str:
    """Return the last line of a log, with which a process that ends by itself says why."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"\n    {lines[-1]}" if lines else ""


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _manner(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _remove(log: Path) -> None:
    log.unlink(missing_ok=True)


def _limit_size(log: Path) -> None:
    """Move a log that has grown too large aside; its writer has it open for appending and goes on."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT_BYTES:
            log.with_suffix(log.suffix + ".1").write_bytes(log.read_bytes())
            os.truncate(log, 0)
