"""Remembering what was turned away, without letting a flood of it slow down what is let in."""

from __future__ import annotations

import asyncio
import logging

from hookline.errors import InboxError, Refusal
from hookline.event import new_id, now
from hookline.inbox import Inbox, Rejection

log = logging.getLogger(__name__)

#: Rejections that wait to be written; more than this in one moment are counted, not kept.
WAITING_LIMIT = 1_000
WRITE_EVERY_SECONDS = 0.2
DOOR_CHARACTERS = 80


class RejectionLog:
    """Collects rejections and writes them to the inbox now and then."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._waiting: list[Rejection] = []
        self._something = asyncio.Event()
        self.counts: dict[str, int] = {}
        self.not_kept = 0

    def add(self, refusal: Refusal, *, door: str, remote: str, size: int) -> None:
        """Remember that a request was turned away; never waits."""
        self.counts[refusal.reason] = self.counts.get(refusal.reason, 0) + 1
        if len(self._waiting) >= WAITING_LIMIT:
            self.not_kept += 1
            return
        self._waiting.append(
            Rejection(
                id=new_id(),
                at=now(),
                door=_visible(door)[:DOOR_CHARACTERS],
                remote=_visible(remote),
                status=refusal.status,
                reason=refusal.reason,
                detail=_visible(refusal.detail),
                size=size,
            )
        )
        self._something.set()

    async def write_for_ever(self) -> None:
        """Write what was collected, a few times a second."""
        while True:
            await self._something.wait()
            await asyncio.sleep(WRITE_EVERY_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what was collected."""
        self._something.clear()
        waiting, self._waiting = self._waiting, []
        try:
            await self._inbox.reject(waiting)
        except InboxError as failed:
            log.error("rejections: %s", failed)
            self._waiting = (waiting + self._waiting)[:WAITING_LIMIT]


def _visible(text: str) -> str:
    """Return what a stranger wrote without characters that cannot be kept or that deceive."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
