"""The system that a command is about: the one way to find it, for every command.

An address in the environment wins. Else it is what runs in the folder one stands in, or in the nearest folder
above it that has a project or a data folder, whatever its ports. Only where there is no project at all is the
gateway looked for at its usual address.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookline.cli.data_folder import read_record, read_running
from hookline.cli.output import note
from hookline.errors import HooklineError
from hookline.settings import Settings, load_settings, without_user

#: Whoever sets one of these has said where the gateway is.
ADDRESS = ("HOOKLINE_URL", "HOOKLINE_HOST", "HOOKLINE_PORT")
PROJECT = "prefect.yaml"
#: Stands for a password in what is written down.
HIDDEN = "***"


@dataclass(frozen=True)
class System:
    """Where commands go.

    Parameters
    ----------
    settings: the settings; data folder, sources and database are those of the running system.
    running: what the running system wrote down, or None where none runs in this folder.
    gateway: the gateway's address, without a trailing slash.
    instance: what that gateway has to say that it is, or None where any will do.
    missing: why there is no gateway to talk to, or None.
    """

    settings: Settings
    running: Mapping[str, Any] | None
    gateway: str
    instance: str | None
    missing: str | None = None

    @property
    def public_url(self) -> str:
        """Return the address at which others reach the gateway."""
        if self.running and self.instance is not None:
            return str(self.running["gateway"])
        return self.gateway


def find_system() -> System:
    """Return the system that the commands of this folder are about.

    Raises
    ------
    HooklineError: the settings cannot be used, or the data folder cannot be read.
    """
    root = _root()
    settings = load_settings(root)
    data = (root / settings.data).absolute()
    running = read_running(data)
    if running is not None and not {"address", "instance"} <= running.keys():
        raise HooklineError(f"What runs on {data} is of another version of Hookline; start it again.")
    settings = _as_it_runs(settings, root, data, running or {})
    system, how = _located(settings, root, running)
    note(f"data folder  {data} ({_described(running) or 'nothing runs there'})")
    note(f"gateway      {without_user(system.gateway)} ({how})")
    return system


def record(
    settings: Settings, command: str, instance: str, prefect_environment: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return what a system writes down of itself: all that commands need to find it.

    Parameters
    ----------
    command: what was started.
    instance: what its gateway says that it is.
    prefect_environment: Prefect's variables for other processes; None is for one that must not be set.
    """
    return {
        "command": command,
        "pid": os.getpid(),
        "instance": instance,
        "gateway": settings.gateway_url,
        "address": bound_url(settings),
        "loopback": settings.on_loopback,
        "sources": str(settings.sources.absolute()),
        "database": _without_password(settings.database),
        "prefect_environment": dict(prefect_environment),
    }


def use_system() -> Settings:
    """Find the system for a command that works on its inbox and its Prefect server itself.

    To be called before Prefect is imported, which reads its settings then.

    Raises
    ------
    HooklineError: as of `find_system`.
    """
    system = find_system()
    use_prefect(system)
    return system.settings


def use_prefect(system: System) -> None:
    """Take the Prefect server of the running system, unless an address is set.

    Its profile and its key are of no use there. See `use_system` for when to call it.
    """
    if os.environ.get("PREFECT_API_URL"):
        note(f"Prefect      {without_user(os.environ['PREFECT_API_URL'])} (PREFECT_API_URL)")
        return
    for name, value in prefect_environment(system).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    address = os.environ.get("PREFECT_API_URL", "")
    note(f"Prefect      {without_user(address) or 'as the active profile of Prefect says'}")


def prefect_environment(system: System) -> dict[str, str | None]:
    """Return Prefect's variables for the running system; None is for one that must not be set."""
    given = (system.running or {}).get("prefect_environment", {})
    return {name: value for name, value in given.items() if name.startswith("PREFECT_")}


def bound_url(settings: Settings) -> str:
    """Return the address at which this machine reaches the gateway, which may differ from the public one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 (not bound here)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _without_password(database: str) -> str:
    """Return a database's address as it may be written down."""
    head, at, rest = database.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}:{HIDDEN}@{rest}" if at and ":" in user else database


def _root() -> Path:
    """Return the folder of the project that one stands in, or the working directory where there is none."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise HooklineError("The working directory is gone; change to a folder that exists.") from None
    if os.environ.get("HOOKLINE_DATA"):
        return here
    for folder in (here, *here.parents):
        # Where others can write, such as /tmp, they could put a system of theirs above our folder.
        if folder != here and not _is_mine(folder):
            break
        if _is_project(folder):
            return folder
    return here


def _is_mine(folder: Path) -> bool:
    facts = folder.stat()
    return facts.st_uid == os.geteuid() and not facts.st_mode & stat.S_IWOTH


def _is_project(folder: Path) -> bool:
    return (folder / PROJECT).exists() or (folder / load_settings(folder).data).is_dir()


def _as_it_runs(settings: Settings, root: Path, data: Path, running: Mapping[str, Any]) -> Settings:
    """Return the settings with what the running system goes by, where the environment says nothing else."""
    found: dict[str, Any] = {"data": data, "sources": root / settings.sources}
    if "sources" in running and "HOOKLINE_SOURCES" not in os.environ:
        found["sources"] = Path(running["sources"])
    if running.get("database") and "HOOKLINE_DATABASE" not in os.environ:
        found["database"] = running["database"]
    return settings.model_copy(update=found)


def _located(settings: Settings, root: Path, running: Mapping[str, Any] | None) -> tuple[System, str]:
    """Return the system, and how its gateway was found."""
    explicit = [name for name in ADDRESS if os.environ.get(name)]
    if explicit or settings.url:
        address = settings.url.rstrip("/") or bound_url(settings)
        ours = running["instance"] if running and running["address"] == address else None
        return System(settings, running, address, ours), explicit[0] if explicit else "HOOKLINE_URL in .env"
    if running:
        return System(settings, running, running["address"], running["instance"]), "it runs in this folder"
    usual = bound_url(settings)
    if not _is_project(root) and not os.environ.get("HOOKLINE_DATA"):
        return System(settings, None, usual, None), "the usual address; there is no project here"
    missing = f"No gateway runs on {settings.data}"
    if last := read_record(settings.data):
        missing += f" any more (`{_described(last)}` has ended)"
    missing += ". Start one with `hookline up`, or set HOOKLINE_URL to the address of yours."
    return System(settings, None, usual, None, missing), "where one would be; none runs"


def _described(record: Mapping[str, Any] | None) -> str:
    return f"{record.get('command', 'hookline up')}, process {record.get('pid', 'unknown')}" if record else ""
