"""Listening for connections, and ending them in good order."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Callable

from hookline.errors import Refusal, SettingsError
from hookline.gateway.connection import Connection
from hookline.gateway.hub import App, Hub, Limits

#: Answers under way may take so long when the gateway stops.
STOP_SECONDS = 5.0
BACKLOG = 2048


@contextlib.asynccontextmanager
async def listening(
    app: App,
    host: str,
    port: int,
    *,
    on_refused: Callable[[Refusal, str], None],
    limits: Limits | None = None,
) -> AsyncIterator[Hub]:
    """Answer requests until the end of the context; gives what the connections share.

    Parameters
    ----------
    app: answers requests.
    host, port: where to listen; port 0 takes a free one.
    on_refused: told of what was turned away before it was a request, with the sender's address.
    limits: what a connection may take.

    Raises
    ------
    SettingsError: the address cannot be had.
    """
    _allow_open_files()
    hub = Hub(app, limits or Limits(), on_refused)
    try:
        server = await hub.loop.create_server(
            lambda: Connection(hub), host, port, backlog=BACKLOG, reuse_address=True, start_serving=True
        )
    except OSError as wrong:
        raise SettingsError(
            f"The gateway cannot listen on {host} port {port}: {wrong.strerror}. Set HOOKLINE_HOST and"
            " HOOKLINE_PORT to what is free on this machine."
        ) from None
    ticking = asyncio.create_task(hub.tick_for_ever())
    try:
        hub.port = int(server.sockets[0].getsockname()[1])
        yield hub
    finally:
        server.close()
        await hub.close(STOP_SECONDS)
        ticking.cancel()


def _allow_open_files() -> None:
    """Ask for as many open files as the system allows: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
