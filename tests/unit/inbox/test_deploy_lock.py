"""One deploy at a time: the lock is held by one, waited for by others, and gone with who held it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from hookline.errors import InboxError
from hookline.inbox.deploy_lock import deploy_lock

HOLDER = """\
import asyncio, sys
from hookline.inbox.deploy_lock import deploy_lock

async def hold():
    async with deploy_lock(sys.argv[1]):
        print("held", flush=True)
        sys.stdin.read()

asyncio.run(hold())
"""


async def test_one_at_a_time(tmp_path: Path) -> None:
    """The second is told that it waits, once, and goes on when the first has ended."""
    address = f"sqlite:///{tmp_path / 'new folder' / 'inbox.db'}"
    order: list[str] = []
    waits = asyncio.Event()

    async def second() -> None:
        async with deploy_lock(address, waits.set):
            order.append("second")

    async with deploy_lock(address):
        waiting = asyncio.create_task(second())
        await asyncio.wait_for(waits.wait(), 10)
        order.append("first")
    await asyncio.wait_for(waiting, 10)
    assert order == ["first", "second"]


async def test_it_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    """A deploy that is killed leaves nothing behind that would have to be cleared."""
    address = f"sqlite:///{tmp_path / 'inbox.db'}"
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, address, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    waits = asyncio.Event()

    async def take() -> None:
        async with deploy_lock(address, waits.set):
            pass

    taking = asyncio.create_task(take())
    await asyncio.wait_for(waits.wait(), 10)
    holder.kill()
    await asyncio.wait_for(taking, 10)
    await holder.wait()


async def test_inboxes_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Nor does one in memory, which nobody shares."""
    async with (
        deploy_lock(f"sqlite:///{tmp_path / 'a.db'}", lambda: pytest.fail("waits")),
        deploy_lock(f"sqlite:///{tmp_path / 'b.db'}", lambda: pytest.fail("waits")),
        deploy_lock("sqlite://", lambda: pytest.fail("waits")),
        deploy_lock("sqlite://", lambda: pytest.fail("waits")),
    ):
        pass


async def test_a_database_that_does_not_answer_is_told_without_its_password() -> None:
    """As opening the inbox would."""
    with pytest.raises(InboxError, match="cannot be opened") as failed:
        async with deploy_lock("postgresql://user:hunter2@127.0.0.1:1/none"):
            pass
    assert "hunter2" not in str(failed.value)
