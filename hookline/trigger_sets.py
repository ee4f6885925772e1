"""The versions of the trigger set that are in memory: the one in force, and those of older dispatches."""

from __future__ import annotations

import asyncio
from typing import Any

from hookline.errors import InboxError
from hookline.inbox import Dispatch, Inbox
from hookline.triggers import Trigger, TriggerSet

KEPT = 8
#: How often the inbox is asked for triggers while nothing has been deployed.
FIRST_DEPLOY_SECONDS = 0.25


class TriggerSets:
    """Reads trigger sets from the inbox, once each."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._newest: int | None = None
        self._known: dict[int, TriggerSet] = {}

    @property
    def known(self) -> TriggerSet | None:
        """Return the set in force as far as it is known without asking the inbox."""
        return None if self._newest is None else self._known.get(self._newest)

    async def in_force(self) -> TriggerSet:
        """Return the newest set, believed until `forget` is called.

        The inbox, which knows, refuses a routing against a set that is no longer in force.

        Raises
        ------
        InboxError: it cannot be read, now or by this version of Hookline.
        """
        if (known := self.known) is not None:
            return known
        version, documents = await self._inbox.trigger_set()
        self._newest = version
        return self._learn(version, documents)

    async def newest(self) -> TriggerSet:
        """Return the newest set, asking the inbox: for what is told to people right after a deploy.

        Raises
        ------
        InboxError: it cannot be read, now or by this version of Hookline.
        """
        version, documents = await self._inbox.trigger_set()
        self._newest = max(version, self._newest or 0)
        known = self._known.get(version)
        return self._learn(version, documents) if known is None else known

    async def is_deployed(self) -> bool:
        """Return whether there ever was a deploy, be it of no trigger at all.

        Raises
        ------
        InboxError: as `in_force`.
        """
        if self.known is None or self.known.is_before_first_deploy:
            self.forget()
        return not (await self.in_force()).is_before_first_deploy

    async def await_first_deploy(self) -> None:
        """Return once there was a deploy: what comes before a project's first one waits for it, accepted.

        Raises
        ------
        InboxError: as `in_force`.
        """
        while True:
            if await self.is_deployed():
                return
            await asyncio.sleep(FIRST_DEPLOY_SECONDS)

    def forget(self) -> None:
        """Read anew which set is in force: a newer one was deployed."""
        self._newest = None

    async def trigger(self, dispatch: Dispatch) -> Trigger | None:
        """Return the trigger that made a dispatch, of the version that its event was matched against.

        Raises
        ------
        InboxError: its set cannot be read.
        """
        known = self._known.get(dispatch.trigger_set)
        if known is None:
            version, documents = await self._inbox.trigger_set(dispatch.trigger_set)
            known = self._learn(version, documents)
        return known.get(dispatch.trigger_id) if known.version == dispatch.trigger_set else None

    def _learn(self, version: int, documents: list[dict[str, Any]]) -> TriggerSet:
        try:
            learned = TriggerSet(version, [Trigger.from_dict(document) for document in documents])
        except ValueError as wrong:
            raise InboxError(
                f"version {version} of the trigger set cannot be read by this Hookline ({wrong});"
                " run `hookline deploy` again, or update this gateway"
            ) from None
        self._known[version] = learned
        for old in sorted(self._known)[:-KEPT]:
            if old not in (version, self._newest):
                del self._known[old]
        return learned
