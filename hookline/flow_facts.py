"""What a project's flows say about themselves, asked in a process of its own: asking runs the user's code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from hookline.errors import DeployError


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """A flow's name, and the JSON Schema of its parameters."""

    name: str
    schema: Mapping[str, Any]

    @property
    def required(self) -> tuple[str, ...]:
        """Return the parameters without a default."""
        return tuple(self.schema.get("required") or ())

    @property
    def takes_event(self) -> bool:
        """Return whether the flow has a parameter `event`."""
        return "event" in (self.schema.get("properties") or {})


async def ask_flows(
    project: Path, entrypoints: Iterable[str], environment: Mapping[str, str]
) -> dict[str, FlowFacts]:
    """Import the flows in a child process and return what they say, by entrypoint.

    Parameters
    ----------
    project: the project's folder, from which entrypoints are resolved.
    entrypoints: as `prefect.yaml` has them.
    environment: the child's environment.

    Raises
    ------
    DeployError: a flow cannot be imported; holds the user's error.
    """
    wanted = sorted(set(entrypoints))
    if not wanted:
        return {}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hookline.flow_facts_child", *wanted,
        # Importing the flows must leave nothing in the user's tree.
        cwd=project, env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        answer, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise DeployError(f"The flows cannot be imported:\n{errors.decode(errors='replace')[-4000:]}")
    facts: dict[str, FlowFacts] = {}
    for entrypoint, said in orjson.loads(answer).items():
        if "error" in said:
            raise DeployError(f"The flow {entrypoint} cannot be imported: {said['error']}")
        facts[entrypoint] = FlowFacts(said["name"], said["schema"])
    return facts
