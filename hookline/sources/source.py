"""A configured source: who may knock there, and what their events are called."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from hookline.cloudevents import each_cloudevent, is_cloudevent
from hookline.errors import Refusal
from hookline.event import Draft
from hookline.json_text import array_slices
from hookline.knock import CREDENTIALS, Handshake, Knock, Reply
from hookline.slices import in_slices
from hookline.sources.entry import Rate
from hookline.sources.fetch import Fetch, FetchError
from hookline.sources.handshake import HandshakeAnswer
from hookline.sources.mapping import TypeRule, read_id, read_text, read_time
from hookline.sources.recipe import Recipe
from hookline.sources.schema import Schema
from hookline.sources.secret import Secret
from hookline.sources.template import Template
from hookline.sources.verify import PreparingVerifier, Verifier
from hookline.sources.visit import Visit
from hookline.trace_context import read_trace

_SIGNATURES = frozenset(
    (b"x-hub-signature", b"x-hub-signature-256", b"x-gitlab-token", b"x-twilio-signature")
)


def dropped_headers(recipe: Recipe) -> frozenset[bytes]:
    """Return the lower-case names of headers that are not kept with the events of a recipe's source."""
    signatures = [name for scheme in recipe.schemes if scheme.signature for name in scheme.signature.header]
    return CREDENTIALS | _SIGNATURES | {name.lower().encode() for name in signatures}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source as configured in `sources.yaml`, ready to receive.

    Parameters
    ----------
    name: its name, the part of the URL after `/webhooks/`.
    recipe_name: the built-in recipe's name, or `inline`.
    recipe: how its provider signs and names.
    type_rule, subject, time, source_id: how events are mapped.
    signed_id: the recipe's own rule for the id, which its signature may cover.
    verifiers: one for each scheme that has secrets.
    preparing: those of the verifiers that may have to fetch a key first.
    handshakes: the recipe's handshakes, ready to answer.
    tokens: the URL tokens, any of which is good.
    secrets: those that were found.
    needs_token: it has URL tokens configured, whether or not they were found.
    missing: variables and files that should hold a secret and do not.
    unusable: what is wrong with secrets that are there; safe to show.
    body_limit: largest body in bytes, where the source sets its own.
    rate: how many requests it may make.
    dedup_window: how long an equal body is a duplicate, whatever its id.
    by_reference: its data never travels in flow parameters.
    schemas: JSON Schemas by event type.
    url: the address that the provider knows it by, where signatures cover that.
    sunset: from then on it is answered 410.
    foreign: type prefixes of other sources, which its events may not have.
    dropped: names of headers that are not kept with events.
    fetch: how an address is visited to confirm a subscription.
    made_of: all that it was made of, to be compared with that of another reading.
    """

    name: str
    recipe_name: str
    recipe: Recipe = field(repr=False)
    type_rule: TypeRule = field(repr=False)
    subject: Template | None = None
    time: Template | None = None
    source_id: Template | None = None
    signed_id: Template | None = None
    verifiers: Sequence[Verifier] = field(default=(), repr=False)
    preparing: Sequence[PreparingVerifier] = field(default=(), repr=False)
    handshakes: Sequence[HandshakeAnswer] = field(default=(), repr=False)
    tokens: Sequence[Secret] = field(default=(), repr=False)
    secrets: Sequence[Secret] = field(default=(), repr=False)
    needs_token: bool = False
    missing: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    body_limit: int | None = None
    rate: Rate | None = None
    dedup_window: timedelta | None = None
    by_reference: bool = False
    schemas: dict[str, Schema] = field(default_factory=dict, repr=False)
    url: str | None = None
    sunset: datetime | None = None
    foreign: tuple[str, ...] = field(default=(), repr=False)
    dropped: frozenset[bytes] = field(default=frozenset(), repr=False)
    fetch: Fetch | None = field(default=None, repr=False)
    made_of: Any = field(default=None, repr=False)

    @property
    def prefix(self) -> str:
        """What the types of its events begin with; nobody else may send such types."""
        return self.type_rule.prefix

    @property
    def ready(self) -> bool:
        """Return whether it has what it needs to let anybody in."""
        if self.needs_token and not self.tokens:
            return False
        return bool(self.verifiers or self.unusable)

    @property
    def methods(self) -> list[str]:
        """Return the methods that do something here, by their names' order: POST, and those of handshakes."""
        asked = {handshake.method for handshake in self.handshakes}
        return sorted({"POST"} | asked | ({"HEAD"} if "GET" in asked else set()))

    async def receive(self, knock: Knock) -> Handshake | list[Draft]:
        """Verify a request, then answer its handshake or read its events.

        Parameters
        ----------
        knock: the request as received.

        Raises
        ------
        Refusal: 4xx, or 503 where a secret is not set; says why.
        """
        self._admit(knock)
        visit = Visit(knock, self._address(knock), self.recipe.form_payload, self.signed_id)
        if self.rate is not None:
            visit.rate = str(int(self.rate.limit * 60 / self.rate.per.total_seconds()) or 1)
        for handshake in self.handshakes:
            if not handshake.signed and (answer := handshake.answer(visit)):
                return answer
        if knock.method != "POST":
            allowed = ", ".join(self.methods)
            raise Refusal(405, "method", f"{knock.method} is not an event here.", headers={"Allow": allowed})
        for preparing in self.preparing:
            await preparing.prepare(visit)
        verdict = self._verify(visit)
        for handshake in self.handshakes:
            if handshake.signed and (answer := handshake.answer(visit)):
                await self._confirm(handshake.address_to_visit(visit))
                return answer
        drafts = await in_slices(self._drafts(visit, verdict))
        for draft in drafts:
            if (schema := self.schemas.get(draft.type)) is not None:
                await schema.check(draft.data, draft.type)
                if len(drafts) > 1:
                    await asyncio.sleep(0)  # others get their turn between the events of a batch
        return drafts

    def acknowledge(self, id: str, status: str) -> Reply:
        """Return the answer that the provider expects once its event is on disk.

        Parameters
        ----------
        id: the tracking id.
        status: `accepted` or `duplicate`.
        """
        return self.acknowledge_all([(id, status)])

    def acknowledge_all(self, outcomes: Sequence[tuple[str, str]]) -> Reply:
        """Return the answer to a request that held any number of events.

        Parameters
        ----------
        outcomes: tracking id and status of each event.
        """
        rule = self.recipe.acknowledge
        headers: tuple[tuple[str, str], ...] = ()
        if self.sunset is not None:
            headers = (("Sunset", self.sunset.strftime("%a, %d %b %Y %H:%M:%S GMT")),)
        if rule.body is not None or rule.status == 204:
            if rule.content_type:
                headers += (("Content-Type", rule.content_type),)
            return Reply(rule.status, headers, (rule.body or "").encode())
        headers += (("Content-Type", "application/json"),)
        if len(outcomes) == 1:
            tracking_id, status = outcomes[0]
            headers += (("Location", f"/events/{tracking_id}"),)
            return Reply(rule.status, headers, orjson.dumps({"id": tracking_id, "status": status}))
        events = [{"id": tracking_id, "status": status} for tracking_id, status in outcomes]
        return Reply(rule.status, headers, orjson.dumps({"events": events}))

    def _admit(self, knock: Knock) -> None:
        if self.missing and not self.ready:
            raise Refusal(
                503,
                "no-secret",
                f"The source {self.name} is not ready: set {' or '.join(self.missing)}.",
                headers={"Retry-After": "60"},
            )
        if self.sunset is not None and knock.received >= self.sunset:
            raise Refusal(410, "retired", f"The source {self.name} is retired; stop sending.")
        if self.body_limit is not None and len(knock.body) > self.body_limit:
            raise Refusal(413, "too-large", f"The body is larger than {self.body_limit} bytes.")
        if self.tokens or knock.token is not None:
            self._check_token(knock)

    def _check_token(self, knock: Knock) -> None:
        if not self.tokens:
            raise Refusal(404, "no-such-address", f"The source {self.name} has no URL token.")
        given = (knock.token or "").encode("utf-8", "surrogatepass")
        fits = [hmac.compare_digest(token.text.encode(), given) for token in self.tokens]
        if not any(fits):
            raise Refusal(401, "bad-token", "The URL's token is missing or wrong.")

    def _address(self, knock: Knock) -> str:
        if self.url is None:
            return knock.url
        if knock.query_string and "?" not in self.url:
            return f"{self.url}?{knock.query_string.decode('latin-1')}"
        return self.url

    def _verify(self, visit: Visit) -> str:
        refusal: Refusal | None = None
        for verifier in self.verifiers:
            try:
                verdict = verifier.verify(visit)
            except Refusal as wrong:
                refusal = refusal or wrong
                continue
            if verdict is not None:
                visit.prover = verifier
                return verdict
        if refusal is not None:
            raise refusal
        if not self.verifiers:
            raise Refusal(401, "unusable-secret", f"No secret can be used: {'; '.join(self.unusable)}.")
        raise Refusal(401, "bad-signature", f"The signature fits none of the secrets of {self.name}.")

    async def _confirm(self, address: str | None) -> None:
        if address is None or self.fetch is None:
            return
        try:
            await self.fetch(address)
        except FetchError as wrong:
            raise Refusal(
                503, "not-confirmed", f"The confirmation: {wrong}", headers={"Retry-After": "10"}
            ) from wrong

    def _drafts(self, visit: Visit, verdict: str) -> Iterator[Draft]:
        if self.recipe.cloudevents and (not self.recipe.type or is_cloudevent(visit.knock.headers)):
            yield from self._cloudevents(visit.knock, verdict)
            return
        headers = visit.knock.headers.kept(self.dropped)
        if self.recipe.each and isinstance(visit.data, list):
            for data, body in zip(visit.data, array_slices(visit.knock.body), strict=True):
                yield self._draft(visit.element(data), body, headers, verdict)
        else:
            yield self._draft(visit, visit.knock.body, headers, verdict)

    def _cloudevents(self, knock: Knock, verdict: str) -> Iterator[Draft]:
        headers = knock.headers.kept(self.dropped)
        for draft in each_cloudevent(knock, door=f"webhooks/{self.name}", strict=False):
            kind = self._own_type(self.type_rule.of_cloudevent(draft.type))
            yield replace(
                draft,
                type=kind,
                source=self.name,
                headers=headers,
                verdict=verdict,
                dedup_window=self.dedup_window,
                by_reference=self.by_reference,
            )

    def _draft(self, visit: Visit, body: bytes, headers: tuple[tuple[str, str], ...], verdict: str) -> Draft:
        kind = self.type_rule(visit)
        if self.type_rule.open:
            kind = self._own_type(kind)
        knock = visit.knock
        trace = read_trace(knock.headers)
        return Draft(
            door=f"webhooks/{self.name}",
            type=kind,
            source=self.name,
            source_id=read_id(self.source_id, visit),
            subject=read_text(self.subject, visit),
            time=read_time(self.time, visit) if self.time is not None else None,
            data=visit.data,
            body=body,
            body_format=visit.format,
            content_type=knock.headers.content_type,
            headers=headers,
            verdict=verdict,
            remote=knock.remote,
            dedup_window=self.dedup_window,
            by_reference=self.by_reference,
            traceparent=trace.parent,
            tracestate=trace.state,
        )

    def _own_type(self, kind: str) -> str:
        """Return a type that the sender chose, unless it belongs to another source."""
        if kind.startswith(self.foreign):
            raise Refusal(403, "foreign-type", f"Events of type {kind[:80]} belong to another source.")
        return kind


class Sources(Mapping[str, Source]):
    """The configured sources by name, in the order of the file."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        self._prefixes = tuple(source.prefix for source in self._sources.values())

    def __getitem__(self, name: str) -> Source:
        """Return the source of that name."""
        return self._sources[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._sources)

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self._sources)

    def __repr__(self) -> str:
        """Name the sources."""
        return f"Sources({', '.join(self._sources)})"

    def owner(self, type: str) -> Source | None:
        """Return the source that a type's prefix belongs to: nobody else may send such events."""
        if not type.startswith(self._prefixes):
            return None
        return next(each for each in self._sources.values() if type.startswith(each.prefix))
