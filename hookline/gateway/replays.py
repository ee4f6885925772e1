"""Replays and dead letters: `POST /events/{id}/replay`, `/replays`, `/dead` and their kin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from hookline.errors import Refusal
from hookline.event import rfc3339
from hookline.gateway import access
from hookline.gateway.events import read_cursor, read_limit, read_moment, write_cursor
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.reading import read_body
from hookline.gateway.replies import json_reply
from hookline.inbox import Dispatch, EventStatus, Search, replaying
from hookline.inbox.replaying import Replay, ReplayKind
from hookline.nearest import nearest
from hookline.replaying import Preview
from hookline.sources import Reply

BODY_LIMIT_BYTES = 65_536
#: Faster than a Prefect server creates runs; a higher rate is no rate.
HIGHEST_RATE = 10_000.0
RECENT = 100

_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_SEARCH = ("type", "source", "subject", "status", "since", "until")


async def replay_event(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /events/{id}/replay`: one event, at once, or what that would start."""
    exchange.caller(house).require(access.Scope.ADMIN)
    wanted = await _read_wishes(exchange, ("trigger", "dry_run"))
    event_id = exchange.path["id"]
    stored = await house.inbox.event(event_id)
    if stored is None:
        raise Refusal(404, "no-such-event", f"There is no event {event_id[:36]}.")
    if stored.status is EventStatus.ACCEPTED:
        raise Refusal(409, "not-routed", "This event is on its way for the first time; replay it later.")
    event = await house.inbox.replayable(event_id)
    if event is None:
        raise Refusal(409, "no-body", "The event's data has been pruned; it cannot be replayed.")
    replays, trigger = house.dispatcher.replays, await _trigger(house, _text(wanted, "trigger"))
    if _flag(wanted, "dry_run"):
        return json_reply(_preview(await replays.preview_one(event, trigger)))
    made = await replays.replay(event, trigger)
    return json_reply(
        {"id": event_id, "dispatches": [_made(dispatch) for dispatch in made]},
        202,
        (("location", f"/events/{event_id}"),),
    )


