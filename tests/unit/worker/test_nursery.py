"""Children are there before they are needed, die with their zygote, and are no copies of each other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.worker.children import Child
from hookline.worker.fallback import Interpreters
from hookline.worker.nurseries import choose_nursery
from hookline.worker.nursery import Nursery, Project
from hookline.worker.spawning import SpawnedNursery

SOON_SECONDS = 30


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path / "home")}


@pytest.fixture
async def nursery(environment: dict[str, str]) -> AsyncIterator[Nursery]:
    async with asyncio.timeout(SOON_SECONDS), Nursery(Project(), 2, environment) as nursery:
        yield nursery


def parent_of(child: Child) -> int:
    return int(Path(f"/proc/{child.pid.result()}/stat").read_text().rsplit(")", 1)[1].split()[1])


async def test_a_child_is_there_at_once_and_leaves_when_it_is_let_go(nursery: Nursery) -> None:
    child = await nursery.take()
    os.kill(child.pid.result(), 0)
    child.close()
    assert await child.exited == 0


async def test_when_the_zygote_dies_its_children_do_and_another_serves(nursery: Nursery) -> None:
    child = await nursery.take()
    os.kill(parent_of(child), signal.SIGKILL)
    assert await child.exited == -signal.SIGKILL
    other = await nursery.take()
    assert other.pid.result() != child.pid.result()
    other.close()
    child.close()


async def test_a_module_that_kills_its_interpreter_is_done_without(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "deadly.py").write_text("import os; os._exit(9)\n")
    async with asyncio.timeout(SOON_SECONDS):
        async with Nursery(Project(str(tmp_path), ("deadly",)), 1, environment) as nursery:
            child = await nursery.take()
            child.close()
            assert await child.exited == 0


async def test_a_zygote_that_would_have_a_thread_is_replaced_by_one_without(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A forked copy of a process with threads may hang for ever on what a thread held."""
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    (tmp_path / "fine.py").write_text("")
    project = Project(str(tmp_path), ("threaded", "fine"))
    async with asyncio.timeout(SOON_SECONDS), Nursery(project, 0, environment) as nursery:
        child = await nursery.take()
        assert len(list(Path(f"/proc/{parent_of(child)}/task").iterdir())) == 1  # noqa: ASYNC240 (procfs)
        child.close()


@pytest.mark.parametrize("kind", [Nursery, SpawnedNursery])
async def test_a_child_fails_its_run_alone(
    kind: type[Nursery | SpawnedNursery], environment: dict[str, str]
) -> None:
    """A job that cannot be run: the exit code tells, and the next child is fine."""
    async with asyncio.timeout(SOON_SECONDS), kind(Project(), 1, environment) as nursery:
        child: Child = await nursery.take()
        child.begin(1)
        await child.send({"type": "run", "last": True, "env": environment, "cwd": "/nowhere"})
        assert await child.finish() == 1
        child.close()
        nursery.replenish()
        other = await nursery.take()
        other.close()
        assert await other.exited == 0


def test_an_untested_prefect_and_other_systems_are_served_too() -> None:
    """As slow as Prefect's own worker, or a little less warm, but right."""
    assert isinstance(choose_nursery(Project(), 1, {}, version="3.9.0"), Interpreters)
    assert isinstance(choose_nursery(Project(), 1, {}, platform="darwin"), SpawnedNursery)
    assert isinstance(choose_nursery(Project(), 1, {}, platform="linux"), Nursery)
