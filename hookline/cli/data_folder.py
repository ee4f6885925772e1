"""What `up` keeps in the data folder: a lock, who is running, and secrets for development."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from hookline.errors import HooklineError
from hookline.private_files import make_private_file, make_private_folder

LOCK = "up.lock"
RUNNING = "up.json"
SECRETS = "development-secrets.json"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the data folder for this process; the lock goes away with the process, however that ends.

    Raises
    ------
    HooklineError: another `hookline up` holds it; says how to reach or avoid it.
    """
    make_private_file(folder / LOCK)
    handle = os.open(folder / LOCK, os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _read(folder / RUNNING)
            raise HooklineError(
                f"`hookline up` is running already on {folder} (process {other.get('pid', 'unknown')},"
                f" gateway {other.get('gateway', 'unknown')}). Stop it, or give a second system beside it"
                " its own HOOKLINE_DATA, HOOKLINE_PORT and HOOKLINE_PREFECT_PORT."
            ) from None
        yield
    finally:
        os.close(handle)


def write_running(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what is running, for other commands and for people."""
    draft = folder / f"{RUNNING}.new"
    draft.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
    draft.replace(folder / RUNNING)


def forget_running(folder: Path) -> None:
    """Take back what `write_running` wrote."""
    (folder / RUNNING).unlink(missing_ok=True)


def read_running(folder: Path) -> dict[str, Any] | None:
    """Return what the `up` that runs on the folder wrote down, or None where none runs."""
    try:
        with locked(folder):
            return None
    except HooklineError:
        return _read(folder / RUNNING)


def development_secrets(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return a secret for each name, made up on first use and the same ever after.

    The file can be read by its owner alone. These secrets are for senders on this machine. They are good
    for recipes of every encoding: hex digits are also base64, and a text.
    """
    path = folder / SECRETS
    known: dict[str, str] = _read(path)
    wanted = {name: known.get(name) or secrets.token_hex(32) for name in names}
    if wanted.keys() - known.keys():
        make_private_folder(folder)
        draft = folder / f"{SECRETS}.new"
        draft.touch(mode=0o600)
        draft.write_bytes(orjson.dumps({**known, **wanted}, option=orjson.OPT_INDENT_2) + b"\n")
        draft.replace(path)
    return wanted


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return found
