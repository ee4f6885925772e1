"""Signing in with an API key, and out again."""

from __future__ import annotations

from hookline.errors import Refusal
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.serving import View, see_other, shown
from hookline.gateway.pages.visitor import read_form, sign_in, sign_out, visit
from hookline.sources import Reply


async def login_page(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /login`."""
    visitor = visit(house, exchange)
    if visitor.caller is not None:
        return see_other("/", visitor.cookies)
    view = View("login", {"wanted": _local(exchange.query("next") or "/"), "again": False, "wrong": None})
    return await shown(house, exchange, visitor, view)


async def log_in(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /login`: give a session to whoever shows a key, and lead on to the page wanted."""
    visitor = visit(house, exchange)
    form = await read_form(exchange, visitor)
    wanted = _local(form.one("wanted"))
    if not house.access.callers:
        return see_other(wanted)
    try:
        cookies = sign_in(house, exchange, form.one("key").strip())
    except Refusal as refused:
        view = View("login", {"wanted": wanted, "again": False, "wrong": refused.detail}, 401)
        return await shown(house, exchange, visitor, view)
    return see_other(wanted, cookies)


async def log_out(house: House, exchange: Exchange) -> Reply:
    """Answer `POST /logout`."""
    visitor = visit(house, exchange)
    await read_form(exchange, visitor)
    return see_other("/login", sign_out(house, exchange))


def _local(address: str) -> str:
    """Return an address if it is a path here, and the first page else."""
    is_path = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_path and address.isascii() and address.isprintable() else "/"
