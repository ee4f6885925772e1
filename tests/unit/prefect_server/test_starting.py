"""Prefect's server under `up` is the `prefect` command; how much lighter it is depends on the version."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import runpy, sys
from hookline.prefect_server import tested
if sys.argv[1] != "tested":
    setattr(tested, sys.argv[1], "0.0.0")
sys.argv = ["hookline.prefect_server", "version"]
try:
    runpy.run_module("hookline.prefect_server", run_name="__main__")
finally:
    print("lighter" if "hookline.prefect_server.lighter" in sys.modules else "as it is")
"""


def test_it_is_the_prefect_command_in_every_other_way() -> None:
    """Its arguments are those of `prefect`."""
    command = [sys.executable, "-P", "-m", "hookline.prefect_server", "version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "SQLite version" in done.stdout


@pytest.mark.parametrize(
    ("version", "said"), [("tested", "lighter"), ("PREFECT", "as it is"), ("SQLALCHEMY", "as it is")]
)
def test_a_version_that_was_not_tested_is_left_as_it_is(version: str, said: str) -> None:
    """What is private to it may not be there: it is not even looked for."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, version], capture_output=True, text=True)
    assert "SQLite version" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == said
