"""Folders and files that hold what senders sent: for their owner's eyes alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hookline.errors import InboxError

_OTHERS = 0o077


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter; one that is there already keeps its permissions.

    Raises
    ------
    InboxError: it cannot be made; says which setting to change.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as wrong:
        raise _unusable(folder, wrong) from None


def make_private_file(path: Path) -> None:
    """Make a file that only its owner can read, or take the permissions of others from one that is there.

    Raises
    ------
    InboxError: it cannot be made or opened for writing.
    """
    make_private_folder(path.parent)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as wrong:
        raise _unusable(path, wrong) from None
    # Somebody else's file may be open to us and still not ours to change.
    with contextlib.suppress(PermissionError):
        mode = path.stat().st_mode
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that a file of the data folder cannot be written, whatever is wrong.

    Raises
    ------
    InboxError: it cannot.
    """
    try:
        yield
    except OSError as wrong:
        raise _unusable(path, wrong) from None


def _unusable(path: Path, wrong: OSError) -> InboxError:
    return InboxError(
        f"{path} cannot be used ({wrong.strerror}). Set HOOKLINE_DATA to a folder that you can write to."
    )
