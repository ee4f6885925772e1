"""The doors: identify -> verify -> parse -> record -> acknowledge.

This is the hot path, thousands of requests a second: it awaits only the body and the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from urllib.parse import parse_qs, unquote

from starlette.types import Receive, Scope

from hookline import cloudevents
from hookline.errors import InboxError, InboxRefused, Refusal
from hookline.event import Draft, now
from hookline.gateway import access
from hookline.gateway.access import Caller
from hookline.gateway.browsers import Names
from hookline.gateway.desk import Desk, status_of
from hookline.gateway.granting import grant
from hookline.gateway.house import House
from hookline.gateway.idempotency import idempotency_key
from hookline.gateway.metering import HeaderPairs, Meter, Meters, rate_of_keys
from hookline.gateway.reading import (
    Proxies,
    declared_bytes,
    read_body,
    remote_address,
    sender_url,
)
from hookline.gateway.replies import json_reply, problem
from hookline.gateway.room import BodyRoom
from hookline.gateway.routing import not_allowed
from hookline.gateway.waiting import read_wait, wait_for_document
from hookline.inbox import Recorded
from hookline.lineage.callers import Callers
from hookline.slices import in_slices
from hookline.sources import Handshake, Headers, Knock, Reply, Source, Sources

#: Types that nobody outside may send: Prefect's own feed, and our mirror in it.
RESERVED_PREFIXES = ("prefect.", "hookline.")
#: Sources that are ours: events read from Prefect's feed come as `prefect`.
RESERVED_SOURCES = ("prefect", "hookline")

_OF_WEBHOOKS = ("GET", "HEAD", "OPTIONS", "POST")


class Doors:
    """`POST /events` and `/webhooks/{source}`."""

    def __init__(self, house: House, names: Names) -> None:
        self._house = house
        self._names = names
        self._desk = Desk(house)
        self._callers = Callers(house.inbox, house.prefect)
        self._room = BodyRoom()
        self._proxies = Proxies(house.settings.trusted_proxies)
        self._keys = Meters("key", rate_of_keys(house.settings.key_rate))
        self._sources: dict[str, Meter] = {}

    async def events(self, scope: Scope, receive: Receive) -> Reply:
        """Answer `POST /events`."""
        headers = Headers(scope["headers"])
        return await self._answer(scope, headers, "events", self._take_events(scope, headers, receive))

    def permission(self, scope: Scope) -> Reply:
        """Answer `OPTIONS /events`."""
        return grant(Headers(scope["headers"]), self._keys.rate)

    async def webhook(self, scope: Scope, receive: Receive) -> Reply:
        """Answer a request to `/webhooks/{source}` or `/webhooks/{source}/{token}`."""
        headers = Headers(scope["headers"])
        written, _, token = scope["raw_path"][len(b"/webhooks/") :].decode("latin-1").partition("/")
        name = unquote(written)
        taken = self._take_webhook(scope, headers, receive, name, unquote(token) or None)
        return await self._answer(scope, headers, f"webhooks/{name}", taken)

    async def _answer(self, scope: Scope, headers: Headers, door: str, taken: Awaitable[Reply]) -> Reply:
        try:
            return await taken
        except Refusal as refusal:
            return self._turn_away(refusal, door, scope, headers)
        except InboxRefused as refused:
            wrong = Refusal(422, "not-storable", f"The event cannot be kept: {refused}.")
            return self._turn_away(wrong, door, scope, headers)
        except InboxError as full:
            busy = Refusal(503, "inbox-full", str(full), headers={"retry-after": "1"})
            return self._turn_away(busy, door, scope, headers)

    def _turn_away(self, refusal: Refusal, door: str, scope: Scope, headers: Headers) -> Reply:
        self._house.rejections.add(
            refusal,
            door=door,
            remote=remote_address(scope, headers, self._proxies),
            size=declared_bytes(headers) or 0,
        )
        return problem(refusal)

    # POST /events ---------------------------------------------------------------------------------

    async def _take_events(self, scope: Scope, headers: Headers, receive: Receive) -> Reply:
        # What is in force when a request begins counts until its end.
        sources = self._house.sources
        query = _read_query(scope["query_string"])
        self._names.check("POST", headers)
        caller = self._house.access.identify(headers, query.get("access_token"))
        caller.require(access.Scope.SEND)
        wait_seconds = read_wait(query.get("wait"))
        key = idempotency_key(headers)
        rates = self._keys.take(caller.name)
        limit = self._house.settings.body_limit_bytes
        knock = await self._knock(scope, headers, receive, limit, verdict=caller.verdict)
        batch = cloudevents.is_batch(headers)
        if batch:
            events = cloudevents.each_cloudevent(knock, door=caller.door)
            drafts = await in_slices(_admit(each, caller, sources) for each in events)
        else:
            parsed = cloudevents.parse(
                knock, door=caller.door, default_source=caller.default_source, default_id=key
            )
            drafts = [_admit(each, caller, sources) for each in parsed]
        if len(drafts) > 1:
            rates = self._keys.charge(caller.name, len(drafts) - 1)
        drafts = await self._callers.complete(drafts)
        recorded = await self._desk.record_all(drafts)
        if batch:
            return await self._acknowledge_batch(recorded, wait_seconds, rates, receive)
        return await self._acknowledge(recorded[0], wait_seconds, rates, receive)

    async def _acknowledge(
        self, recorded: Recorded, wait_seconds: float, rates: HeaderPairs, receive: Receive
    ) -> Reply:
        headers = (("location", f"/events/{recorded.id}"), *rates)
        if not wait_seconds:
            return json_reply({"id": recorded.id, "status": status_of(recorded)}, 202, headers)
        document = await wait_for_document(self._house, recorded.id, wait_seconds, receive)
        return json_reply(document, 202, headers)

    async def _acknowledge_batch(
        self, recorded: list[Recorded], wait_seconds: float, rates: HeaderPairs, receive: Receive
    ) -> Reply:
        if not wait_seconds:
            events = [{"id": each.id, "status": status_of(each)} for each in recorded]
            return json_reply({"events": events}, 202, rates)
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        documents = [
            await wait_for_document(self._house, each.id, max(0.0, deadline - clock()), receive)
            for each in recorded
        ]
        return json_reply({"events": documents}, 202, rates)

    # /webhooks/{source} ---------------------------------------------------------------------------

    async def _take_webhook(
        self, scope: Scope, headers: Headers, receive: Receive, name: str, token: str | None
    ) -> Reply:
        source = self._house.sources.get(name)
        if source is None:
            raise Refusal(404, "no-such-source", "There is no such source; see deployments/sources.yaml.")
        if scope["method"] not in _OF_WEBHOOKS:
            raise not_allowed(scope["method"], source.methods)
        limit = source.body_limit or self._house.settings.body_limit_bytes
        knock = await self._knock(scope, headers, receive, limit, token=token)
        outcome = await source.receive(knock)
        if isinstance(outcome, Handshake):
            return outcome.reply
        # Only what is verified counts: nobody without the secret can use up the source's rate.
        rates = self._take_rate(source, max(len(outcome), 1))
        recorded = await self._desk.record_all(outcome)
        reply = source.acknowledge_all([(each.id, status_of(each)) for each in recorded])
        return Reply(reply.status, reply.headers + rates, reply.body) if rates else reply

    def _take_rate(self, source: Source, cost: int) -> HeaderPairs:
        if source.rate is None:
            return ()
        meter = self._sources.get(source.name)
        # What was used stays used when the sources are read again, unless the rate is another one.
        if meter is None or meter.rate != source.rate:
            meter = self._sources[source.name] = Meter("source", source.rate)
        return meter.take(cost)

    async def _knock(
        self,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        limit_bytes: int,
        *,
        token: str | None = None,
        verdict: str = "",
    ) -> Knock:
        body = await read_body(headers, receive, limit_bytes, self._room, known=bool(verdict))
        return Knock(
            method=scope["method"],
            url=sender_url(scope, headers, self._proxies),
            path=scope["path"],
            query_string=scope["query_string"],
            headers=headers,
            body=body,
            received=now(),
            remote=remote_address(scope, headers, self._proxies),
            token=token,
            verdict=verdict,
        )


def _admit(draft: Draft, caller: Caller, sources: Sources) -> Draft:
    """Return a draft whose sender may say what it says.

    Raises
    ------
    Refusal: 403, the source or the type belongs to somebody else.
    """
    if draft.source in sources or draft.source in RESERVED_SOURCES:
        raise Refusal(403, "reserved-source", f"Events of the source {draft.source} do not come here.")
    if draft.type.startswith(RESERVED_PREFIXES):
        raise Refusal(403, "reserved-type", "Types that begin with prefect. or hookline. are reserved.")
    owner = sources.owner(draft.type)
    if owner is not None:
        raise Refusal(403, "reserved-type", f"Types that begin with {owner.prefix} belong to {owner.name}.")
    caller.require_source(draft.source)
    return draft


def _read_query(query_string: bytes) -> dict[str, str]:
    """Return a query's parameters, of a repeated one the first."""
    if not query_string:
        return {}
    parts = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
    return {name: values[0] for name, values in parts.items()}
