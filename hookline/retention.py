"""Retention: what is old, or too much, is forgotten in small steps, so that the door does not notice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hookline.errors import InboxError
from hookline.event import now
from hookline.inbox import Inbox, pruning, thinning
from hookline.settings import Settings

log = logging.getLogger(__name__)

#: How often it is looked for what is to be forgotten.
EVERY_SECONDS = 600.0
#: Events that are looked at in one transaction, and the pause after each: writers come in between.
STEP_EVENTS = 100
PAUSE_SECONDS = 0.05
#: Links of the chain that are looked for, and looked at in one transaction.
PAGE_LINKS = 5_000
STEP_LINKS = 50
#: Pages that are given back in one transaction.
STEP_PAGES = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept.

    Parameters
    ----------
    events: age from which finished events are forgotten, with all that hangs on them.
    bodies: age from which the bodies of finished events are forgotten; not above `events`.
    rejections: age from which rejections and reports of replays are forgotten.
    size_bytes: above this the oldest finished events are forgotten at any age; 0 is no limit.
    """

    events: timedelta
    bodies: timedelta
    rejections: timedelta
    size_bytes: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Return the limits that the settings name."""
        days = timedelta(days=settings.retention_body_days)
        size_bytes = settings.retention_megabytes * 1024 * 1024
        return cls(settings.retention, min(days, settings.retention), settings.retention, size_bytes)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one round of retention has forgotten."""

    events: int = 0
    bodies: int = 0
    rejections: int = 0


async def retain_for_ever(inbox: Inbox, limits: Limits) -> None:
    """Forget what is old or too much, now and then."""
    while True:
        try:
            forgotten = await retain(inbox, limits)
            if forgotten != Forgotten():
                log.info("retention: %s", forgotten)
        except InboxError as failed:
            log.error("retention: %s", failed)
        await asyncio.sleep(EVERY_SECONDS)


async def retain(
    inbox: Inbox, limits: Limits, *, clock: Callable[[], datetime] = now, pause_seconds: float = PAUSE_SECONDS
) -> Forgotten:
    """Forget what is old or too much, once.

    Parameters
    ----------
    pause_seconds: between two steps.

    Raises
    ------
    InboxError: what was forgotten before stays so.
    """
    moment = clock()
    step = partial(_walk, inbox, pause_seconds=pause_seconds)
    events = await step(pruning.prune_events, before=moment - limits.events)
    bodies = 0
    if limits.bodies < limits.events:
        bodies = await step(pruning.prune_bodies, before=moment - limits.bodies)
    rejections = await _rejections(inbox, moment - limits.rejections, pause_seconds)
    if limits.size_bytes:
        events += await step(pruning.prune_events, before=None, above_bytes=limits.size_bytes)
    await _thin_chain(inbox, pause_seconds)
    await _give_back(inbox, pause_seconds)
    return Forgotten(events, bodies, rejections)


async def _walk(
    inbox: Inbox,
    prune: Callable[..., tuple[int, str | None]],
    *,
    before: datetime | None,
    pause_seconds: float,
    above_bytes: int | None = None,
) -> int:
    """Prune from the oldest event on, step by step; return how many went."""
    gone, after = 0, ""
    while above_bytes is None or await inbox.read(pruning.size_bytes) > above_bytes:
        count, following = await inbox.write(partial(_prune, prune, after, before))
        gone += count
        if following is None:
            break
        after = following
        await asyncio.sleep(pause_seconds)
    return gone


async def _rejections(inbox: Inbox, before: datetime, pause_seconds: float) -> int:
    await inbox.write(lambda c: pruning.prune_replays(c, before=before))
    gone = 0
    while count := await inbox.write(lambda c: pruning.prune_rejections(c, before=before, limit=STEP_EVENTS)):
        gone += count
        await asyncio.sleep(pause_seconds)
    return gone


async def _thin_chain(inbox: Inbox, pause_seconds: float) -> None:
    """Let the chain forget what it says of rows that are gone."""
    after, is_oldest = thinning.Place(), True
    while page := await inbox.read(partial(_candidates, after)):
        for start in range(0, len(page), STEP_LINKS):
            some = page[start : start + STEP_LINKS]
            is_oldest = await inbox.write(partial(_thin, some, is_oldest))
            await asyncio.sleep(pause_seconds)
        after = page[-1]
    gone = STEP_EVENTS
    while gone >= STEP_EVENTS:
        gone = await inbox.write(lambda c: thinning.cut(c, limit=STEP_EVENTS))
        await asyncio.sleep(pause_seconds)


def _candidates(after: thinning.Place, connection: Any) -> list[thinning.Place]:
    return thinning.candidates(connection, after=after, limit=PAGE_LINKS)


def _thin(places: list[thinning.Place], is_oldest: bool, connection: Any) -> bool:
    return thinning.thin(connection, places, is_oldest=is_oldest)


async def _give_back(inbox: Inbox, pause_seconds: float) -> None:
    free: int | None = None
    while free is None or free > 0:
        left = await inbox.write(lambda c: pruning.give_back_space(c, pages=STEP_PAGES))
        if free is not None and left >= free:
            return  # a database that was made without the setting gives nothing back
        free = left
        await asyncio.sleep(pause_seconds)


def _prune(
    prune: Callable[..., tuple[int, str | None]], after: str, before: datetime | None, connection: Any
) -> tuple[int, str | None]:
    return prune(connection, after=after, before=before, limit=STEP_EVENTS)
