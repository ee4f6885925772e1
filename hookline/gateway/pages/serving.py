"""Serving pages: who gets a page and who gets JSON, what a refusal looks like, and how pages stay live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from hookline.errors import HooklineError, InboxError, Refusal
from hookline.gateway.access import Caller, Scope
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.negotiating import names, read_accept, weight_of
from hookline.gateway.pages.live import answer_when_changed, asks_for_part
from hookline.gateway.pages.rendering import page_reply, render, render_live
from hookline.gateway.pages.visitor import Form, Visitor, read_form, visit
from hookline.inbox.browsing import Attention, attention
from hookline.sources import Reply

log = logging.getLogger(__name__)

Answer = Callable[[House, Exchange], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows.

    Parameters
    ----------
    template: name of its template.
    values: what the template shows.
    status: the HTTP status.
    """

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


#: Gives what a page shows, or the address to which the browser is led instead.
Build = Callable[[House, Exchange, Visitor], Awaitable[View | str]]
Act = Callable[[House, Exchange, Visitor, Form], Awaitable[View | str]]


def page(build: Build) -> Answer:
    """Return the answer that shows a page to whoever may read."""

    async def answer(house: House, exchange: Exchange) -> Reply:
        return await _build(house, exchange, build)

    return answer


def page_or(json: Answer, build: Build) -> Answer:
    """Return the answer that gives browsers a page, and everybody else what it gave them all along."""

    async def answer(house: House, exchange: Exchange) -> Reply:
        if wants_page(exchange):
            return await _build(house, exchange, build)
        return await json(house, exchange)

    return answer


def signed_in_or_key(json: Answer) -> Answer:
    """Return an answer to a GET that a visitor who signed in may have as well as the holder of a key."""

    async def answer(house: House, exchange: Exchange) -> Reply:
        if "authorization" in exchange.headers or not wants_page(exchange):
            return await json(house, exchange)
        try:
            visitor = visit(house, exchange)
            if visitor.caller is None:
                return await _to_sign_in(house, exchange, visitor)
            return await json(house, _known(exchange, visitor.caller))
        except Refusal as refusal:
            return await refused_page(house, exchange, refusal)

    return answer


def action(scope: Scope, act: Act) -> Answer:
    """Return the answer to a form: done, it leads to another address; refused, it says why."""

    async def answer(house: House, exchange: Exchange) -> Reply:
        try:
            visitor = visit(house, exchange)
            if visitor.caller is None:
                return await _to_sign_in(house, exchange, visitor)
            form = await read_form(exchange, visitor)
            visitor.caller.require(scope)
            outcome = await act(house, exchange, visitor, form)
        except Refusal as refusal:
            return await refused_page(house, exchange, refusal)
        except HooklineError as failed:
            return await refused_page(house, exchange, _unavailable(failed))
        if isinstance(outcome, View):
            return await shown(house, exchange, visitor, outcome)
        return see_other(outcome, visitor.cookies)

    return answer


def see_other(location: str, cookies: tuple[str, ...] = ()) -> Reply:
    """Return the answer that leads a browser on after a form."""
    return Reply(303, (("location", location), ("cache-control", "no-store"), *_set(cookies)))


def wants_page(exchange: Exchange) -> bool:
    """Return whether whoever asks is a browser: it names HTML and likes it no less than JSON."""
    accepted = read_accept(exchange.headers.get("accept"))
    html = weight_of(accepted, "text/html") if names(accepted, "text/html") else 0.0
    json = weight_of(accepted, "application/json") if names(accepted, "application/json") else 0.0
    return html > 0 and html >= json


async def refused_page(house: House, exchange: Exchange, refusal: Refusal) -> Reply:
    """Return a refusal as a page."""
    # By a wrong name, nothing of the house is shown and nothing can be done.
    visitor = Visitor(None, "") if refusal.status == 421 else _visitor(house, exchange)
    view = View("refused", {"refusal": refusal}, refusal.status)
    reply = await shown(house, exchange, visitor, view)
    return Reply(reply.status, (*reply.headers, *refusal.headers.items()), reply.body)


