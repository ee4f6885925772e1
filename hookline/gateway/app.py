"""The gateway as an application: the doors first, then a table of everything else."""

from __future__ import annotations

import logging
from dataclasses import replace

from starlette.types import Receive, Scope

from hookline.errors import HooklineError, Refusal
from hookline.gateway import pages
from hookline.gateway.browsers import Names
from hookline.gateway.doors import Doors
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.hub import App
from hookline.gateway.operations import Route
from hookline.gateway.replies import problem
from hookline.gateway.routes import DOORS, ROUTES
from hookline.gateway.routing import Table
from hookline.sources import Headers, Reply

log = logging.getLogger(__name__)

_FAULT = Refusal(500, "internal-error", "The gateway met a fault of its own; its log says more.")


def create_app(house: House) -> App:
    """Return the gateway's application.

    Parameters
    ----------
    house: everything that requests share.
    """
    names = Names(house.settings, keyless=not house.access.callers)
    doors = Doors(house, names)
    table = Table(_with_pages(), [(method, path) for method, path, _ in DOORS])

    async def app(scope: Scope, receive: Receive) -> Reply:
        try:
            return await enter(scope, receive)
        except Refusal as refusal:
            return problem(refusal)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            return problem(_FAULT)

    async def enter(scope: Scope, receive: Receive) -> Reply:
        path: str = scope["path"]
        if path == "/events" and scope["method"] == "POST":
            return await doors.events(scope, receive)
        if scope["raw_path"].startswith(b"/webhooks/"):
            return await doors.webhook(scope, receive)
        if path == "/events" and scope["method"] == "OPTIONS":
            return doors.permission(scope)
        return await look_up(scope, receive)

    async def look_up(scope: Scope, receive: Receive) -> Reply:
        exchange = Exchange(scope, receive, Headers(scope["headers"]), {})
        try:
            route, parts = table.find(scope["method"], scope["raw_path"])
            if route.operation is None or route.operation.scope is not None:
                names.check(scope["method"], exchange.headers)
            exchange = replace(exchange, path=parts)
            return await route.answer(house, exchange)
        except Refusal as refusal:
            return await pages.refuse(house, exchange, refusal)
        except HooklineError as failed:
            log.error("%s %s: %s", scope["method"], scope["path"], failed)
            unavailable = Refusal(503, "unavailable", str(failed), headers={"retry-after": "1"})
            return await pages.refuse(house, exchange, unavailable)

    return app


def _with_pages() -> list[Route]:
    """Return the API's routes with the pages laid over them."""
    operations = {(route.method, route.path): route.operation for route in ROUTES}
    laid = pages.with_pages((route.method, route.path, route.answer) for route in ROUTES)
    return [Route(method, path, answer, operations.get((method, path))) for method, path, answer in laid]
