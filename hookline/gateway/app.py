"""The gateway as an ASGI application: the doors first, then a table of everything else."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from hookline.errors import HooklineError, Refusal
from hookline.gateway import events, health, lineage, pages
from hookline.gateway.doors import Doors
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.replies import problem, send_reply
from hookline.sources import Headers, Reply

log = logging.getLogger(__name__)

#: Requests at once, those that wait for an event included; beyond, memory would grow with the crowd.
CROWD = 2_000

_FAULT = Refusal(500, "internal-error", "The gateway met a fault of its own; its log says more.")

Answer = Callable[[House, Exchange], Awaitable[Reply]]

#: Method and path of everything but the doors; `{name}` is one part of the path, `{name*}` all the rest.
ROUTES: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "/events", events.search_events),
    ("GET", "/events/{id}", events.read_event),
    ("GET", "/events/{id}/body", events.read_body_of_event),
    ("GET", "/rejections", events.read_rejections),
    ("GET", "/lineage/{kind}/{id*}", lineage.read_lineage),
    ("GET", "/healthz", health.healthz),
    ("GET", "/readyz", health.readyz),
)


class _Route:
    """A compiled path with the answers to its methods."""

    def __init__(self, path: str) -> None:
        self.pattern = re.compile(re.sub(r"\{(\w+)(\*?)\}", _group, path), re.DOTALL)
        self.answers: dict[str, Answer] = {}


def _group(part: re.Match[str]) -> str:
    return f"(?P<{part[1]}>{'.+' if part[2] else '[^/]+'})"


def create_app(house: House) -> ASGIApp:
    """Return the gateway's application.

    Parameters
    ----------
    house: everything that requests share.
    """
    doors = Doors(house)
    routes = _compile()
    inside = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal inside
        if scope["type"] != "http":
            return
        if inside >= CROWD:
            await send_reply(scope, send, problem(_crowded()))
            return
        inside += 1
        try:
            await enter(scope, receive, send)
        except Exception:
            # A fault of ours; if the answer has begun, the server ends the connection.
            log.exception("%s %s", scope["method"], scope["path"])
            await send_reply(scope, send, problem(_FAULT))
        finally:
            inside -= 1

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/events" and scope["method"] == "POST":
            await doors.events(scope, receive, send)
        elif path.startswith("/webhooks/"):
            name, _, token = path[10:].partition("/")
            await doors.webhook(scope, receive, send, name, token or None)
        else:
            await send_reply(scope, send, await _answer(house, routes, scope, receive))

    return app


def _crowded() -> Refusal:
    return Refusal(
        503, "crowded", "Too many requests at once; retry in a second.", headers={"retry-after": "1"}
    )


def _compile() -> list[_Route]:
    routes: dict[str, _Route] = {}
    for method, path, answer in pages.with_pages(ROUTES):
        routes.setdefault(path, _Route(path)).answers[method] = answer
    return list(routes.values())


async def _answer(house: House, routes: list[_Route], scope: Scope, receive: Receive) -> Reply:
    exchange = Exchange(scope, receive, Headers(scope["headers"]), {})
    try:
        answer, parts = _find(routes, scope)
        exchange = replace(exchange, path=parts)
        return await answer(house, exchange)
    except Refusal as refusal:
        return await pages.refuse(house, exchange, refusal)
    except HooklineError as failed:
        log.error("%s %s: %s", scope["method"], scope["path"], failed)
        unavailable = Refusal(503, "unavailable", str(failed), headers={"retry-after": "1"})
        return await pages.refuse(house, exchange, unavailable)


def _find(routes: list[_Route], scope: Scope) -> tuple[Answer, dict[str, str]]:
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    for route in routes:
        found = route.pattern.fullmatch(scope["path"])
        if found is None:
            continue
        if method in route.answers:
            return route.answers[method], found.groupdict()
        allowed = ", ".join(sorted(route.answers))
        raise Refusal(405, "method", f"Only {allowed} works here.", headers={"allow": allowed})
    raise Refusal(404, "not-found", "There is nothing at this address; see /docs.")
