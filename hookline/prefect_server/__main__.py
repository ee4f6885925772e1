"""Starts Prefect's server: `python -m hookline.prefect_server server start` is `prefect server start`."""

from __future__ import annotations

import runpy
import sys
from importlib import import_module

from hookline.prefect_server.garbage import collect_beside
from hookline.prefect_server.tested import is_tested

if __name__ == "__main__":
    if is_tested():
        # Loaded for these versions alone: in others the names that it changes may not be there.
        import_module("hookline.prefect_server.lighter").make_lighter()
    collect_beside()
    # What stands behind this module's name on the command line is Prefect's own.
    sys.argv[0] = "prefect"
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
