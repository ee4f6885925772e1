"""Dead letters: dispatches that gave up, and replaying many of them after a look at what that would start."""

from __future__ import annotations

from dataclasses import dataclass

from hookline.errors import Refusal
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.cursors import read_id
from hookline.gateway.pages.serving import View, with_query
from hookline.gateway.pages.visitor import Form, Visitor
from hookline.inbox import Search, browsing
from hookline.inbox.browsing import Letter
from hookline.inbox.replaying import ReplayKind

PAGE = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """What the replay of a dead letter would do.

    Parameters
    ----------
    starts: it would start a run, by the triggers in force.
    dies: it would be dead again.
    reason: why it would start nothing.
    """

    letter: Letter
    starts: bool
    dies: bool = False
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
            "begun": exchange.query("begun") == "yes",
            "replayed": int(replayed) if replayed.isdecimal() and len(replayed) < 6 else 0,
        },
    )


async def replay_dead_letters(house: House, exchange: Exchange, visitor: Visitor, form: Form) -> View | str:
    """Take the form of the dead letters: show what would start, and start it once that is confirmed."""
    # A deploy is another process: what is shown before a replay is judged by the set that is in force now.
    house.dispatcher.trigger_sets.forget()
    if form.one("all"):
        return await _replay_all(house, form)
    wanted = list(dict.fromkeys(form.all("dispatch")))[:PAGE]
    if not wanted:
        return "/dead"
    letters = await house.inbox.read(lambda c: browsing.dead_letters(c, limit=PAGE, ids=wanted))
    if not letters:
        raise Refusal(409, "not-dead", "None of these is a dead letter any more; reload the page.")
    plans = [await _plan(house, letter) for letter in letters]
    starting = [plan for plan in plans if plan.starts]
    if not form.one("confirmed"):
        return View("dead_confirm", {"plans": plans, "starting": len(starting)})
    # Oldest first, as they came.
    for plan in reversed(starting):
        await _replay(house, plan.letter.event.id, plan.letter.dispatch.trigger_id)
    return with_query("/dead", replayed=len(starting))


async def _replay_all(house: House, form: Form) -> View | str:
    """Take the form that is about all dead letters, or all of one trigger: they go on by themselves."""
    trigger = form.one("trigger") or None
    replays = house.dispatcher.replays
    if not form.one("confirmed"):
        preview = await replays.preview(ReplayKind.DEAD, Search(), trigger)
        return View("dead_confirm_all", {"preview": preview, "trigger": trigger})
    await replays.begin(ReplayKind.DEAD, Search(), trigger, None)
    return with_query("/dead", trigger=trigger, begun="yes")


async def _plan(house: House, letter: Letter) -> Plan:
    event = await house.inbox.replayable(letter.event.id)
    if event is None:
        return Plan(letter, False, reason="the event's data has been pruned")
    # One that could not be matched at all names no trigger: its replay goes through all of them.
    preview = await house.dispatcher.replays.preview_one(event, letter.dispatch.trigger_id or None)
    if preview.starts:
        return Plan(letter, True)
    reasons = [outcome.reason for outcome in preview.outcomes if outcome.reason]
    reason = reasons[0] if reasons else "no current trigger matches it any more"
    return Plan(letter, False, bool(preview.dies), reason)


async def _replay(house: House, event_id: str, trigger_id: str | None) -> None:
    """Start an event's triggers again: all that match now, or one.

    Raises
    ------
    Refusal: 404, there is no such event; 409, its data was pruned.
    """
    if await house.inbox.event(event_id) is None:
        raise Refusal(404, "no-such-event", f"There is no event {event_id[:36]}; it may have been pruned.")
    event = await house.inbox.replayable(event_id)
    if event is None:
        raise Refusal(409, "no-body", "The event's data has been pruned; it cannot be replayed.")
    await house.dispatcher.replays.replay(event, trigger_id or None)


async def replay_event(house: House, exchange: Exchange, visitor: Visitor, form: Form) -> str:
    """Take the form of an event's page."""
    event_id = form.one("event")
    await _replay(house, event_id, form.one("trigger"))
    return f"/events/{event_id}#h-triggers"