async def begin_replay(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /replays`: all events of a search, at a rate, or what that would start."""
    wanted = await _read_wishes(exchange, (*_SEARCH, "trigger", "rate", "dry_run"))
    return await _begin(house, exchange, ReplayKind.EVENTS, wanted)


async def replay_dead(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /dead/replay`: all dead letters of a search."""
    wanted = await _read_wishes(
        exchange, ("type", "source", "subject", "since", "until", "trigger", "rate", "dry_run")
    )
    return await _begin(house, exchange, ReplayKind.DEAD, wanted)


async def _begin(house: House, exchange: Exchange, kind: ReplayKind, wanted: Mapping[str, Any]) -> Reply:
    exchange.caller(house).require(access.Scope.ADMIN)
    search, rate = _search(wanted), _rate(wanted)
    trigger = await _trigger(house, _text(wanted, "trigger"))
    replays = house.dispatcher.replays
    if _flag(wanted, "dry_run"):
        return json_reply(_preview(await replays.preview(kind, search, trigger)))
    begun = await replays.begin(kind, search, trigger, rate)
    return json_reply(_document(begun), 202, (("location", f"/replays/{begun.id}"),))


async def list_replays(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /replays`: the newest first."""
    exchange.caller(house).require(access.Scope.READ)
    found = await house.inbox.read(lambda c: replaying.recent(c, limit=RECENT))
    return json_reply({"replays": [_document(replay) for replay in found]})


async def read_replay(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /replays/{id}`: how far it has come."""
    exchange.caller(house).require(access.Scope.READ)
    return json_reply(_document(await _find_replay(house, exchange)))


async def cancel_replay(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /replays/{id}/cancel`: stop it; what it has made stays."""
    exchange.caller(house).require(access.Scope.ADMIN)
    found = await _find_replay(house, exchange)
    await house.dispatcher.replays.cancel(found.id)
    return json_reply(_document(await _find_replay(house, exchange)))


async def list_dead(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /dead`: dead letters that were not replayed, newest first."""
    exchange.caller(house).require(access.Scope.READ)
    limit, cursor = read_limit(exchange), read_cursor(exchange)
    trigger = _text({"trigger": exchange.query("trigger")}, "trigger")
    found = await house.inbox.dead(limit=limit + 1, cursor=cursor, trigger_id=trigger)
    page = found[:limit]
    following = write_cursor(page[-1].id) if len(found) > limit else None
    return json_reply({"dead": [_letter(dispatch) for dispatch in page], "next": following})


async def replay_dead_letter(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /dead/{id}/replay`: one dead letter, through its trigger as it is now."""
    exchange.caller(house).require(access.Scope.ADMIN)
    wanted = await _read_wishes(exchange, ("dry_run",))
    dispatch = await house.inbox.dispatch(exchange.path["id"])
    if dispatch is None:
        raise Refusal(404, "no-such-dispatch", "There is no such dispatch.")
    if dispatch.status.value != "dead" or dispatch.replaced_by is not None:
        raise Refusal(409, "not-dead", "This dispatch is not dead, or was replayed already.")
    event = await house.inbox.replayable(dispatch.event_id)
    if event is None:
        raise Refusal(409, "no-body", "The event's data is no longer available.")
    # One that could not be matched at all names no trigger: its replay goes through all of them.
    replays, trigger = house.dispatcher.replays, await _trigger(house, dispatch.trigger_id or None)
    if _flag(wanted, "dry_run"):
        return json_reply(_preview(await replays.preview_one(event, trigger)))
    made = await replays.replay(event, trigger)
    return json_reply(
        {"id": event.id, "dispatches": [_made(each) for each in made]},
        202,
        (("location", f"/events/{event.id}"),),
    )


async def _find_replay(house: House, exchange: Exchange) -> Replay:
    replay_id = exchange.path["id"]
    found = await house.inbox.read(lambda c: replaying.replay(c, replay_id))
    if found is None:
        raise Refusal(404, "no-such-replay", "There is no such replay.")
    return found


async def _trigger(house: House, trigger_id: str | None) -> str | None:
    """Return the id of a trigger that a replay is narrowed to.

    Raises
    ------
    Refusal: 404, it is not in the set in force; names the nearest one.
    """
    if trigger_id is None:
        return None
    triggers = await house.dispatcher.trigger_sets.newest()
    if triggers.get(trigger_id) is None:
        # People know a trigger by the last part of its id.
        named = {trigger.name: trigger.id for trigger in triggers}
        meant = nearest(trigger_id, [trigger.id for trigger in triggers])
        meant = meant or named.get(nearest(trigger_id, named) or trigger_id)
        advice = f"; did you mean {meant}?" if meant else "."
        raise Refusal(404, "no-such-trigger", f"No trigger {trigger_id[:200]} is in force{advice}")
    return trigger_id


# Reading --------------------------------------------------------------------------------------------


async def _read_wishes(exchange: Exchange, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON object that says what is wanted; no body is no wishes.

    Raises
    ------
    Refusal: 400, it is none, or has a member that nobody knows: a search that is wider than was meant
        could start anything.
    """
    body = await read_body(exchange.headers, exchange.receive, BODY_LIMIT_BYTES)
    if not body.strip():
        return {}
    try:
        wanted = orjson.loads(body)
    except ValueError:
        raise Refusal(400, "not-json", "The body is not JSON.") from None
    if not isinstance(wanted, dict):
        raise Refusal(400, "not-json", "The body is not a JSON object.")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise _bad(unknown[0][:40], f"known here; {', '.join(known)} are")
    return {name: value for name, value in wanted.items() if value is not None}


def _search(wanted: Mapping[str, Any]) -> Search:
    status = _text(wanted, "status")
    if status is not None and status not in tuple(EventStatus):
        raise _bad("status", f"one of {', '.join(EventStatus)}")
    return Search(
        type=_text(wanted, "type"),
        source=_text(wanted, "source"),
        subject=_text(wanted, "subject"),
        status=EventStatus(status) if status else None,
        since=_moment(wanted, "since"),
        until=_moment(wanted, "until"),
    )


def _text(wanted: Mapping[str, Any], name: str) -> str | None:
    value = wanted.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > 1024 or _CONTROL.search(value):
        raise _bad(name, "a text of 1 to 1024 characters")
    return value


def _moment(wanted: Mapping[str, Any], name: str) -> datetime | None:
    return read_moment(name, _text(wanted, name))


def _flag(wanted: Mapping[str, Any], name: str) -> bool:
    value = wanted.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, "true or false")
    return value


def _rate(wanted: Mapping[str, Any]) -> float | None:
    value = wanted.get("rate")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.001 <= value <= HIGHEST_RATE:
        raise _bad("rate", f"a number of events a second from 0.001 to {HIGHEST_RATE:g}")
    return float(value)


def _bad(name: str, wanted: str) -> Refusal:
    return Refusal(400, "bad-replay", f"{name} is not {wanted}.")


# Writing --------------------------------------------------------------------------------------------


def _made(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "id": dispatch.id,
        "trigger": dispatch.trigger_id,
        "replay": dispatch.replay,
        "status": dispatch.status.value,
        "reason": dispatch.reason,
    }


def _letter(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "id": dispatch.id,
        "event": dispatch.event_id,
        "trigger": dispatch.trigger_id,
        "replay": dispatch.replay,
        "attempts": dispatch.attempts,
        "reason": dispatch.reason,
        "response": dispatch.response or None,
        "at": None if dispatch.finished is None else rfc3339(dispatch.finished),
    }


def _preview(preview: Preview) -> dict[str, Any]:
    return {
        "dry_run": True,
        "events": preview.events,
        "complete": preview.complete,
        "would_start": dict(preview.starts),
        "would_die": dict(preview.dies),
        "without_match": preview.without_match,
        "without_body": preview.without_body,
        "outcomes": [
            {
                "event": outcome.event_id,
                "type": outcome.type,
                "trigger": outcome.trigger_id,
                "starts": outcome.starts,
                "dies": outcome.dies,
                "reason": outcome.reason,
            }
            for outcome in preview.outcomes
        ],
    }


def _document(replay: Replay) -> dict[str, Any]:
    search = {name: value for name, value in asdict(replay.search).items() if name in _SEARCH}
    return {
        "id": replay.id,
        "of": replay.kind.value,
        "status": replay.status.value,
        "search": {
            name: rfc3339(value) if isinstance(value, datetime) else value
            for name, value in search.items()
            if value is not None
        },
        "trigger": replay.trigger_id,
        "rate": replay.per_second,
        "created": rfc3339(replay.created),
        "finished": None if replay.finished is None else rfc3339(replay.finished),
        "events": replay.events,
        "dispatches": replay.dispatches,
        "without_match": replay.without_match,
        "without_body": replay.without_body,
    }
