"""Whether the inbox can take an event now: found out by writing, not more often than needed."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, delete, insert

from hookline.errors import InboxFull
from hookline.inbox.schema import keyring

#: What was found out counts for so long, for everybody who asks.
BELIEVED_SECONDS = 1.0
#: A refused event counts for so long, unless one is taken: it may be larger than what is tried.
REFUSAL_SECONDS = 5.0
#: As much as a usual event takes, so that the disk has to give room.
PROBE_BYTES = 16_384
#: With less room on the disk it is full, although a small write may still find its place in SQLite's log.
FULL_BYTES = 1024 * 1024
#: A row of the keyring that is there while it is tried; what is left of one is overwritten by the next.
_NAME = "readiness probe"


class Readiness:
    """Knows whether the inbox takes events.

    Parameters
    ----------
    write: runs work in the next transaction of the inbox.
    folder: where the database's files are; None where they are on another machine, or in memory.
    """

    def __init__(
        self, write: Callable[[Callable[[Connection], None]], Awaitable[None]], folder: Path | None
    ) -> None:
        self._write = write
        self._folder = folder
        self._clock = asyncio.get_running_loop().time
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._found: str | None = None
        self._refused_at = float("-inf")
        self._refusal: str | None = None

    def taken(self) -> None:
        """Note that an event was taken."""
        self._refusal = None

    def refused(self, why: InboxFull) -> None:
        """Note that an event was not taken."""
        self._refusal, self._refused_at = str(why), self._clock()

    async def check(self) -> None:
        """Find out whether an event would be taken.

        Raises
        ------
        InboxFull: it would not, and why.
        """
        if self._refusal is not None and self._clock() - self._refused_at < REFUSAL_SECONDS:
            raise InboxFull(self._refusal)
        async with self._asking:
            if self._clock() - self._asked_at >= BELIEVED_SECONDS:
                self._found = await self._try()
                self._asked_at = self._clock()
        if self._found is not None:
            raise InboxFull(self._found)

    async def _try(self) -> str | None:
        if self._folder is not None and (left := _bytes_left(self._folder)) < FULL_BYTES:
            return f"the disk is full: {left:,} bytes are left at {self._folder}; free disk space"
        try:
            # In two transactions: what one of them adds and takes away again never reaches the disk.
            await self._write(partial(_put, secrets.token_bytes(PROBE_BYTES)))
            await self._write(_take_away)
        except InboxFull as full:
            return str(full)
        return None


def _bytes_left(folder: Path) -> int:
    disk = os.statvfs(folder)
    # What is kept back is for the superuser.
    return disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail)


def _put(content: bytes, connection: Connection) -> None:
    _take_away(connection)
    connection.execute(insert(keyring).values(name=_NAME, secret=content))


def _take_away(connection: Connection) -> None:
    connection.execute(delete(keyring).where(keyring.c.name == _NAME))
