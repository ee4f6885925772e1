"""Flows are loaded as they are on disk, and leave the names of other modules alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Loads what each line of its input asks for, in a fork of its own, and says what came of it.
LOADER = """
import json, os, sys
from pathlib import Path
from uuid import uuid4
import prefect.deployments.steps.core as core
import prefect.flows
from prefect.client.schemas.objects import FlowRun
from hookline.worker import loading

async def emit_nothing(*args, **options): pass
core._emit_pull_step_event = emit_nothing

def load(folder, entrypoint, preload_from, modules, change):
    preloaded = loading.preload(modules, preload_from or folder)
    if change:
        Path(folder, change[0]).write_text(change[1])
    stale = []
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": folder}}]
    deployment = {"id": str(uuid4()), "name": "d", "flow_id": str(uuid4()), "entrypoint": entrypoint,
                  "pull_steps": steps}
    run = FlowRun(flow_id=uuid4(), deployment_id=uuid4())
    flow = loading.load(run, deployment, preloaded, lambda: stale.append(1))
    result = flow.fn()
    import stripe
    return [result, len(stale), sorted(preloaded.failures), stripe.__file__]

for line in sys.stdin:
    if os.fork() == 0:
        print(json.dumps(load(*json.loads(line))), flush=True)
        os._exit(0)
    os.wait()
    print("end", flush=True)
"""


def flow(above: str = "", body: str = "return 42") -> str:
    return f"from prefect import flow\n{above}\n@flow\ndef run():\n    {body}\n"


class Loader:
    """An interpreter with a package `stripe` installed, which loads flows."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site-packages"
        (self.site / "stripe").mkdir(parents=True)
        (self.site / "stripe" / "__init__.py").write_text("")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", LOADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"PYTHONPATH": str(self.site), "PREFECT_API_URL": "http://127.0.0.1:9/api", "PATH": "",
                 "PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_HOME": str(folder / "home")},
        )  # fmt: skip

    def load(
        self, folder: Path, entrypoint: str, *, preload_from: Path | None = None,
        modules: list[str] | None = None, change: list[str] | None = None,
    ) -> Any:  # fmt: skip
        """Return what the flow returns, how often files were stale, and what could not be preloaded."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = [str(folder), entrypoint, preload_from and str(preload_from), modules or [], change]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        said = []
        while (line := self._process.stdout.readline().strip()) != "end":
            said.append(line)
        assert said, "the flow could not be loaded"
        result, stale, failures, stripe = json.loads(said[-1])
        assert stripe == str(self.site / "stripe" / "__init__.py"), "the package is still itself"
        return result, stale, failures

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    loader = Loader(tmp_path_factory.mktemp("loader"))
    yield loader
    loader.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "project")


def project(folder: Path, **files: str) -> Path:
    (folder / "flows").mkdir(parents=True, exist_ok=True)
    for name, text in {"__init__": "", **files}.items():
        (folder / "flows" / f"{name}.py").write_text(text)
    return folder


def test_a_file_named_like_a_package_does_not_hide_it(loader: Loader, folder: Path) -> None:
    project(folder, stripe=flow("import stripe", "return stripe.__name__"))
    assert loader.load(folder, "flows/stripe.py:run")[0] == "stripe"
    assert loader.load(folder, "flows.stripe.run")[0] == "stripe"


def test_a_file_that_has_no_dotted_name_is_loaded_and_finds_its_siblings(
    loader: Loader, folder: Path
) -> None:
    project(
        folder, **{"sibling": "ANSWER = 42\n", "my-flow": flow("from sibling import ANSWER", "return ANSWER")}
    )
    assert loader.load(folder, "flows/my-flow.py:run")[0] == 42


def test_what_is_imported_while_the_flow_runs_is_found(loader: Loader, folder: Path) -> None:
    project(folder, late="ANSWER = 42\n", a=flow(body="from flows.late import ANSWER; return ANSWER"))
    assert loader.load(folder, "flows.a.run")[0] == 42


def test_a_changed_file_is_loaded_anew_with_all_that_depends_on_it(loader: Loader, folder: Path) -> None:
    project(folder, part="ANSWER = 1\n", a=flow("from flows.part import ANSWER", "return ANSWER"))
    assert loader.load(folder, "flows.a.run", modules=["flows.a"]) == (1, 0, [])
    change = ["flows/part.py", "ANSWER = 'changed'\n"]
    assert loader.load(folder, "flows.a.run", modules=["flows.a"], change=change) == ("changed", 1, [])


def test_a_module_that_fails_is_left_to_the_run_that_needs_it(loader: Loader, folder: Path) -> None:
    project(folder, broken="import sys; sys.exit(3)\n", a=flow())
    found = loader.load(folder, "flows.a.run", modules=["flows.broken", "flows.a"])
    assert found == (42, 0, ["flows.broken"])


def test_a_run_of_another_folder_gets_its_own_modules(loader: Loader, folder: Path, tmp_path: Path) -> None:
    project(folder, a=flow(body="return 'here'"))
    other = project(tmp_path / "other", a=flow(body="return 'there'"))
    assert loader.load(folder, "flows.a.run", preload_from=other, modules=["flows.a"])[0] == "here"
