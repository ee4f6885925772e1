"""Opening the inbox of a system that is there, for the commands that look into it themselves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from hookline.cli.system import HIDDEN
from hookline.errors import InboxError
from hookline.inbox import Inbox
from hookline.inbox.engine import inbox_url
from hookline.settings import Settings


@contextlib.asynccontextmanager
async def open_inbox(settings: Settings) -> AsyncIterator[Inbox]:
    """Open the inbox that the settings name.

    Raises
    ------
    InboxError: there is none, or it cannot be opened.
    """
    check_password(settings)
    _check_there(settings)
    async with Inbox.open(settings.database_url) as inbox:
        yield inbox


def check_password(settings: Settings) -> None:
    """Make sure that the database's password is known.

    Raises
    ------
    InboxError: a running system has written its address down, without it.
    """
    if inbox_url(settings.database_url).password == HIDDEN:
        raise InboxError(
            f"The inbox of this folder's system is {settings.database}. Set HOOKLINE_DATABASE to that"
            " address, with its password."
        )


def _check_there(settings: Settings) -> None:
    """Make sure that there is an inbox: opening one that is not there would make it."""
    url = inbox_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise InboxError(
            f"There is no inbox at {url.database}. Set HOOKLINE_DATA to the data folder of the gateway, or"
            " HOOKLINE_DATABASE to the inbox's address."
        )
