"""What `audit` opens. Importing this module imports Prefect, which reads its settings then."""

from __future__ import annotations

import contextlib
from datetime import datetime

from hookline.auditing import Audit, audit
from hookline.cli.inbox import open_inbox
from hookline.errors import PrefectUnavailable
from hookline.inbox.anchoring import take_anchor
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings


async def audit_all(
    settings: Settings,
    *,
    with_prefect: bool,
    deep: bool = False,
    older_until: datetime | None = None,
    since: str | None = None,
    take: bool = False,
) -> tuple[Audit, str | None]:
    """Audit the inbox that the settings name; return what was found, and a new anchor if one is to be taken.

    Parameters
    ----------
    deep, older_until, since: see `audit`.
    take: take an anchor, after the audit.

    Raises
    ------
    InboxError: there is none.
    AnchorUnusable: `since` is no anchor of this inbox.
    PrefectUnavailable: Prefect is to be asked, and is away.
    """
    async with contextlib.AsyncExitStack() as stack:
        inbox = await stack.enter_async_context(open_inbox(settings))
        prefect = await stack.enter_async_context(PrefectApi.open()) if with_prefect else None
        try:
            found = await audit(inbox, prefect, deep=deep, older_until=older_until, since=since)
        except PrefectUnavailable as away:
            raise PrefectUnavailable(f"{away}. With --no-prefect the inbox alone is audited.") from None
        if not take:
            return found, None
        identity = await inbox.identity()
        return found, str(await inbox.write(lambda connection: take_anchor(connection, identity)))
