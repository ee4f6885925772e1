"""`/lineage/{event|run|asset}/{id}`: what led to it and what came of it, as nodes and edges."""

from __future__ import annotations

import re

from hookline.errors import Refusal
from hookline.gateway import access
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.replies import json_reply
from hookline.lineage import Direction, Graph, Kind, build_graph, graph_document
from hookline.lineage.graph import GENERATIONS, MOST_NODES, NODES
from hookline.sources import Reply

_COUNT = re.compile(r"[1-9][0-9]{0,8}")

KINDS = {"event": Kind.EVENT, "run": Kind.FLOW_RUN, "asset": Kind.ASSET}


async def read_lineage(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /lineage/{kind}/{id}`."""
    exchange.caller(house).require(access.Scope.READ)
    graph = await find_graph(house, exchange)
    return json_reply(graph_document(graph, house.prefect.run_url))


async def find_graph(house: House, exchange: Exchange) -> Graph:
    """Return the graph that a request asks for.

    Raises
    ------
    Refusal: 400, a parameter cannot be used; 404, there is no such node.
    """
    kind = KINDS.get(exchange.path["kind"])
    if kind is None:
        raise Refusal(404, "not-found", f"Lineage is of {', '.join(KINDS)}; see /docs.")
    # Refused here, because the statement below runs in another thread.
    direction, depth = _direction(exchange), _number(exchange, "depth", GENERATIONS, GENERATIONS)
    through, tasks = _flag(exchange, "through_assets", False), _flag(exchange, "tasks", True)
    limit = _number(exchange, "nodes", NODES, MOST_NODES)
    node_id = exchange.path["id"]
    graph = await house.inbox.read(
        lambda c: build_graph(
            c,
            kind,
            node_id,
            direction=direction,
            depth=depth,
            through_assets=through,
            tasks=tasks,
            limit=limit,
        )
    )
    if graph is None:
        what = exchange.path["kind"]
        raise Refusal(404, f"no-such-{what}", f"There is no {what} {node_id[:200]}; it may be pruned.")
    return graph


def _direction(exchange: Exchange) -> Direction:
    given = exchange.query("direction")
    if given is None:
        return Direction.BOTH
    if given not in tuple(Direction):
        raise Refusal(400, "bad-query", f"direction is not one of {', '.join(Direction)}.")
    return Direction(given)


def _number(exchange: Exchange, name: str, default: int, most: int) -> int:
    given = exchange.query(name)
    if given is None:
        return default
    if _COUNT.fullmatch(given) is None or int(given) > most:
        raise Refusal(400, "bad-query", f"{name} is not a number from 1 to {most}.")
    return int(given)


def _flag(exchange: Exchange, name: str, default: bool) -> bool:
    given = exchange.query(name)
    if given is None:
        return default
    if given not in ("true", "false"):
        raise Refusal(400, "bad-query", f"{name} is neither true nor false.")
    return given == "true"
