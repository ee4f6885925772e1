"""Listening for connections, and ending them in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable

from hookline.errors import Refusal, SettingsError
from hookline.gateway.connection import Connection
from hookline.gateway.hub import App, Hub, Limits

#: Answers under way may take so long when the gateway stops.
STOP_SECONDS = 5.0
BACKLOG = 2048
#: sd_listen_fds(3): where the sockets begin that a service manager hands over.
LISTEN_FDS_START = 3


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
    host, port: where to listen; port 0 takes a free one. Sockets that a service manager handed over are
        taken instead; none may reach further than `host` does.
    on_refused: told of what was turned away before it was a request, with the sender's address.
    limits: what a connection may take.

    Raises
    ------
    SettingsError: the address cannot be had.
    """
    _allow_open_files()
    hub = Hub(app, limits or Limits(), on_refused)
    try:
        if sockets := handed_over(host):
            servers = [
                await hub.loop.create_server(lambda: Connection(hub), sock=each, backlog=BACKLOG)
                for each in sockets
            ]
        else:
            servers = [
                await hub.loop.create_server(
                    lambda: Connection(hub), host, port, backlog=BACKLOG, reuse_address=True
                )
            ]
    except OSError as wrong:
        raise SettingsError(
            f"The gateway cannot listen on {host} port {port}: {wrong.strerror}. Set HOOKLINE_HOST and"
            " HOOKLINE_PORT to what is free on this machine."
        ) from None
    ticking = asyncio.create_task(hub.tick_for_ever())
    try:
        hub.port = int(servers[0].sockets[0].getsockname()[1])
        yield hub
    finally:
        for server in servers:
            server.close()
        await hub.close(STOP_SECONDS)
        ticking.cancel()


def handed_over(host: str) -> list[socket.socket]:
    """Return the listening sockets that this process was started with, as systemd hands them over.

    They are sd_listen_fds(3)'s: `LISTEN_FDS` of them from descriptor 3 on, for the process `LISTEN_PID`.

    Parameters
    ----------
    host: the address that the settings name, by which it was decided whether keys are needed.

    Raises
    ------
    SettingsError: one of them listens elsewhere.
    """
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=LISTEN_FDS_START + number) for number in range(count)]
    for each in sockets:
        each.set_inheritable(False)
        _check(each, host)
    return sockets


def _check(handed: socket.socket, host: str) -> None:
    if handed.family not in (socket.AF_INET, socket.AF_INET6):
        raise SettingsError("The gateway was handed a socket that is not TCP; let it listen on an address.")
    address = handed.getsockname()[0]
    allowed = {each[4][0] for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    if address not in allowed:
        raise SettingsError(
            f"The gateway was handed a socket on {address}, and HOOKLINE_HOST is {host}: set it to {address},"
            " so that it is clear who can reach the gateway."
        )


def _allow_open_files() -> None:
    """Ask for as many open files as the system allows: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
