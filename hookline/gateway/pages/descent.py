"""The lineage pages: where to begin, and the graph around an event, a run or an asset."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from hookline.errors import Refusal
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.lineage import KINDS
from hookline.gateway.pages.family import family, length, title
from hookline.gateway.pages.picture import KINDS as WORDS
from hookline.gateway.pages.picture import SIZE, address, center, draw
from hookline.gateway.pages.serving import View
from hookline.gateway.pages.visitor import Visitor
from hookline.inbox import browsing
from hookline.lineage import Direction, Graph, Kind, build_graph

#: A picture of more boxes than this is no help; the list below it has them all.
BOXES = 240
#: Nodes that are read for a page, and of them those that its list names.
NODES = 4_000
LISTED = 250
ASSETS = 100


async def lineage_start(house: House, exchange: Exchange, visitor: Visitor) -> View | str:
    """Build `GET /lineage`: lead to the graph that somebody asks for, or show what can be asked for."""
    kind, node_id = exchange.query("kind") or "event", (exchange.query("id") or "").strip()
    if node_id and kind in KINDS:
        return f"/lineage/{kind}/{quote(node_id, safe='')}"
    assets = await house.inbox.read(lambda c: browsing.newest_assets(c, limit=ASSETS))
    return View("lineage_start", {"assets": assets, "kinds": list(KINDS)})


async def lineage_graph(house: House, exchange: Exchange, visitor: Visitor) -> View:
    """Build `GET /lineage/{kind}/{id}`."""
    kind, node_id = KINDS.get(exchange.path["kind"]), exchange.path["id"]
    if kind is None:
        raise Refusal(404, "not-found", f"Lineage is of {', '.join(KINDS)}.")
    direction = _direction(exchange)
    options = {name: exchange.query(name) == "yes" for name in ("assets", "tasks", "apart")}
    graph = await house.inbox.read(
        lambda c: build_graph(
            c,
            kind,
            node_id,
            direction=direction,
            through_assets=options["assets"],
            tasks=options["tasks"],
            limit=NODES,
        )
    )
    if graph is None:
        what = {"event": "event", "run": "flow run", "asset": "asset"}[exchange.path["kind"]]
        raise Refusal(
            404,
            "no-such-node",
            f"No {what} {node_id[:200]} is known here. Runs and assets are recorded when Prefect reports"
            " them, and are kept as long as events are.",
        )
    values = await asyncio.to_thread(_values, house, graph, apart=options["apart"])
    return View("lineage", {**values, "kind": kind, "direction": direction, "options": options})


def _values(house: House, graph: Graph, *, apart: bool) -> dict[str, Any]:
    drawn = family(graph, fold=not apart)
    nodes = [node for node in graph.nodes.values() if node.kind is not Kind.DISPATCH]
    nodes.sort(key=lambda node: (node.started is None, node.started.timestamp() if node.started else 0))
    return {
        "root": graph.nodes[graph.root],
        "title": title(graph.nodes[graph.root]),
        "picture": draw(drawn, house.prefect.run_url) if len(drawn.members) <= BOXES else None,
        "boxes": len(drawn.members),
        "size": SIZE,
        "nodes": nodes[:LISTED],
        "number": len(nodes),
        "truncated": graph.truncated,
        "kinds": WORDS,
        "title_of": title,
        "length_of": length,
        "href": lambda node: address(node, house.prefect.run_url),
        "center": center,
        "is_run": lambda node: node.kind is Kind.FLOW_RUN,
    }


def _direction(exchange: Exchange) -> Direction:
    given = exchange.query("direction") or Direction.BOTH
    if given not in tuple(Direction):
        raise Refusal(400, "bad-query", f"direction is not one of {', '.join(Direction)}.")
    return Direction(given)
