"""One event: what it was, what each trigger says to it and why, what became of it and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hookline.errors import Refusal
from hookline.event import now
from hookline.explaining import Verdict, explain, why_ignored
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.received import received
from hookline.gateway.pages.serving import View
from hookline.gateway.pages.visitor import Visitor
from hookline.gateway.pages.waterfall import waterfalls
from hookline.inbox import Dispatch, EventStatus, browsing
from hookline.inbox.browsing import Story
from hookline.triggers import Trigger, TriggerSet


@dataclass(frozen=True, slots=True)
class Card:
    """A trigger with what it says now and the dispatches that it led to.

    Parameters
    ----------
    trigger_id: its id.
    verdict: what it says to the event now; None where it is no longer in the set in force.
    dispatches: oldest first.
    """

    trigger_id: str
    verdict: Verdict | None
    dispatches: tuple[Dispatch, ...]


async def event_detail(house: House, exchange: Exchange, visitor: Visitor) -> View:
    """Build `GET /events/{id}`."""
    event_id = exchange.path["id"]
    story = await house.inbox.read(lambda c: browsing.story(c, event_id))
    if story is None:
        raise Refusal(404, "no-such-event", f"There is no event {event_id[:36]}; it may have been pruned.")
    # Reading a large body and evaluating conditions on it takes its time: not on the doors' loop.
    return View("event", await asyncio.to_thread(_values, house, story))


def _values(house: House, story: Story) -> dict[str, Any]:
    version, documents = story.trigger_set
    triggers = TriggerSet(version, [Trigger.from_dict(document) for document in documents])
    verdicts = explain(story.event, triggers)
    cards = _cards(verdicts, story.tracked.dispatches)
    return {
        "event": story.tracked.event,
        "explanation": why_ignored(story.event, triggers, story.tracked.dispatches)
        if story.tracked.event.status is EventStatus.IGNORED
        else None,
        "tracked": story.tracked,
        "cards": cards,
        "others": [v for v in verdicts if v.outcome == "other type" and not _has_card(v, cards)],
        "matching": [v.trigger.id for v in verdicts if v.outcome == "matched"],
        "version": version,
        "waterfalls": waterfalls(story.tracked, now(), story.works),
        "received": None if story.body is None else received(story.body),
        "cause": story.cause,
        "effects": story.effects,
        "run_url": house.prefect.run_url,
    }


def _cards(verdicts: Sequence[Verdict], dispatches: Sequence[Dispatch]) -> list[Card]:
    """Return a card for each trigger that concerns the event: now, or when it was dispatched."""
    made: dict[str, list[Dispatch]] = {}
    for dispatch in dispatches:
        made.setdefault(dispatch.trigger_id, []).append(dispatch)
    cards = [
        Card(verdict.trigger.id, verdict, tuple(made.pop(verdict.trigger.id, ())))
        for verdict in verdicts
        if verdict.outcome in ("matched", "filtered") or verdict.trigger.id in made
    ]
    cards += [Card(trigger_id, None, tuple(theirs)) for trigger_id, theirs in made.items()]
    return cards


def _has_card(verdict: Verdict, cards: Sequence[Card]) -> bool:
    return any(card.trigger_id == verdict.trigger.id for card in cards)
