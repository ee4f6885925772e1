"""Dead letters: dispatches that gave up, and replaying many of them after a look at what that would start."""

from __future__ import annotations

from dataclasses import dataclass

from hookline.errors import Refusal
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.cursors import read_id
from hookline.gateway.pages.serving import View, with_query
from hookline.gateway.pages.visitor import Form, Visitor
from hookline.inbox import browsing
from hookline.inbox.browsing import Letter
from hookline.triggers import Trigger, TriggerSet

PAGE = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """What the replay of a dead letter would do.

    Parameters
    ----------
    starts: its trigger matches, by the set in force.
    reason: why not.
    """

    letter: Letter
    starts: bool
    reason: str | None = None


async def dead_letters(house: House, exchange: Exchange, visitor: Visitor) -> View:
    """Build `GET /dead`."""
    before, trigger = read_id(exchange, "before"), exchange.query("trigger") or None
    found = await house.inbox.read(
        lambda c: browsing.dead_letters(c, limit=PAGE + 1, before=before, trigger=trigger)
    )
    replayed = exchange.query("replayed") or ""
    last = found[PAGE - 1].dispatch.id if len(found) > PAGE else None
    return View(
        "dead",
        {
            "letters": found[:PAGE],
            "trigger": trigger,
            "at_top": before is None,
            "older": last and with_query("/dead", trigger=trigger, before=last),
            "newer": None,
            "replayed": int(replayed) if replayed.isdecimal() and len(replayed) < 6 else 0,
        },
    )


async def replay_dead_letters(house: House, exchange: Exchange, visitor: Visitor, form: Form) -> View | str:
    """Take the form of the dead letters: show what would start, and start it once that is confirmed."""
    wanted = list(dict.fromkeys(form.all("dispatch")))[:PAGE]
    if not wanted:
        return "/dead"
    letters = await house.inbox.read(lambda c: browsing.dead_letters(c, limit=PAGE, ids=wanted))
    plans = [await _plan(house, letter) for letter in letters]
    starting = [plan for plan in plans if plan.starts]
    if not form.one("confirmed"):
        if not plans:
            raise Refusal(409, "not-dead", "None of these is dead any more; load the page again.")
        return View("dead_confirm", {"plans": plans, "starting": len(starting)})
    for plan in reversed(starting):
        await replay(house, plan.letter.event.id, plan.letter.dispatch.trigger_id or None)
    return with_query("/dead", replayed=len(starting))


async def _plan(house: House, letter: Letter) -> Plan:
    event = await house.inbox.full_event(letter.event.id)
    version, documents = await house.inbox.trigger_set()
    # One that could not be matched at all names no trigger: its replay goes through all of them.
    wanted = letter.dispatch.trigger_id or None
    triggers = TriggerSet(version, [Trigger.from_dict(document) for document in documents])
    if event is None:
        return Plan(letter, False, "the event is no longer kept")
    if wanted is not None and triggers.get(wanted) is None:
        return Plan(letter, False, "the trigger is no longer in the set in force")
    matches = [match for match in triggers.match(event) if wanted in (None, match.trigger.id)]
    if not matches:
        return Plan(letter, False, "no trigger expects this type any more")
    return Plan(letter, any(match.matched for match in matches), matches[0].reason)


async def replay(house: House, event_id: str, trigger_id: str | None) -> None:
    """Start an event's triggers again: all that match now, or one.

    Raises
    ------
    Refusal: 404, there is no such event.
    """
    event = await house.inbox.full_event(event_id)
    if event is None:
        raise Refusal(404, "no-such-event", f"There is no event {event_id[:36]}; it may have been pruned.")
    await house.dispatcher.route([event], replay=True, only=trigger_id)
    house.dispatcher.look()


async def replay_event(house: House, exchange: Exchange, visitor: Visitor, form: Form) -> str:
    """Take the form of an event's page."""
    event_id = form.one("event")
    await replay(house, event_id, form.one("trigger") or None)
    return f"/events/{event_id}#h-triggers"
