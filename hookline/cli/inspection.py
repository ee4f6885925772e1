"""What `audit` and `doctor` open. Importing this module imports Prefect, which reads its settings then."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hookline.auditing import Audit, audit
from hookline.doctor import Check, examine, percentiles
from hookline.errors import InboxError
from hookline.inbox import Inbox
from hookline.inbox.engine import inbox_url
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.sources import load_sources


async def audit_all(settings: Settings, *, with_prefect: bool) -> Audit:
    """Audit the inbox that the settings name.

    Raises
    ------
    InboxError: there is none.
    """
    _check_there(settings)
    async with contextlib.AsyncExitStack() as stack:
        inbox = await stack.enter_async_context(Inbox.open(settings.database_url))
        prefect = await stack.enter_async_context(PrefectApi.open()) if with_prefect else None
        return await audit(inbox, prefect)


async def examine_all(settings: Settings) -> tuple[list[Check], dict[str, dict[float, float]]]:
    """Examine everything that the settings name.

    Raises
    ------
    InboxError: there is no inbox.
    """
    _check_there(settings)
    sources = load_sources(settings.sources, os.environ)
    async with Inbox.open(settings.database_url) as inbox, PrefectApi.open() as prefect:
        return await examine(settings, inbox, prefect, sources), await percentiles(inbox)


def _check_there(settings: Settings) -> None:
    url = inbox_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise InboxError(
            f"There is no inbox at {url.database}. Set HOOKLINE_DATA to the data folder of the gateway, or"
            " HOOKLINE_DATABASE to the inbox's address."
        )
