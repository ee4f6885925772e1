"""The processes that `up` keeps running: how each is started and when it is ready."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from hookline.errors import HooklineError
from hookline.settings import Settings
from hookline.supervisor import Service

POOL = "warm"
#: -P: unlike `python -m` alone, do not let modules of the working directory shadow installed ones.
HOOKLINE = (sys.executable, "-P", "-m", "hookline")
#: Prefect's own program, with its garbage collected where it cannot stop the server.
PREFECT = (sys.executable, "-P", "-m", "hookline.prefect_server")
#: The server starts on a fresh database, with all of Prefect's migrations, on a slow machine.
SERVER_PATIENCE = timedelta(minutes=3)


@dataclass(frozen=True)
class Plan:
    """Where everything is going to be.

    Parameters
    ----------
    settings: Hookline's settings.
    server: address of an existing server, or None for one of our own.
    secrets: development secrets by variable, for the gateway alone.
    """

    settings: Settings
    server: str | None
    secrets: Mapping[str, str]

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
            "PREFECT_API_URL": self.prefect_api,
            "DO_NOT_TRACK": "1",
        }
        if self.settings.api_key:
            env["HOOKLINE_API_KEY"] = self.settings.api_key
        if self.server is None:
            # A profile or key for another server means nothing to the one in this folder.
            for foreign in ("PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT_UI_URL"):
                env.pop(foreign, None)
            env["PREFECT_HOME"] = str(self.data / "prefect")
        return env


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
        patience=SERVER_PATIENCE,
    )


def gateway(plan: Plan) -> Service:
    """Return the gateway with its dispatcher."""
    return Service(
        name="Gateway",
        command=(*HOOKLINE, "gateway"),
        env={**plan.environment(), **plan.secrets},
        log=plan.data / "logs" / "gateway.log",
        ready=answers(f"{bound_url(plan.settings)}/healthz"),
    )


def worker(plan: Plan) -> Service:
    """Return the warm worker."""
    return Service(
        name="Warm worker",
        # Whoever runs an existing server decides about its pools.
        command=(*HOOKLINE, "worker", "--pool", POOL, *(["--no-create-pool"] if plan.server else [])),
        env=plan.environment(),
        log=plan.data / "logs" / "worker.log",
        ready=_always,
        # Runs that are under way may finish.
        grace=timedelta(seconds=30),
    )


def deploy_command(*, own_server: bool) -> tuple[str, ...]:
    """Return the command that deploys once the server is there."""
    command = (*HOOKLINE, "deploy", "--wait", str(SERVER_PATIENCE.total_seconds()))
    return (*command, "--create-pool") if own_server else command


def check_ports(plan: Plan) -> None:
    """Check that the ports are free.

    Raises
    ------
    HooklineError: one is taken; names the setting to change.
    """
    _check_port(plan.settings.host, plan.settings.port, "HOOKLINE_PORT")
    if plan.server is None:
        _check_port("127.0.0.1", plan.settings.prefect_port, "HOOKLINE_PREFECT_PORT")


def bound_url(settings: Settings) -> str:
    """Return the address at which this machine reaches the gateway, which may differ from the public one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 (not bound here)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a question that is answered True once the address answers 200."""

    async def ask() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            # trust_env: a proxy must not answer for a process on this machine.
            async with httpx.AsyncClient(timeout=2, trust_env=False, verify=False) as client:  # noqa: S501 (http)
                return (await client.get(url)).status_code == 200
        return False

    return ask


async def _always() -> bool:
    return True


def _check_port(host: str, port: int, setting: str) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as wrong:
            raise HooklineError(
                f"Port {port} on {host} cannot be used ({wrong.strerror}). Set {setting} to a free port."
            ) from None
