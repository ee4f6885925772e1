"""Planning: what is to be made of an event by one version of the trigger set. The same for the same event."""

from __future__ import annotations

from dataclasses import replace

from hookline.errors import EvaluationError
from hookline.evaluator import with_answers
from hookline.event import MAX_DEPTH, Event
from hookline.inbox import NewDispatch, Routing
from hookline.triggers import Match, Scope, TriggerSet, delay_until, evaluate_key


def plan(
    event: Event,
    triggers: TriggerSet,
    scope: Scope | None = None,
    *,
    replay: bool = False,
    only: str | None = None,
) -> Routing:
    """Return what is to be made of an event: a dispatch for each trigger that expects it.

    Parameters
    ----------
    scope: the event's, with answers to what was too costly to evaluate here; see `hookline.evaluator`.
    replay: the event was routed before; it gets further dispatches.
    only: id of the one trigger to which a replay is narrowed.

    Raises
    ------
    Costly: an expression may take too long, and its answer is not there.
    """
    scope = scope or Scope(event)
    matches = [match for match in triggers.match(event, scope) if only is None or match.trigger.id == only]
    return Routing(
        event.id, triggers.version, tuple(plan_dispatch(match, scope) for match in matches), replay
    )


async def plan_costly(
    event: Event, triggers: TriggerSet, replay: bool = False, only: str | None = None
) -> Routing:
    """Return what `plan` does, asking the evaluator for what is too costly to evaluate here."""
    return await with_answers(event, lambda scope: plan(event, triggers, scope, replay=replay, only=only))


def plan_dispatch(match: Match, scope: Scope) -> NewDispatch:
    """Return the dispatch that a match makes: to start, to hold, filtered, or dead from the start."""
    trigger = match.trigger
    new = NewDispatch(trigger_id=trigger.id, lane=f"{trigger.flow}/{trigger.deployment}")
    if not match.matched:
        return replace(new, filtered=match.reason or "where is false")
    if scope.event.depth > MAX_DEPTH:
        return replace(new, dead="loop")
    try:
        if trigger.concurrency is not None:
            key = evaluate_key(trigger.concurrency.key, scope)
            new = replace(new, concurrency_key=key, concurrency_limit=trigger.concurrency.limit)
        if trigger.debounce is not None:
            new = replace(
                new,
                debounce_key=evaluate_key(trigger.debounce.key, scope),
                quiet=trigger.debounce.quiet,
                max_wait=trigger.debounce.max_wait,
            )
        if trigger.delay is not None:
            new = replace(new, due=delay_until(trigger.delay, scope))
    except EvaluationError as wrong:
        return replace(new, dead=f"flow control: {wrong}")
    return new


def unplannable(event_id: str, version: int, why: str) -> Routing:
    """Return what is made of an event that cannot be matched at all: a dead letter that says why."""
    return Routing(event_id, version, (NewDispatch(trigger_id="", lane="", dead=why),))
