"""A disk that is full: events are refused, `/readyz` says so and why, and both recover by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hookline.inbox import readiness
from tests.support.gateway import RunningGateway, running_gateway

REASONS = ("the disk is full", "the inbox cannot write")
Fill = Callable[[], contextlib.AbstractContextManager[None]]
Disk = Callable[[Path], contextlib.AbstractContextManager[Fill]]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Fill]:
    """Give a real disk of 8 MiB at a folder, and what fills it."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")

    @contextlib.contextmanager
    def fill() -> Iterator[None]:
        ballast = folder / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
        ballast.unlink()

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def limited_files(folder: Path) -> Iterator[Fill]:
    """Give what lets this process write into no file beyond its first page: the system refuses it."""

    @contextlib.contextmanager
    def fill() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    yield fill


@pytest.mark.parametrize("disk", [small_disk, limited_files])
async def test_a_full_disk_is_told_before_and_while_events_are_refused(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with the reason at both, then 200 and 202 again, without a restart."""
    monkeypatch.setattr(readiness, "BELIEVED_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "REFUSAL_SECONDS", 0.2)
    folder = tmp_path / "data"
    folder.mkdir()
    with disk(folder) as fill:
        async with running_gateway(folder) as gateway:
            assert await ready(gateway) == (200, "ok")
            assert await send(gateway) == 202
            with fill():
                # Nothing was refused so far: it is found out by trying.
                status, reason = await ready(gateway)
                assert (status, reason.partition(": ")[0] in REASONS) == (503, True), reason
                assert await send(gateway) == 503
                assert (await ready(gateway))[0] == 503
                assert (await gateway.http.get("/healthz")).status_code == 200
            async with asyncio.timeout(20):
                while await ready(gateway) != (200, "ok"):
                    pass
            assert await send(gateway) == 202


async def test_an_event_that_is_refused_counts_at_once(tmp_path: Path) -> None:
    """Also where the disk was found to have room a moment ago; and one that is taken."""
    async with running_gateway(tmp_path) as gateway:
        assert await ready(gateway) == (200, "ok")
        with limited_files(tmp_path) as fill, fill():
            assert await send(gateway) == 503
            assert (await ready(gateway))[0] == 503
        assert await send(gateway) == 202
        assert await ready(gateway) == (200, "ok")


async def test_whoever_asks_often_makes_no_writes(tmp_path: Path) -> None:
    """A thousand questions, needing no key, cost the disk what one does."""
    async with running_gateway(tmp_path) as gateway:
        await ready(gateway)
        writes = 0
        execute = gateway.house.inbox._writer.execute

        async def counted(*args: object, **options: object) -> object:
            nonlocal writes
            writes += 1
            return await execute(*args, **options)  # type: ignore[arg-type]

        gateway.house.inbox._writer.execute = counted  # type: ignore[method-assign, assignment] # a probe
        answers = await asyncio.gather(*(ready(gateway) for _ in range(100)))
        assert set(answers) == {(200, "ok")}
        assert writes <= 4


async def ready(gateway: RunningGateway) -> tuple[int, str]:
    answer = await gateway.http.get("/readyz")
    return answer.status_code, str(answer.json()["inbox"])


async def send(gateway: RunningGateway) -> int:
    """Send an event of 200 KB; return the status."""
    answer = await gateway.http.post("/events", json={"type": "order.paid", "data": "x" * 200_000})
    return answer.status_code
