"""Sending OpenLineage events from the outbox, in order, to an HTTP endpoint, a file, or both.

It is never in the way of the work: events wait in the outbox, which is bounded, and what cannot be sent is
counted. An event may be sent again after a crash; who receives it knows it by its run and type.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson

from hookline.backoff import Backoff
from hookline.errors import InboxError
from hookline.inbox import Inbox
from hookline.lineage import outbox
from hookline.lineage.facts import collect_facts
from hookline.lineage.openlineage import run_event
from hookline.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
#: Between tries while the endpoint is away.
BACKOFF = Backoff(base=timedelta(seconds=1), ceiling=timedelta(minutes=1))
BATCH = 100
#: An event that is answered with a server error so often is given up, so that others get their turn.
ATTEMPTS = 20
TIMEOUT_SECONDS = 10.0
#: Answers after which the same event may be taken later; so may any 5xx.
_TRY_AGAIN = (408, 425, 429)


class Undelivered(Exception):
    """The event was not taken this time.

    Parameters
    ----------
    answered: there was an answer, so the fault may be this event's.
    """

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class Refused(Exception):
    """The event will never be taken."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Where events go.

    Parameters
    ----------
    url: the endpoint that takes one event a POST.
    api_key: sent as a bearer token.
    file: events are added to it, one JSON document a line.
    namespace: that of the jobs.
    """

    url: str
    api_key: str = field(repr=False)
    file: Path | None
    namespace: str

    @classmethod
    def from_settings(cls, settings: Settings) -> Targets | None:
        """Return where the settings want events to go; None for nowhere."""
        if not settings.openlineage_url and not settings.openlineage_file:
            return None
        return cls(
            settings.openlineage_url,
            settings.openlineage_api_key,
            Path(settings.openlineage_file) if settings.openlineage_file else None,
            settings.openlineage_namespace,
        )


async def export_for_ever(inbox: Inbox, targets: Targets) -> None:
    """Send what waits in the outbox, for ever."""
    failures = 0
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
        while True:
            try:
                sent = await export_once(inbox, targets, lambda event: _deliver(client, targets, event))
                failures = 0
                if sent < BATCH:
                    await asyncio.sleep(LOOK_SECONDS)
            except (Undelivered, InboxError, OSError) as failed:
                failures += 1
                if failures == 1:
                    log.warning("OpenLineage: %s; trying again", failed)
                await asyncio.sleep(BACKOFF.delay(failures, at_least=LOOK_SECONDS).total_seconds())


async def export_once(
    inbox: Inbox, targets: Targets, deliver: Callable[[dict[str, Any]], Awaitable[None]]
) -> int:
    """Send the oldest events of the outbox; return how many were looked at.

    Raises
    ------
    Undelivered: one was not taken; it and those after it wait.
    """
    waiting = await inbox.read(lambda c: outbox.waiting_exports(c, limit=BATCH))
    for run_id, step, attempts in waiting:
        facts = await inbox.read(lambda c, run_id=run_id: collect_facts(c, run_id))  # type: ignore[misc]
        became = "openlineage_sent"
        if facts is None:
            became = "openlineage_left_out"
        else:
            try:
                await deliver(run_event(step, facts, targets.namespace))
            except Refused as refused:
                log.warning("OpenLineage: run %s: %s", run_id, refused)
                became = "openlineage_refused"
            except Undelivered as failed:
                if not failed.answered:
                    raise
                if attempts + 1 < ATTEMPTS:
                    await inbox.write(lambda c, of=(run_id, step): outbox.count_attempt(c, *of))  # type: ignore[misc]
                    raise
                became = "openlineage_refused"
        done = [(run_id, step)]
        await inbox.write(
            lambda c, done=done, became=became: outbox.forget_exports(c, done, counted=became)  # type: ignore[misc]
        )
    return len(waiting)


async def _deliver(client: httpx.AsyncClient, targets: Targets, event: dict[str, Any]) -> None:
    """Send one event to where it goes.

    Raises
    ------
    Undelivered, Refused, OSError
    """
    body = orjson.dumps(event)
    if targets.url:
        await _post(client, targets, body)
    if targets.file is not None:
        await asyncio.to_thread(_append, targets.file, body)


async def _post(client: httpx.AsyncClient, targets: Targets, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    if targets.api_key:
        headers["Authorization"] = f"Bearer {targets.api_key}"
    try:
        answer = await client.post(targets.url, content=body, headers=headers)
    except httpx.HTTPError as failed:
        raise Undelivered(f"the endpoint does not answer: {type(failed).__name__}", answered=False) from None
    if answer.is_success:
        return
    if answer.status_code in (401, 403):
        # Every event would be refused: rather wait until somebody mends the key.
        raise Undelivered(
            f"the endpoint answered {answer.status_code}; check HOOKLINE_OPENLINEAGE_API_KEY", answered=False
        )
    if answer.status_code >= 500 or answer.status_code in _TRY_AGAIN:
        raise Undelivered(f"the endpoint answered {answer.status_code}", answered=True)
    raise Refused(f"the endpoint answered {answer.status_code}: {answer.text[:200]}")


def _append(file: Path, body: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as lines:
        lines.write(body + b"\n")
