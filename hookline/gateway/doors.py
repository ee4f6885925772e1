"""The doors: identify -> verify -> parse -> record -> acknowledge.

This is the hot path, thousands of requests a second, so it is plain ASGI and awaits only the body and the
disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from hookline import cloudevents
from hookline.errors import InboxFull, Refusal
from hookline.event import Draft, Event, now
from hookline.gateway import access
from hookline.gateway.access import Caller
from hookline.gateway.house import House
from hookline.gateway.reading import read_body, remote_address, sender_url
from hookline.gateway.replies import json_reply, problem, send_reply
from hookline.gateway.waiting import read_wait, wait_for_document
from hookline.inbox import Recorded
from hookline.sources import Handshake, Headers, Knock, Reply

#: Types that nobody outside may send: Prefect's own feed, and our mirror in it.
RESERVED_PREFIXES = ("prefect.", "hookline.")


class Doors:
    """`POST /events` and `/webhooks/{source}`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._proxies = frozenset(house.settings.trusted_proxies)

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `POST /events`."""
        headers = Headers(scope["headers"])
        await self._answer(scope, send, headers, "events", self._take_events(scope, headers, receive))

    async def webhook(self, scope: Scope, receive: Receive, send: Send, name: str, token: str | None) -> None:
        """Answer a request to `/webhooks/{source}` or `/webhooks/{source}/{token}`."""
        headers = Headers(scope["headers"])
        door = f"webhooks/{name[:64]}"
        await self._answer(
            scope, send, headers, door, self._take_webhook(scope, headers, receive, name, token)
        )

    async def _answer(
        self, scope: Scope, send: Send, headers: Headers, door: str, taken: Awaitable[Reply]
    ) -> None:
        try:
            reply = await taken
        except Refusal as refusal:
            reply = self._turn_away(refusal, door, scope, headers)
        except InboxFull as full:
            busy = Refusal(503, "inbox-full", str(full), headers={"retry-after": "1"})
            reply = self._turn_away(busy, door, scope, headers)
        await send_reply(scope, send, reply)

    def _turn_away(self, refusal: Refusal, door: str, scope: Scope, headers: Headers) -> Reply:
        declared = headers.raw_value(b"content-length") or b""
        size = int(declared) if declared.isdigit() and len(declared) < 16 else 0
        remote = remote_address(scope, headers, self._proxies)
        self._house.rejections.add(refusal, door=door, remote=remote, size=size)
        return problem(refusal)

    # POST /events ---------------------------------------------------------------------------------

    async def _take_events(self, scope: Scope, headers: Headers, receive: Receive) -> Reply:
        query = parse_qs(scope["query_string"].decode("latin-1")) if scope["query_string"] else {}
        caller = self._house.access.identify(headers, _only(query, "access_token"))
        caller.require(access.Scope.SEND)
        wait = read_wait(_only(query, "wait"))
        knock = await self._knock(scope, headers, receive, self._house.settings.body_limit_bytes)
        drafts = cloudevents.parse(knock, door=f"events/{caller.name}", default_source=caller.name)
        drafts = [self._admit(draft, caller, knock) for draft in drafts]
        recorded = await asyncio.gather(*(self._record(draft) for draft in drafts))
        if cloudevents.is_batch(headers):
            return json_reply({"events": [_outcome(each) for each in recorded]}, 202)
        return await self._acknowledge(recorded[0], wait)

    def _admit(self, draft: Draft, caller: Caller, knock: Knock) -> Draft:
        """Complete a draft, and check that its sender may say what it says.

        Raises
        ------
        Refusal: 403, the source or the type belongs to somebody else.
        """
        if draft.source in self._house.sources:
            raise Refusal(403, "reserved-source", f"The source {draft.source} has a webhook of its own.")
        if draft.type.startswith(RESERVED_PREFIXES):
            raise Refusal(403, "reserved-type", "Types that begin with prefect. or hookline. are reserved.")
        owner = self._house.sources.owner(draft.type)
        if owner is not None:
            raise Refusal(
                403, "reserved-type", f"Types that begin with {owner.prefix} belong to {owner.name}."
            )
        caller.require_source(draft.source)
        verdict = "loopback, no key" if caller is access.LOCAL else f"API key {caller.name}"
        return replace(draft, remote=knock.remote, verdict=verdict)

    async def _acknowledge(self, recorded: Recorded, wait_seconds: float) -> Reply:
        location = (("location", f"/events/{recorded.id}"),)
        if wait_seconds:
            return json_reply(await wait_for_document(self._house, recorded.id, wait_seconds), 202, location)
        return json_reply(_outcome(recorded), 202, location)

    # /webhooks/{source} ---------------------------------------------------------------------------

    async def _take_webhook(
        self, scope: Scope, headers: Headers, receive: Receive, name: str, token: str | None
    ) -> Reply:
        source = self._house.sources.get(name)
        if source is None:
            raise Refusal(404, "no-such-source", "There is no such source; see deployments/sources.yaml.")
        limit = source.body_limit or self._house.settings.body_limit_bytes
        knock = await self._knock(scope, headers, receive, limit, token)
        outcome = await source.receive(knock)
        if isinstance(outcome, Handshake):
            return outcome.reply
        recorded = await asyncio.gather(*(self._record(replace(d, remote=knock.remote)) for d in outcome))
        return source.acknowledge_all([(each.id, _status(each)) for each in recorded])

    async def _knock(
        self,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        limit_bytes: int,
        token: str | None = None,
    ) -> Knock:
        return Knock(
            method=scope["method"],
            url=sender_url(scope, headers, self._proxies),
            path=scope["path"],
            query_string=scope["query_string"],
            headers=headers,
            body=await read_body(headers, receive, limit_bytes),
            received=now(),
            remote=remote_address(scope, headers, self._proxies),
            token=token,
        )

    # ----------------------------------------------------------------------------------------------

    async def _record(self, draft: Draft) -> Recorded:
        """Put a draft on the disk, then hand it to the dispatcher.

        Raises
        ------
        Refusal: 422, the same id came before with another body at a door that does not take that.
        """
        recorded, accepted = await self._house.inbox.record(draft)
        if not recorded.duplicate:
            self._house.dispatcher.offer(_event(draft, recorded, accepted))
        elif recorded.conflict and draft.strict:
            raise Refusal(
                422,
                "conflict",
                f"Event {recorded.id} has the same id with another body; give a changed event a new id.",
            )
        return recorded


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
    )


def _outcome(recorded: Recorded) -> dict[str, str]:
    return {"id": recorded.id, "status": _status(recorded)}


def _status(recorded: Recorded) -> str:
    return "duplicate" if recorded.duplicate else "accepted"


def _only(query: dict[str, list[str]], name: str) -> str | None:
    values = query.get(name)
    return values[0] if values else None
