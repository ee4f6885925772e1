"""`hookline env`: the variables that other programs need to work with the system of this folder."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hookline.cli.system import System, find_system, prefect_environment
from hookline.errors import HooklineError


def env(
    *, unset: Annotated[bool, Parameter(help="Print what takes them back.", negative="")] = False
) -> None:
    """Print the variables of the system in this folder, for a shell to evaluate.

    With PREFECT_API_URL, HOOKLINE_URL and their like the commands of `prefect`, `curl` and other programs go
    to that system. Puts `hookline` and `prefect` on the PATH where they are not.

    Example: eval "$(hookline env)"
    """
    system = find_system()
    if system.running is None:
        raise HooklineError(system.missing or f"Nothing runs on {system.settings.data}.")
    print("\n".join(shell_lines(system, unset=unset)))


def shell_lines(system: System, *, unset: bool = False) -> Iterator[str]:
    """Yield the lines for a POSIX shell."""
    variables = _variables(system)
    for name, value in variables.items():
        yield f"unset {name}" if unset or value is None else f"export {name}={shlex.quote(value)}"
    programs = Path(sys.executable).parent
    if not unset and any(shutil.which(name) != str(programs / name) for name in ("hookline", "prefect")):
        yield f'export PATH={shlex.quote(str(programs))}:"$PATH"'


def _variables(system: System) -> Mapping[str, str | None]:
    running = system.running or {}
    return {
        **prefect_environment(system),
        "HOOKLINE_URL": str(running["address"]),
        "HOOKLINE_DATA": str(system.settings.data),
    }
