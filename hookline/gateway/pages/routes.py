"""The table of pages, laid over the table of the API: a browser gets a page where there is one."""

from __future__ import annotations

from collections.abc import Iterable

from hookline.errors import Refusal
from hookline.gateway.access import Scope
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.pages.assets import read_asset
from hookline.gateway.pages.callers import send_test, source_list
from hookline.gateway.pages.dead import dead_letters, replay_dead_letters, replay_event
from hookline.gateway.pages.descent import lineage_graph, lineage_start
from hookline.gateway.pages.detail import event_detail
from hookline.gateway.pages.entrance import log_in, log_out, login_page
from hookline.gateway.pages.log import event_log, find
from hookline.gateway.pages.serving import (
    Answer,
    Build,
    action,
    page,
    page_or,
    refused_page,
    signed_in_or_key,
    wants_page,
)
from hookline.gateway.pages.turned_away import rejections
from hookline.gateway.replies import problem
from hookline.sources import Reply

Route = tuple[str, str, Answer]

#: Pages at addresses that the API may have as well.
_OVER: dict[tuple[str, str], Build] = {
    ("GET", "/events"): event_log,
    ("GET", "/events/{id}"): event_detail,
    ("GET", "/dead"): dead_letters,
    ("GET", "/rejections"): rejections,
    ("GET", "/sources"): source_list,
    ("GET", "/lineage/{kind}/{id*}"): lineage_graph,
}
#: What browsers fetch as it is, once they are signed in.
_FETCHED = {("GET", "/events/{id}/body"), ("GET", "/docs"), ("GET", "/openapi.json")}
#: Pages and actions of their own.
_ALONE: tuple[Route, ...] = (
    ("GET", "/", page(event_log)),
    ("GET", "/find", page(find)),
    ("GET", "/lineage", page(lineage_start)),
    ("GET", "/login", login_page),
    ("POST", "/login", log_in),
    ("POST", "/logout", log_out),
    ("POST", "/actions/replay", action(Scope.ADMIN, replay_event)),
    ("POST", "/actions/dead", action(Scope.ADMIN, replay_dead_letters)),
    ("POST", "/actions/test", action(Scope.ADMIN, send_test)),
    ("GET", "/assets/{name}", read_asset),
)

#: The addresses of all pages.
PAGES = tuple(path for method, path in _OVER) + tuple(
    path for method, path, _ in _ALONE if method == "GET" and not path.startswith("/assets/")
)


def with_pages(routes: Iterable[Route]) -> list[Route]:
    """Return the API's routes with pages laid over them, and the routes that only pages have."""
    laid: list[Route] = []
    builds = dict(_OVER)
    for method, path, answer in routes:
        if (build := builds.pop((method, path), None)) is not None:
            answer = page_or(answer, build)
        elif (method, path) in _FETCHED:
            answer = signed_in_or_key(answer)
        laid.append((method, path, answer))
    laid += [(method, path, page(build)) for (method, path), build in builds.items()]
    return [*laid, *_ALONE]


async def refuse(house: House, exchange: Exchange, refusal: Refusal) -> Reply:
    """Return a refusal as whoever asked can read it: as a page, or as a problem document."""
    if wants_page(exchange):
        return await refused_page(house, exchange, refusal)
    return problem(refusal)
