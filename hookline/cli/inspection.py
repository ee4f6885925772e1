"""What `audit` opens. Importing this module imports Prefect, which reads its settings then."""

from __future__ import annotations

import contextlib

from hookline.auditing import Audit, audit
from hookline.cli.inbox import open_inbox
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings


async def audit_all(settings: Settings, *, with_prefect: bool) -> Audit:
    """Audit the inbox that the settings name.

    Raises
    ------
    InboxError: there is none.
    """
    async with contextlib.AsyncExitStack() as stack:
        inbox = await stack.enter_async_context(open_inbox(settings))
        prefect = await stack.enter_async_context(PrefectApi.open()) if with_prefect else None
        return await audit(inbox, prefect)
