"""Sources: who may send webhooks, when each last did, and a test event that goes through the same door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hookline.errors import Refusal, SourcesError
from hookline.event import now
from hookline.gateway.desk import Desk
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.log import first_curl
from hookline.gateway.pages.serving import View
from hookline.gateway.pages.visitor import Form, Visitor
from hookline.inbox import StoredEvent, browsing
from hookline.sources import Handshake, Headers, Knock, Source, standing
from hookline.sources.samples import make_sample, sample_types, sign_sample

#: Names of senders at `/events` that the page lists.
SENDERS = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """A source as the page lists it.

    Parameters
    ----------
    condition: `ready`, `not ready` or `retired`.
    recipe: the recipe's name, with the provider's where that differs.
    verified: an official vector of the provider holds, or there is no provider who could have one.
    address: where the provider sends to; the token of one that has tokens is left out.
    prefix: what the types of its events begin with.
    faults: what is wrong, safe to show.
    last: its newest event.
    untestable: why no test event can be sent.
    samples: the events that can be sent as a test.
    """

    name: str
    condition: str
    recipe: str
    verified: bool
    address: str
    prefix: str
    faults: tuple[str, ...]
    last: StoredEvent | None
    untestable: str | None
    samples: tuple[str, ...] = ()


async def source_list(house: House, exchange: Exchange, visitor: Visitor) -> View:
    """Build `GET /sources`."""
    newest = await house.inbox.read(
        lambda c: browsing.newest_of_each_source(c, limit=SENDERS + len(house.sources))
    )
    values: dict[str, Any] = {
        "sources": [_listed(house, source, newest.get(name)) for name, source in house.sources.items()],
        # What came in by a webhook whose source is no longer there was never sent to `/events`.
        "senders": [event for event in newest.values() if event.door.startswith("events/")],
        "curl": first_curl(house),
        "fault": house.registry.fault,
        "since": house.registry.since,
    }
    return View("sources", values)


def _listed(house: House, source: Source, last: StoredEvent | None) -> Listed:
    stands = standing(source, now())
    title = source.recipe.title
    return Listed(
        name=source.name,
        condition=stands["state"],
        recipe=title
        if title.lower() == source.recipe_name
        else f"{title or 'recipe'} ({source.recipe_name})",
        verified=source.recipe.verified or not source.recipe.docs,
        address=_address(house, source, "<token>" if source.needs_token else None),
        prefix=source.prefix,
        faults=tuple(f"{fault[:1].upper()}{fault[1:]}." for fault in stands["faults"]),
        last=last,
        untestable=_untestable(house, source),
        samples=tuple(sample_types(source)),
    )


def _address(house: House, source: Source, token: str | None) -> str:
    address = source.url or f"{house.settings.gateway_url}/webhooks/{source.name}"
    return f"{address}/{token}" if token is not None and source.url is None else address


def _untestable(house: House, source: Source) -> str | None:
    if not source.ready:
        return "it is not ready."
    at = now()
    try:
        sign_sample(source, make_sample(source, None, at), at, _address(house, source, None))
    except (SourcesError, ValueError) as wrong:
        return str(wrong)
    return None


async def send_test(house: House, exchange: Exchange, visitor: Visitor, form: Form) -> str:
    """Take the form of a source: send a test event, and lead to its page."""
    source = house.sources.get(form.one("source"))
    if source is None:
        raise Refusal(404, "no-such-source", "There is no such source; reload the page.")
    written = form.one("body").replace("\r\n", "\n").strip()
    token = source.tokens[0].text if source.tokens else None
    address = _address(house, source, token)
    at = now()
    try:
        sample = make_sample(source, form.one("event") or None, at, written.encode() if written else None)
        headers = sign_sample(source, sample, at, address)
    except (SourcesError, ValueError) as wrong:
        raise Refusal(409, "cannot-sign", str(wrong)) from None
    knock = Knock(
        method="POST",
        url=address,
        path=f"/webhooks/{source.name}",
        query_string=b"",
        headers=Headers.of({"User-Agent": "Hookline test", **headers}),
        body=sample.body,
        received=at,
        remote="the pages, as a test",
        token=token,
    )
    outcome = await source.receive(knock)
    if isinstance(outcome, Handshake):
        raise Refusal(409, "handshake", f"The body is a handshake ({outcome.name}), not an event.")
    recorded = await Desk(house).record_all(outcome)
    return f"/events/{recorded[0].id}" if recorded else "/sources"