def _visitor(house: House, exchange: Exchange) -> Visitor:
    try:
        return visit(house, exchange)
    except Refusal:
        return Visitor(None, "")


async def _build(house: House, exchange: Exchange, build: Build) -> Reply:
    try:
        visitor = visit(house, exchange)
        if visitor.caller is None:
            return await _to_sign_in(house, exchange, visitor)
        visitor.caller.require(Scope.READ)
        if asks_for_part(exchange):
            return await _live(house, exchange, visitor, build)
        view = await build(house, exchange, visitor)
        if isinstance(view, str):
            return see_other(view, visitor.cookies)
        return await shown(house, exchange, visitor, view)
    except Refusal as refusal:
        return await refused_page(house, exchange, refusal)
    except HooklineError as failed:
        log.error("%s %s: %s", exchange.scope["method"], exchange.scope["path"], failed)
        return await refused_page(house, exchange, _unavailable(failed))


async def _to_sign_in(house: House, exchange: Exchange, visitor: Visitor) -> Reply:
    """Return the page that asks for a key, in the place of the one that was wanted."""
    query = exchange.scope["query_string"].decode("latin-1")
    wanted = exchange.scope["path"] + (f"?{query}" if query else "")
    # A strict cookie does not come along when a link elsewhere leads here; from our own page it does.
    again = exchange.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    values = {"wanted": wanted if exchange.scope["method"] == "GET" else "/", "again": again, "wrong": None}
    return await shown(house, exchange, visitor, View("login", values, 401))


async def shown(house: House, exchange: Exchange, visitor: Visitor, view: View) -> Reply:
    """Return a page as a visitor gets it."""
    values = {**await _frame(house, exchange, visitor), **view.values}
    # In a thread: building a page takes milliseconds, in which the doors go on answering.
    html = await asyncio.to_thread(render, view.template, values)
    return page_reply(html, view.status, _set(visitor.cookies))


async def _live(house: House, exchange: Exchange, visitor: Visitor, build: Build) -> Reply:
    async def render_now() -> str:
        view = await build(house, exchange, visitor)
        if isinstance(view, str):
            raise Refusal(400, "not-live", "This page has no live updates.")
        values = {**await _frame(house, exchange, visitor), **view.values}
        return await asyncio.to_thread(render_live, view.template, values)

    path = exchange.scope["path"]
    about = exchange.path["id"] if path.startswith("/events/") else ""
    return await answer_when_changed(house.changes, about, exchange, render_now)


async def _frame(house: House, exchange: Exchange, visitor: Visitor) -> dict[str, Any]:
    """Return what every page shows around its own."""
    known = visitor.allows(Scope.READ)
    return {
        "path": exchange.scope["path"],
        "visitor": visitor,
        "may_act": visitor.allows(Scope.ADMIN),
        "attention": await _attention(house) if known else Attention(),
        "gateway_url": house.settings.gateway_url,
        "prefect_url": house.prefect.ui_url if known else None,
        "keys_wanted": bool(house.access.callers),
    }


async def _attention(house: House) -> Attention:
    try:
        return await house.inbox.read(attention)
    except InboxError:
        # The page that says so is framed like any other.
        return Attention()


def with_query(path: str, **parameters: str | int | None) -> str:
    """Return an address with those parameters that have a value."""
    query = urlencode({name: value for name, value in parameters.items() if value not in (None, "")})
    return f"{path}?{query}" if query else path


def _set(cookies: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(("set-cookie", cookie) for cookie in cookies)


def _unavailable(failed: HooklineError) -> Refusal:
    return Refusal(503, "unavailable", str(failed), headers={"retry-after": "1"})


@dataclass(frozen=True, slots=True)
class _Known(Exchange):
    """A request of somebody who is known by a session.

    Parameters
    ----------
    known: who has the session.
    """

    known: Caller

    def caller(self, house: House) -> Caller:
        """Return who has the session."""
        return self.known


def _known(exchange: Exchange, caller: Caller) -> _Known:
    return _Known(exchange.scope, exchange.receive, exchange.headers, exchange.path, caller)
