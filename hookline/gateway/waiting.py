"""Waiting for an event's runs: what `?wait=SECONDS` does."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.types import Receive

from hookline.errors import Refusal
from hookline.explaining import why_ignored
from hookline.gateway.house import House
from hookline.inbox import EventStatus, Tracked
from hookline.tracking import is_final, tracking_document

LONGEST_WAIT_SECONDS = 60.0
#: Another gateway may have made the change; its news do not come through this process.
LOOK_AGAIN_SECONDS = 1.0

#: A number as JSON writes it, which is what the description says it is.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")


def read_wait(text: str | None) -> float:
    """Return how many seconds to wait.

    Raises
    ------
    Refusal: 400, not a number of seconds, or too many.
    """
    if text is None:
        return 0.0
    if _NUMBER.fullmatch(text) is None or not 0 <= float(text) <= LONGEST_WAIT_SECONDS:
        raise Refusal(400, "bad-wait", f"wait is a number of seconds from 0 to {LONGEST_WAIT_SECONDS:g}.")
    return float(text)


async def wait_for_document(house: House, event_id: str, seconds: float, receive: Receive) -> dict[str, Any]:
    """Return an event's tracking document, once its runs are final, the time is over or the asker is gone.

    Parameters
    ----------
    event_id: the tracking id.
    seconds: how long to wait.
    receive: tells when the asker is gone; the request's body has been read.

    Raises
    ------
    Refusal: 404, there is no such event.
    """
    if not seconds:
        return await _document(house, await _track(house, event_id))
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        tracked = await _wait_until_final(house, event_id, seconds, leaving)
    finally:
        leaving.cancel()
    return await _document(house, tracked)


async def _document(house: House, tracked: Tracked) -> dict[str, Any]:
    return tracking_document(tracked, house.prefect.run_url, await _explanation(house, tracked))


async def _explanation(house: House, tracked: Tracked) -> str | None:
    """Return why an event was ignored, by the set that is in force now, or why none is yet."""
    if tracked.event.status is EventStatus.ACCEPTED and not await house.dispatcher.trigger_sets.is_deployed():
        return "it waits for the first `hookline deploy` of this system"
    if tracked.event.status is not EventStatus.IGNORED:
        return None
    triggers = await house.dispatcher.trigger_sets.newest()
    event = await house.inbox.full_event(tracked.event.id)
    if event is None:
        return None
    # Evaluating conditions takes its time: not on the loop of the doors.
    return await asyncio.to_thread(why_ignored, event, triggers, tracked.dispatches)


async def _track(house: House, event_id: str) -> Tracked:
    tracked = await house.inbox.track(event_id)
    if tracked is None:
        raise Refusal(404, "no-such-event", f"There is no event {event_id[:36]}.")
    return tracked


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wait_until_final(
    house: House, event_id: str, seconds: float, leaving: asyncio.Future[None]
) -> Tracked:
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    with house.changes.watch(event_id) as watch:
        while True:
            tracked = await _track(house, event_id)
            left = deadline - clock()
            if left <= 0 or is_final(tracked) or leaving.done():
                return tracked
            await watch.wait(min(left, LOOK_AGAIN_SECONDS))
