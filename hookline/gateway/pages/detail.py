"""One event: what it was, what each trigger says to it and why, what became of it and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from hookline.errors import Refusal
from hookline.event import Event, now
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.explaining import Verdict, explain
from hookline.gateway.pages.received import Received, received
from hookline.gateway.pages.serving import View
from hookline.gateway.pages.visitor import Visitor
from hookline.gateway.pages.waterfall import Work, waterfalls
from hookline.inbox import Dispatch, StoredBody, StoredEvent, Tracked, browsing, keeping, reading
from hookline.inbox.records import from_micros, optional_moment
from hookline.lineage import reading as lineage
from hookline.triggers import Trigger, TriggerSet

#: Task runs that the waterfall shows; the Prefect UI shows them all.
WORKS_SHOWN = 100
#: Events sent by the runs, and runs, that a page names; the lineage graph shows more.
EFFECTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class _Facts:
    """All that the page reads, as of one moment."""

    tracked: Tracked
    event: Event
    body: StoredBody | None
    triggers: TriggerSet
    effects: Sequence[StoredEvent]
    cause: StoredEvent | None
    works: Sequence[Work]


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
    facts = await house.inbox.read(lambda c: _read(c, event_id))
    if facts is None:
        raise Refusal(404, "no-such-event", f"There is no event {event_id[:36]}; it may have been pruned.")
    # Reading a large body and evaluating conditions on it takes its time: not on the doors' loop.
    return View("event", await asyncio.to_thread(_values, house, facts))


def _values(house: House, facts: _Facts) -> dict[str, Any]:
    verdicts = explain(facts.event, facts.triggers)
    cards = _cards(verdicts, facts.tracked.dispatches)
    shown: Received | None = None if facts.body is None else received(facts.body)
    return {
        "event": facts.tracked.event,
        "tracked": facts.tracked,
        "cards": cards,
        "others": [v for v in verdicts if v.outcome == "other type" and not _has_card(v, cards)],
        "matching": [v.trigger.id for v in verdicts if v.outcome == "matched"],
        "version": facts.triggers.version,
        "waterfalls": waterfalls(facts.tracked, now(), facts.works),
        "received": shown,
        "cause": facts.cause,
        "effects": facts.effects,
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


def _read(connection: Connection, event_id: str) -> _Facts | None:
    tracked = reading.track(connection, event_id)
    if tracked is None:
        return None
    version, documents = keeping.trigger_set(connection, None)
    sent = tracked.effects[:EFFECTS_SHOWN]
    others = browsing.events_by_id(connection, [*sent, *_cause_of(tracked.event)])
    run_ids = [dispatch.flow_run_id for dispatch in tracked.dispatches if dispatch.flow_run_id]
    return _Facts(
        tracked=tracked,
        event=reading.with_data(connection, tracked.event),
        body=reading.stored_body(connection, event_id),
        triggers=TriggerSet(version, [Trigger.from_dict(document) for document in documents]),
        effects=[others[each] for each in sent if each in others],
        cause=next((others[each] for each in _cause_of(tracked.event) if each in others), None),
        works=_works(connection, run_ids),
    )


def _cause_of(event: StoredEvent) -> list[str]:
    return [event.cause.event] if event.cause is not None and event.cause.event is not None else []


def _works(connection: Connection, run_ids: Sequence[str]) -> list[Work]:
    rows = lineage.task_runs_of(connection, run_ids, limit=WORKS_SHOWN) if run_ids else []
    return [
        Work(row.flow_run_id, row.name, from_micros(row.started_us), optional_moment(row.finished_us))
        for row in rows
        if row.started_us is not None
    ]
