"""The desk behind the doors: a draft is put on the disk, then handed to the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from hookline.errors import Refusal
from hookline.event import Draft, Event
from hookline.gateway.house import House
from hookline.inbox import Recorded

#: Events of one request that are on their way to the disk at a time: a large batch leaves room for others.
AT_A_TIME = 256


class Desk:
    """Records drafts and passes on what is new."""

    def __init__(self, house: House) -> None:
        self._inbox = house.inbox
        self._dispatcher = house.dispatcher
        self._changes = house.changes

    async def record_all(self, drafts: Sequence[Draft]) -> list[Recorded]:
        """Record the drafts of one request.

        Raises
        ------
        Refusal: 422, an id came before with another body, at a door that does not take that; of a batch
            the others are recorded all the same, and are duplicates when the batch comes again.
        InboxFull: the inbox cannot take more now.
        """
        if len(drafts) == 1:
            recorded = [await self._record(drafts[0])]
        else:
            recorded = []
            for start in range(0, len(drafts), AT_A_TIME):
                few = drafts[start : start + AT_A_TIME]
                recorded += await asyncio.gather(*(self._record(draft) for draft in few))
        for place, (draft, each) in enumerate(zip(drafts, recorded, strict=True)):
            if each.conflict and draft.strict:
                raise _conflict(each, place if len(drafts) > 1 else None)
        return recorded

    async def _record(self, draft: Draft) -> Recorded:
        # Most events of a busy door are expected by no trigger: those are routed with the same write.
        version = self._dispatcher.unexpected(draft.type)
        recorded, accepted = await self._inbox.record(draft, unexpected_in=version)
        if recorded.routed:
            self._changes.announce((recorded.id,))
        elif not recorded.duplicate:
            self._dispatcher.offer(_event(draft, recorded, accepted))
        return recorded


def status_of(recorded: Recorded) -> str:
    """Return the word for what became of a draft."""
    return "duplicate" if recorded.duplicate else "accepted"


def _event(draft: Draft, recorded: Recorded, accepted: datetime) -> Event:
    return Event(
        id=recorded.id,
        type=draft.type,
        source=draft.source,
        source_id=draft.source_id,
        subject=draft.subject,
        time=draft.time or accepted,
        accepted=accepted,
        data=draft.data,
        cause=draft.cause,
        depth=recorded.depth,
        traceparent=draft.traceparent,
        tracestate=draft.tracestate,
    )


def _conflict(recorded: Recorded, place: int | None) -> Refusal:
    return Refusal(
        422,
        "conflict",
        f"Event {recorded.id} has the same id with another body; give a changed event a new id.",
        pointer=None if place is None else f"/{place}",
    )
