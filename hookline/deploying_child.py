"""The process that holds Prefect and the project's flows while a project is deployed.

`DeployProcess` starts `python -m hookline.deploying_child FD` with the project as working directory. Over the
socket FD it takes one JSON request a line and answers each with one. What Prefect and the user's modules
print goes to its standard output; with each answer it prints a line that begins with NUL there, which says
that all that belongs to the request has been printed.
Importing Prefect and the flows takes most of a deploy's time, so all that needs them is done in here, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import runpy
import socket
import ssl
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import IO, Any

import orjson
from prefect.exceptions import ScriptError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from hookline.errors import HooklineError, PrefectRefused, PrefectUnavailable, RenderError
from hookline.prefect_api import PrefectApi, require_address
from hookline.settings import without_user

POLL_SECONDS = 0.1


def main(fd: int) -> None:
    """Answer requests until the other end is closed, also by the end of the process that has it."""
    # Build steps start processes of their own.
    os.set_inheritable(fd, False)
    with socket.socket(fileno=fd) as connection, connection.makefile("rwb") as channel:
        requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(channel, requests), daemon=True).start()
        while True:
            request = orjson.loads(requests.get())
            answer = _answer(request.pop("do"), request)
            sys.stdout.flush()
            print("\0", flush=True)
            channel.write(orjson.dumps(answer) + b"\n")
            channel.flush()


def _read(channel: IO[bytes], requests: queue.SimpleQueue[bytes]) -> None:
    try:
        for line in channel:
            requests.put(line)
    finally:
        # Also where the other end was killed with an answer unread, which resets the connection. Whatever is
        # under way, and whatever the user's modules have started, is not waited for.
        os._exit(0)


def _answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": _REQUESTS[name](**arguments)}
    except HooklineError as wrong:
        return {"error": str(wrong), "unavailable": isinstance(wrong, PrefectUnavailable)}


def _flows(entrypoints: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Import flows and return what they say of themselves, or why they cannot be imported."""
    return {entrypoint: _flow(entrypoint) for entrypoint in entrypoints}


def _flow(entrypoint: str) -> dict[str, Any]:
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
        return {"name": flow.name, "schema": parameter_schema(flow).model_dump_for_openapi()}
    except Exception as wrong:
        # Anything may come out of the user's code; whatever it is, it is told as it is.
        cause = wrong.user_exc if isinstance(wrong, ScriptError) else wrong
        return {"error": f"{type(cause).__name__}: {cause}"}


def _templates(parameters: Sequence[dict[str, Any]]) -> list[str | None]:
    """Return for each of several parameters what Prefect finds wrong with its templates, or None."""
    # Imports Prefect's server, which only a project with templates has to wait for.
    from hookline.triggers.rendering import template_names

    found: list[str | None] = []
    for each in parameters:
        try:
            template_names(each)
            found.append(None)
        except RenderError as wrong:
            found.append(str(wrong))
    return found


def _prepare(wait: float, pool: str | None, pools: Sequence[str]) -> dict[str, Any]:
    """Wait for the server, make the pool `pool` unless it is None, and look for all others."""
    return asyncio.run(_prepared(timedelta(seconds=wait), pool, pools))


async def _prepared(wait: timedelta, pool: str | None, pools: Sequence[str]) -> dict[str, Any]:
    async with PrefectApi.open() as prefect:
        await _until_healthy(prefect, wait)
        made = pool is not None and await prefect.create_pool(pool, pool)
        return {"made": made, "missing": [each for each in pools if not await _is_there(prefect.pool, each)]}


async def _until_healthy(prefect: PrefectApi, wait: timedelta) -> None:
    deadline = asyncio.get_running_loop().time() + wait.total_seconds()
    while not await prefect.is_healthy():
        if asyncio.get_running_loop().time() >= deadline:
            raise PrefectUnavailable(
                f"The Prefect server does not answer at {without_user(require_address())}. Start it, or set"
                " PREFECT_API_URL to its address."
            )
        await asyncio.sleep(POLL_SECONDS)


def _deploy(file: str) -> bool:
    """Run `prefect deploy --all` on a file and return whether it succeeded."""
    sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file]
    try:
        with _one_tls_context():
            runpy.run_module("prefect", run_name="__main__")
    except SystemExit as ended:
        return ended.code in (None, 0)
    except BaseException:
        traceback.print_exc()
        return False
    return True


@contextlib.contextmanager
def _one_tls_context() -> Iterator[None]:
    """Make one context of a file of certificates.

    Prefect makes a client for each of its steps, and each of those reads all certificates again: a quarter of
    what a deploy costs, also where the server's address is plain http.
    """
    make = ssl.create_default_context
    made: dict[tuple[ssl.Purpose, str], ssl.SSLContext] = {}

    def once(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, **given: Any) -> ssl.SSLContext:
        if given.keys() != {"cafile"}:
            return make(purpose, **given)
        key = (purpose, str(given["cafile"]))
        made[key] = made.get(key) or make(purpose, **given)
        return made[key]

    ssl.create_default_context = once
    try:
        yield
    finally:
        ssl.create_default_context = make


def _missing(lanes: Sequence[str]) -> list[str]:
    """Return those of `flow/deployment` that the server does not have."""

    async def ask() -> list[str]:
        async with PrefectApi.open() as prefect:
            return [lane for lane in lanes if not await _is_there(prefect.deployment, lane)]

    return asyncio.run(ask())


async def _is_there(find: Callable[[str], Awaitable[Any]], name: str) -> bool:
    try:
        await find(name)
    except PrefectRefused as refused:
        if refused.status != 404:
            raise
        return False
    return True


_REQUESTS: dict[str, Callable[..., Any]] = {
    "flows": _flows,
    "templates": _templates,
    "prepare": _prepare,
    "deploy": _deploy,
    "missing": _missing,
}


if __name__ == "__main__":
    main(int(sys.argv[1]))
