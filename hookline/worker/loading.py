"""Loads the project's flows: ahead of need in the zygote, and for one run in a child."""

from __future__ import annotations

import importlib
import os
import sys
import traceback


def preload(modules: list[str], directory: str | None) -> dict[str, str]:
    """Import modules as the project in `directory` would; return the traceback of each that fails.

    A module that fails is left alone: the run that needs it imports it again, and fails with the
    traceback in its own log.
    """
    import prefect.engine
    import prefect.flow_engine
    import prefect.main
    import prefect.task_engine  # noqa: F401

    failures: dict[str, str] = {}
    if directory is not None:
        os.chdir(directory)
        sys.path.insert(0, directory)
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException:  # a module may do anything at import, even `sys.exit`
            failures[module] = traceback.format_exc()
    if directory is not None:
        sys.path.remove(directory)
    return failures
