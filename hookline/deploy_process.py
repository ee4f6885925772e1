"""The other end of `hookline.deploying_child`: a process that holds Prefect and the user's flows."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from hookline.errors import DeployError, PrefectUnavailable
from hookline.flow_facts import FlowFacts

#: What is shown of its output when something fails.
_OUTPUT_CHARACTERS = 4000
#: Build steps print what they like.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_LAST_WORDS_SECONDS = 5
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_DEPLOYED = re.compile(r"Deployment '(.+)' successfully created")


class DeployProcess:
    """What deploying asks of Prefect and of the user's flows. `start_process` makes one."""

    def __init__(
        self,
        child: asyncio.subprocess.Process,
        answers: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
        progress: Callable[[str], None],
    ) -> None:
        self._child = child
        self._answers = answers
        self._requests = requests
        self._progress = progress
        self._output: list[str] = []
        self._deployed: set[str] = set()
        self._asked = 0
        self._printed = asyncio.Condition()
        self._marks = 0
        self._ended = False

    async def flows(self, entrypoints: Iterable[str]) -> dict[str, FlowFacts]:
        """Import flows and return what they say, by entrypoint.

        Raises
        ------
        DeployError: a flow cannot be imported; holds the user's error.
        """
        wanted = sorted(set(entrypoints))
        said = await self._ask("flows", "The flows cannot be imported", entrypoints=wanted)
        if wrong := [f"The flow {name} cannot be imported: {flow['error']}" for name, flow in said.items()
                     if "error" in flow]:  # fmt: skip
            raise DeployError(*wrong)
        return {name: FlowFacts(flow["name"], flow["schema"]) for name, flow in said.items()}

    async def faulty_templates(self, parameters: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return for each of several parameters what Prefect finds wrong with its templates, or None."""
        found = await self._ask("templates", "The templates cannot be checked", parameters=parameters)
        return list(found)

    async def prepare(
        self, wait: timedelta, pool: str | None, pools: Iterable[str]
    ) -> tuple[bool, list[str]]:
        """Wait for the server; return whether it made the pool `pool`, and which of `pools` are missing.

        Raises
        ------
        PrefectUnavailable: it does not answer in time.
        """
        found = await self._ask(
            "prepare",
            "The Prefect server cannot be asked",
            wait=wait.total_seconds(),
            pool=pool,
            pools=list(pools),
        )
        return found["made"], found["missing"]

    async def deploy(self, project: str, lanes: Sequence[str]) -> None:
        """Run `prefect deploy --all`.

        Parameters
        ----------
        project: the text of a `prefect.yaml`.
        lanes: `flow/deployment` of all that it has to deploy.

        Raises
        ------
        DeployError: Prefect refused; holds the end of its output.
        """
        self._output.clear()
        with tempfile.TemporaryDirectory(prefix="hookline-deploy-") as folder:
            # Outside the project: a deploy that is killed leaves nothing behind in the user's tree.
            file = Path(folder) / "prefect.yaml"
            file.write_text(project)
            succeeded = await self._ask("deploy", "`prefect deploy` failed", file=str(file))
        if not succeeded:
            raise DeployError(f"`prefect deploy` failed:\n{self._tail()}")
        # It succeeds as well where it skips what it does not understand; what it names, it has made.
        if unsaid := [lane for lane in lanes if lane not in self._deployed]:
            missing = await self._ask("missing", "The Prefect server cannot be asked", lanes=unsaid)
            if missing:
                told = f"`prefect deploy` succeeded, yet Prefect has no {', '.join(missing)}:\n{self._tail()}"
                raise DeployError(told)

    async def read_output(self) -> None:
        """Read what it prints until it ends."""
        try:
            await self._read_lines()
        finally:
            async with self._printed:
                self._ended = True
                self._printed.notify_all()

    async def _read_lines(self) -> None:
        assert self._child.stdout is not None  # noqa: S101 - it was asked for as a pipe; this tells the type checker
        async for line in self._child.stdout:
            if line.startswith(b"\0"):
                async with self._printed:
                    self._marks += 1
                    self._printed.notify_all()
                continue
            text = _ANSI.sub("", line.decode(errors="replace"))
            self._output.append(text)
            if deployed := _DEPLOYED.search(text):
                self._deployed.add(deployed[1])
                self._progress(f"deployed  {deployed[1]}")

    async def _ask(self, name: str, doing: str, **arguments: Any) -> Any:
        self._asked += 1
        try:
            self._requests.write(orjson.dumps({"do": name, **arguments}) + b"\n")
            await self._requests.drain()
            line = await self._answers.readline()
        except ConnectionError:
            line = b""
        if not line:
            # The user's code has ended the process, or it was killed; what it said last tells why.
            await self._child.wait()
            with contextlib.suppress(TimeoutError):
                # A process that it started may keep the pipe open.
                async with asyncio.timeout(_LAST_WORDS_SECONDS), self._printed:
                    await self._printed.wait_for(lambda: self._ended)
            raise DeployError(f"{doing}:\n{self._tail() or f'exit code {self._child.returncode}'}")
        async with self._printed:
            await self._printed.wait_for(lambda: self._ended or self._marks >= self._asked)
        answer = orjson.loads(line)
        if "error" in answer:
            raise (PrefectUnavailable if answer["unavailable"] else DeployError)(answer["error"])
        return answer["answer"]

    def _tail(self) -> str:
        return "".join(self._output)[-_OUTPUT_CHARACTERS:].strip()


@contextlib.asynccontextmanager
async def start_process(
    folder: Path, environment: Mapping[str, str], progress: Callable[[str], None]
) -> AsyncIterator[DeployProcess]:
    """Start the process; it ends with the block.

    Parameters
    ----------
    folder: the project's folder, from which entrypoints are resolved.
    environment: names the Prefect server, and is what the flows see.
    progress: called with one line for each deployment as it is made.
    """
    ours, its = socket.socketpair()
    with its:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hookline.deploying_child", str(its.fileno()),
            cwd=folder,
            env={
                **environment,
                # Long lines and no colours, so that the output can be read back.
                "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb",
                "PREFECT_CLI_WRAP_LINES": "false",
                # Importing the flows must leave nothing in the user's tree.
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
            },
            pass_fds=(its.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE_BYTES,
        )  # fmt: skip
    answers, requests = await asyncio.open_connection(sock=ours, limit=_LONGEST_LINE_BYTES)
    process = DeployProcess(child, answers, requests, progress)
    reading = asyncio.create_task(process.read_output())
    try:
        yield process
    finally:
        requests.close()
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        await child.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
