"""`hookline check`: say all that is wrong with a project, offline."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hookline.checking import check_folder
from hookline.cli.output import Json, print_json
from hookline.faults import Fault, one_line

Format = Literal["text", "json", "github"]


def check(
    path: Annotated[Path, Parameter(help="The project's folder, or its prefect.yaml.")] = Path(),
    *,
    format: Annotated[Format, Parameter(help="`github` makes annotations of a GitHub workflow.")] = "text",
    json: Json = False,
) -> int:
    """Check prefect.yaml, the sources and the settings, offline.

    Every error is told with its file, line and column. Nothing is asked and no code of the project is run.
    Exits 0 when all is well, warnings aside, 1 when there are errors, and 2 when there is nothing to check.

    Example: hookline check --format github
    """
    project = path / "prefect.yaml" if path.is_dir() else path
    if not project.is_file():
        print(f"hookline: there is no {project}; name the folder of a project", file=sys.stderr)
        return 2
    faults = check_folder(project, os.environ)
    _PRINT["json" if json else format](faults)
    return 1 if any(not fault.warning for fault in faults) else 0


def _text(faults: Sequence[Fault]) -> None:
    for fault in faults:
        print(f"warning: {fault}" if fault.warning else fault)
    warnings = sum(fault.warning for fault in faults)
    print(f"{_several(len(faults) - warnings, 'error')}, {_several(warnings, 'warning')}")


def _json(faults: Sequence[Fault]) -> None:
    print_json(
        {
            "ok": all(fault.warning for fault in faults),
            "faults": [
                {
                    "file": fault.file,
                    "line": fault.place.line if fault.place else None,
                    "column": fault.place.column if fault.place else None,
                    "level": _level(fault),
                    "message": fault.message,
                }
                for fault in faults
            ],
        }
    )


def _github(faults: Sequence[Fault]) -> None:
    """Print workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    for fault in faults:
        where = f",line={fault.place.line},col={fault.place.column}" if fault.place else ""
        file = _escaped(fault.file).replace(":", "%3A").replace(",", "%2C")
        print(f"::{_level(fault)} file={file}{where}::{_escaped(fault.message)}")


def _escaped(text: str) -> str:
    return one_line(text).replace("%", "%25")


def _level(fault: Fault) -> str:
    return "warning" if fault.warning else "error"


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


_PRINT: dict[str, Callable[[Sequence[Fault]], None]] = {"text": _text, "json": _json, "github": _github}
