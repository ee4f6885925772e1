"""Flows that come to each kind of end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run

FOREVER_SECONDS = 120
ROLLING = {"estimated_run_time", "estimated_start_time_delta", "updated"}


def note(path: str, text: str) -> None:
    """Add a line to a file, for the test to read."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def note_hook(flow, flow_run, state):  # type: ignore[no-untyped-def]
    """Note which state a hook was called for."""
    note(flow_run.parameters["notes"], f"hook {state.type.value}")


@task
def add(a: int, b: int) -> int:
    return a + b


@flow
def succeed(a: int = 1) -> int:
    return add(a, 1)


@flow(on_failure=[note_hook])
def fail(notes: str) -> None:
    raise ValueError("as it should")


@flow
def leave_politely() -> None:
    sys.exit(3)


@flow(on_crashed=[note_hook])
def leave_at_once(notes: str) -> None:
    note(notes, "ran")
    os._exit(7)


@flow
def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@flow
def eat_memory() -> int:
    return len(bytearray(1024 * 1024 * 1024))


@flow(timeout_seconds=0.3)
def take_too_long() -> None:
    threading.Event().wait(FOREVER_SECONDS)


@task(timeout_seconds=0.3)
def dawdle() -> None:
    threading.Event().wait(FOREVER_SECONDS)


@flow
def wait_for_a_slow_task() -> None:
    dawdle()


@flow(on_cancellation=[note_hook], on_crashed=[note_hook])
def wait_forever(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    threading.Event().wait(FOREVER_SECONDS)


@flow
def suspend_once(notes: str) -> None:
    note(notes, f"began in {os.getpid()}")
    suspend_flow_run(timeout=300, key="once")
    note(notes, "went on")


@flow
def be_suspended(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    for number in range(600):
        note(notes, str(add(number, 0)))
        threading.Event().wait(0.1)


@flow
def inner(a: int) -> int:
    return add(a, 1)


@flow
def outer() -> int:
    return inner(inner(1))


@task
async def add_soon(a: int, b: int) -> int:
    return a + b


@flow
async def asynchronous() -> int:
    return await add_soon(await add_soon(1, 1), 1)


@flow
def yielding(notes: str) -> Iterator[int]:
    for number in range(3):
        note(notes, str(number))
        yield number


@flow
async def yielding_soon(notes: str) -> AsyncIterator[int]:
    for number in range(3):
        note(notes, str(await add_soon(number, 0)))
        yield number


@flow(persist_result=True)
def keep() -> dict[str, int]:
    return {"answer": add(40, 2)}


@flow(retries=1, retry_delay_seconds=0)
def succeed_at_last(notes: str) -> None:
    note(notes, "try")
    if len(Path(notes).read_text().splitlines()) < 2:
        raise ValueError("once more")


@flow(log_prints=True)
def speak() -> None:
    print("printed")
    get_run_logger().warning("logged")
    create_markdown_artifact("# Said", key="said")


@flow
def know_itself(notes: str) -> None:
    """Note in what the run that the flow is told of differs from the run that the server has."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    told = context.flow_run.model_dump(exclude=ROLLING)
    with get_client(sync_client=True) as client:
        for _ in range(100):  # until the worker has written what it writes after the start
            known = client.read_flow_run(context.flow_run.id).model_dump(exclude=ROLLING)
            if known == told:
                break
            threading.Event().wait(0.05)
    note(notes, str([key for key in known if known[key] != told[key]]))


@flow
def make_a_mess(notes: str) -> None:
    mess = f"{os.environ.get('MESS')} {'/nowhere' in sys.path} {Path.cwd()}"
    note(notes, f"{mess} {os.environ['PREFECT__FLOW_RUN_ID']}")
    os.environ["MESS"] = "left behind"
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    sys.path.append("/nowhere")
    os.chdir("/")


@task(retries=1, retry_delay_seconds=0)
def waver(notes: str) -> None:
    note(notes, "waver")
    if len(Path(notes).read_text().splitlines()) < 2:
        raise ValueError("once more")


@flow
def with_a_wavering_task(notes: str) -> None:
    waver(notes)
