"""What senders sent is for its owner's eyes: the data folder, the inbox and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.errors import InboxError
from hookline.inbox import Inbox
from hookline.private_files import make_private_file


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_an_inbox_opens_to_its_owner_alone(tmp_path: Path) -> None:
    """The gateway alone, without `up`, makes its folder and every file in it private."""
    folder = tmp_path / "data"
    async with Inbox.open(f"sqlite:///{folder}/inbox.db", exclusive=True) as inbox:
        await inbox.shared_secret("claims")
        modes = {path.name: mode(path) for path in folder.iterdir()}
    assert mode(folder) == 0o700
    assert {"inbox.db", "inbox.db-wal", "inbox.db.lock"} <= modes.keys()
    assert {name: oct(found) for name, found in modes.items() if found & 0o077} == {}


async def test_an_inbox_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """Files of an earlier version lose the permissions that they should not have had."""
    inbox_file = tmp_path / "inbox.db"
    async with Inbox.open(f"sqlite:///{inbox_file}"):
        pass
    inbox_file.chmod(0o644)
    async with Inbox.open(f"sqlite:///{inbox_file}"):
        assert mode(inbox_file) == 0o600


@pytest.mark.parametrize("folder", ["/proc/nope", "{file}/data"], ids=["not writable", "below a file"])
async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, folder: str) -> None:
    """One error, with the setting to change, and no traceback of the system's."""
    file = tmp_path / "file"
    file.touch()
    path = Path(folder.format(file=file)) / "inbox.db"
    with pytest.raises(InboxError, match="HOOKLINE_DATA"):
        make_private_file(path)
    with pytest.raises(InboxError, match="HOOKLINE_DATA"):
        async with Inbox.open(f"sqlite:///{path}"):
            pass
