"""What a running system keeps in its data folder: a lock, what runs and where, and secrets for development.

`hookline up` holds the lock and writes the record, and a gateway that was started alone does so too. Whether
a record holds is told by the lock, which ends with its process: a process id may be somebody else's by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from hookline.errors import HooklineError
from hookline.private_files import make_private_file, writing

LOCK = "up.lock"
RUNNING = "up.json"
#: How often, and how long apart, the lock is tried for.
LOOKS, LOOK_SECONDS = 5, 0.05


class Running(HooklineError):
    """Something runs on the data folder already."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the data folder for this process; the lock goes away with the process, however that ends.

    Raises
    ------
    Running: another process holds it; says how to reach or avoid it.
    """
    make_private_file(folder / LOCK)
    handle = os.open(folder / LOCK, os.O_RDWR)
    try:
        if not _take(handle):
            other = read_record(folder)
            raise Running(
                f"`{other.get('command', 'hookline up')}` is running already on {folder} (process"
                f" {other.get('pid', 'unknown')}, gateway {other.get('gateway', 'unknown')}). Stop it, or"
                " give a second system beside it its own HOOKLINE_DATA, HOOKLINE_PORT and"
                " HOOKLINE_PREFECT_PORT."
            )
        try:
            yield
        finally:
            (folder / RUNNING).unlink(missing_ok=True)
    finally:
        os.close(handle)


def new_instance() -> str:
    """Return a name for a system that starts; its gateway says it, so that commands know it for theirs."""
    return secrets.token_hex(8)


def write_running(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what is running, for other commands and for people."""
    _write(folder / RUNNING, facts)


def read_running(folder: Path) -> dict[str, Any] | None:
    """Return what runs on the folder, as it wrote it down, or None where nothing does.

    Raises
    ------
    HooklineError: the folder is somebody else's.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as wrong:
        raise HooklineError(
            f"{folder / LOCK} cannot be read ({wrong.strerror}). Set HOOKLINE_URL to the gateway's address,"
            " or HOOKLINE_DATA to a data folder of your own."
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        # It may have begun to start just now.
        return read_record(folder) or None
    finally:
        os.close(handle)
    return None


def read_record(folder: Path) -> dict[str, Any]:
    """Return what was written down last, which may be over; empty where nothing was."""
    return _read(folder / RUNNING)


def _take(handle: int) -> bool:
    """Return whether the lock was to be had; whoever only looks whether it is held has it for a moment."""
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a file at once, for its owner's eyes."""
    draft = path.with_name(f"{path.name}.new")
    with writing(path):
        draft.touch(mode=0o600)
        draft.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        draft.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
