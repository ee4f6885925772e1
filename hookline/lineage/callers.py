"""The event behind a run that another run called: `run_deployment` carries no sign of it into the new run.

What such a run sends has to know it at the door already, because the depth of a chain, by which loops are
found, is counted from it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.event import Draft
from hookline.inbox import Inbox
from hookline.lineage import store
from hookline.prefect_api import PrefectApi

#: Accepting an event never depends on Prefect: beyond this it is accepted without.
PATIENCE_SECONDS = 2.0
#: Calls above a run that are looked at.
LEVELS = 16
#: Runs whose event is remembered.
REMEMBERED = 1_000


class Callers:
    """Finds the event behind runs that were called.

    Parameters
    ----------
    inbox: knows which event started which run.
    prefect: knows which run called which.
    """

    def __init__(self, inbox: Inbox, prefect: PrefectApi) -> None:
        self._inbox = inbox
        self._prefect = prefect
        self._known: OrderedDict[str, str | None] = OrderedDict()

    async def complete(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Return drafts whose cause names the event wherever one can be found; most know it already."""
        return [await self._complete(draft) for draft in drafts]

    async def _complete(self, draft: Draft) -> Draft:
        cause = draft.cause
        if cause is None or cause.event is not None or cause.flow_run is None:
            return draft
        event_id = await self._event_behind(cause.flow_run)
        return draft if event_id is None else replace(draft, cause=replace(cause, event=event_id))

    async def _event_behind(self, run_id: str) -> str | None:
        if run_id in self._known:
            return self._known[run_id]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                event_id = await self._climb(run_id)
        except (PrefectUnavailable, PrefectRefused, InboxError, TimeoutError):
            return None
        self._known[run_id] = event_id
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return event_id

    async def _climb(self, run_id: str) -> str | None:
        current = run_id
        for _ in range(LEVELS):
            event_id = await self._inbox.read(lambda c, of=current: store.event_behind(c, of))  # type: ignore[misc]
            if event_id is not None:
                return str(event_id)
            caller = await self._caller_of(current)
            if caller is None:
                return None
            current = caller
        return None

    async def _caller_of(self, run_id: str) -> str | None:
        runs = await self._prefect.rows(
            "/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}}, pages=1
        )
        task_id = runs[0].get("parent_task_run_id") if runs else None
        if task_id is None:
            return None
        tasks = await self._prefect.rows(
            "/task_runs/filter", {"task_runs": {"id": {"any_": [task_id]}}}, pages=1
        )
        return tasks[0].get("flow_run_id") if tasks else None
