"""The processes that `up` keeps running: how each is started and when it is ready."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from hookline.cli.data_folder import new_instance
from hookline.cli.system import bound_url
from hookline.errors import HooklineError
from hookline.settings import Settings
from hookline.supervisor import LONGEST_START, Service

POOL = "warm"
#: -P: unlike `python -m` alone, do not let modules of the working directory shadow installed ones.
HOOKLINE = (sys.executable, "-P", "-m", "hookline")
#: Prefect's own program, with its garbage collected where it cannot stop the server.
PREFECT = (sys.executable, "-P", "-m", "hookline.prefect_server")
#: A deploy waits for the server of `up` for as long as that may take to start, and for another one:
OTHER_SERVER_WAIT = timedelta(minutes=3)
#: How long the gateway may be away: what is sent to it meanwhile waits on its socket.
GATEWAY_DELAY = timedelta(seconds=1)
BACKLOG = 2048


@dataclass(frozen=True)
class Plan:
    """Where everything is going to be.

    Parameters
    ----------
    settings: Hookline's settings.
    server: address of an existing server, or None for one of our own.
    secrets: the development secrets that the gateway makes up, by variable.
    instance: what the gateway is going to say that it is.
    """

    settings: Settings
    server: str | None
    secrets: Mapping[str, str]
    instance: str = field(default_factory=new_instance)

    @property
    def data(self) -> Path:
        """Return the data folder as an absolute path."""
        return self.settings.data.absolute()

    @property
    def prefect_url(self) -> str:
        """Return the address at which people find Prefect, without a trailing slash."""
        if self.server is not None:
            return self.server.rstrip("/").removesuffix("/api")
        return f"http://127.0.0.1:{self.settings.prefect_port}"

    @property
    def prefect_api(self) -> str:
        """Return the address of Prefect's API."""
        return f"{self.prefect_url}/api"

    def environment(self) -> dict[str, str]:
        """Return the environment of every process that is started."""
        env = {
            **os.environ,
            "HOOKLINE_DATA": str(self.data),
            # Flow runs send their events there, whatever working directory they run in.
            "HOOKLINE_URL": self.settings.gateway_url,
            "DO_NOT_TRACK": "1",
        }
        if self.settings.api_key:
            env["HOOKLINE_API_KEY"] = self.settings.api_key
        for name, value in self.prefect_environment().items():
            if value is None:
                env.pop(name, None)
            else:
                env[name] = value
        return env

    def prefect_environment(self) -> dict[str, str | None]:
        """Return Prefect's variables for what works with the server; None is for one that must not be set."""
        if self.server is not None:
            return {"PREFECT_API_URL": self.prefect_api}
        # A profile or key for another server means nothing to the one in this folder.
        foreign = dict.fromkeys(("PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT_UI_URL"))
        return {"PREFECT_API_URL": self.prefect_api, "PREFECT_HOME": str(self.data / "prefect"), **foreign}


def server(plan: Plan) -> Service:
    """Return the Prefect server, on SQLite in the data folder, on the loopback alone."""
    port = plan.settings.prefect_port
    return Service(
        name="Prefect server",
        command=(*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)),
        env={
            **plan.environment(),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # By default the UI is built inside the installed package, where two servers would collide.
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(plan.data / "prefect" / "ui"),
        },
        log=plan.data / "logs" / "prefect-server.log",
        ready=answers(f"{plan.prefect_api}/health"),
    )


def gateway(plan: Plan, sockets: Sequence[socket.socket]) -> Service:
    """Return the gateway with its dispatcher.

    Parameters
    ----------
    sockets: where it listens.
    """
    return Service(
        name="Gateway",
        # It makes them up itself, for sources that are added later as well.
        command=(*HOOKLINE, "gateway", "--development-secrets"),
        env=plan.environment(),
        log=plan.data / "logs" / "gateway.log",
        ready=answers(f"{bound_url(plan.settings)}/healthz"),
        sockets=sockets,
        longest_delay=GATEWAY_DELAY,
    )


def worker(plan: Plan) -> Service:
    """Return the warm worker."""
    log = plan.data / "logs" / "worker.log"
    return Service(
        name="Warm worker",
        # Whoever runs an existing server decides about its pools.
        command=(*HOOKLINE, "worker", "--pool", POOL, *(["--no-create-pool"] if plan.server else [])),
        env=plan.environment(),
        log=log,
        # A server elsewhere may be down; the worker then waits for it, and so do events.
        ready=writes(log, "started!", *(["waiting for it"] if plan.server else [])),
        # Runs that are under way may finish.
        grace=timedelta(seconds=30),
    )


def deploy_command(*, own_server: bool, own_inbox: bool) -> tuple[str, ...]:
    """Return the command that deploys once the server is there.

    An inbox of its own holds the triggers of this project alone: what the file no longer has may go.
    """
    wait = LONGEST_START if own_server else OTHER_SERVER_WAIT
    command = (*HOOKLINE, "deploy", "--wait", str(wait.total_seconds()))
    return (
        *command,
        *(["--create-pool"] if own_server else []),
        *(["--prune"] if own_inbox else []),
    )


def listen(plan: Plan) -> list[socket.socket]:
    """Return the gateway's sockets, listening, once it is sure that Prefect's port is free too.

    Raises
    ------
    HooklineError: a port is taken; names the setting to change.
    """
    sockets = [
        _bind(address, "HOOKLINE_PORT") for address in _addresses(plan.settings.host, plan.settings.port)
    ]
    for each in sockets:
        each.listen(BACKLOG)
    if plan.server is None:
        for address in _addresses("127.0.0.1", plan.settings.prefect_port):
            _bind(address, "HOOKLINE_PREFECT_PORT").close()
    return sockets


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a question that is answered True once the address answers 200."""

    async def ask() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            # trust_env: a proxy must not answer for a process on this machine.
            async with httpx.AsyncClient(timeout=2, trust_env=False, verify=False) as client:  # noqa: S501 (http)
                return (await client.get(url)).status_code == 200
        return False

    return ask


def writes(log: Path, *words: str) -> Callable[[], Awaitable[bool]]:
    """Return a question that is answered True once a process has written any of these to its log since."""
    seen = log.stat().st_size if log.exists() else 0

    def look() -> bool:
        nonlocal seen
        with log.open("rb") as written:
            if written.seek(0, os.SEEK_END) < seen:
                seen = 0  # it was cut
            written.seek(seen)
            new = written.read()
            found = any(each.encode() in new for each in words)
        if found:
            seen += len(new)
        return found

    async def ask() -> bool:
        return look()

    return ask


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as wrong:
        raise HooklineError(f"HOOKLINE_HOST is {host}, which is no address ({wrong.strerror}).") from None
    return [(family, address) for family, _, _, _, address in dict.fromkeys(found)]


def _bind(address: tuple[socket.AddressFamily, Any], setting: str) -> socket.socket:
    family, where = address
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family is socket.AF_INET6:
        # Its own protocol alone: the other one has a socket of its own.
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind(where)
    except OSError as wrong:
        bound.close()
        raise HooklineError(
            f"Port {where[1]} on {where[0]} cannot be used ({wrong.strerror}). Set {setting} to a free port."
        ) from None
    return bound
