"""`hookline init`: lay a small project that runs as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hookline.errors import HooklineError

TEMPLATE = Path(__file__).parent / "new_project"


def init(
    folder: Annotated[Path, Parameter(help="The folder; created if it does not exist.")] = Path(),
) -> None:
    """Create a small project in an empty folder.

    It has a flow, a trigger, a source and a sample event, and is ready to run.

    Example: hookline init shop && cd shop && hookline up
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HooklineError(f"{folder.absolute()} is not an empty folder; give an empty or a new one.")
    shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    # Under its own name it would hide the template's files from our own repository.
    (folder / "gitignore").rename(folder / ".gitignore")
    for path in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        print(f"made  {path}")
    print(
        "\nNext: `hookline up`. After a change of prefect.yaml or of a flow's parameters: `hookline deploy`."
    )
