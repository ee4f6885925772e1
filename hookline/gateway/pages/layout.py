"""Laying out a graph in layers, from left to right: what came first stands left. Pure.

The usual four steps: break cycles, give each node the layer after its last predecessor, order the layers so
that few edges cross, and place nodes beside their neighbours. An edge over several layers bends around what
stands between.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes in pixels: of a node, and of the room between two layers and two rows."""

    width: float = 200
    height: float = 50
    between_layers: float = 46
    between_rows: float = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands, in pixels.

    Parameters
    ----------
    places: left upper corner of each node.
    paths: for each edge the points that it goes through.
    width, height: of the whole.
    """

    places: Mapping[str, tuple[float, float]]
    paths: Mapping[tuple[str, str], tuple[tuple[float, float], ...]]
    width: float
    height: float


@dataclass(slots=True)
class _Layers:
    """Nodes by layer, bends of long edges among them, and who is joined to whom from layer to layer."""

    layers: list[list[Hashable]]
    before: dict[Hashable, list[Hashable]] = field(default_factory=dict)
    after: dict[Hashable, list[Hashable]] = field(default_factory=dict)
    chains: dict[tuple[str, str], list[Hashable]] = field(default_factory=dict)


def lay_out(nodes: Sequence[str], edges: Iterable[tuple[str, str]], size: Size) -> Layout:
    """Return where nodes and edges stand.

    Parameters
    ----------
    nodes: in the order in which they came about.
    edges: from one node to another; cycles are allowed.
    """
    known = set(nodes)
    joined = [(a, b) for a, b in dict.fromkeys(edges) if a in known and b in known and a != b]
    forward = _without_cycles(nodes, joined)
    layers = _layered(nodes, joined, forward)
    for sweep in range(SWEEPS):
        _sweep(layers, downwards=sweep % 2 == 0)
    rows = _rows(layers)
    return _placed(layers, rows, size)


def _without_cycles(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the edges that do not lead back, found by walking from the first nodes on."""
    following: dict[str, list[str]] = {node: [] for node in nodes}
    for first, second in edges:
        following[first].append(second)
    forward: set[tuple[str, str]] = set()
    done: set[str] = set()
    for start in nodes:
        if start in done:
            continue
        path, on_path = [(start, iter(following[start]))], {start}
        while path:
            node, rest = path[-1]
            if (target := next(rest, None)) is None:
                path.pop()
                on_path.discard(node)
                done.add(node)
            elif target not in on_path:
                forward.add((node, target))
                if target not in done:
                    path.append((target, iter(following[target])))
                    on_path.add(target)
    return forward


def _layered(
    nodes: Sequence[str], edges: Sequence[tuple[str, str]], forward: set[tuple[str, str]]
) -> _Layers:
    following: dict[str, list[str]] = {node: [] for node in nodes}
    open_edges = dict.fromkeys(nodes, 0)
    for source, target in edges:
        if (source, target) in forward:
            following[source].append(target)
            open_edges[target] += 1
    layer = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if open_edges[node] == 0]
    for node in ready:
        for target in following[node]:
            layer[target] = max(layer[target], layer[node] + 1)
            open_edges[target] -= 1
            if open_edges[target] == 0:
                ready.append(target)
    # What only leads on stands right before what it leads to.
    reached = {target for _, target in forward}
    for node in reversed(ready):
        if node not in reached and following[node]:
            layer[node] = min(layer[target] for target in following[node]) - 1
    found = _Layers([[] for _ in range(max(layer.values(), default=-1) + 1)])
    for node in nodes:
        found.layers[layer[node]].append(node)
    for source, target in edges:
        ends = (source, target) if (source, target) in forward else (target, source)
        chain: list[Hashable] = [ends[0]]
        for between in range(layer[ends[0]] + 1, layer[ends[1]]):
            bend = (source, target, between)
            found.layers[between].append(bend)
            chain.append(bend)
        chain.append(ends[1])
        for left, right in pairwise(chain):
            found.after.setdefault(left, []).append(right)
            found.before.setdefault(right, []).append(left)
        found.chains[source, target] = chain if ends[0] == source else chain[::-1]
    return found


def _sweep(layers: _Layers, *, downwards: bool) -> None:
    """Order each layer by the mean position of its neighbours in the layer before."""
    order = layers.layers if downwards else layers.layers[::-1]
    neighbours = layers.before if downwards else layers.after
    for fixed, moved in pairwise(order):
        position = {node: index for index, node in enumerate(fixed)}
        own = {node: index for index, node in enumerate(moved)}

        def mean(
            node: Hashable, position: dict[Hashable, int] = position, own: dict[Hashable, int] = own
        ) -> float:
            places = [position[other] for other in neighbours.get(node, ()) if other in position]
            return sum(places) / len(places) if places else own[node]

        moved.sort(key=mean)


def _rows(layers: _Layers) -> dict[Hashable, float]:
    """Return each node's row: near the mean of its neighbours, and apart from the others of its layer."""
    rows: dict[Hashable, float] = {}
    for layer in layers.layers:
        rows |= {node: float(index) for index, node in enumerate(layer)}
    for turn in range(SWEEPS):
        order = layers.layers if turn % 2 == 0 else layers.layers[::-1]
        neighbours = layers.before if turn % 2 == 0 else layers.after
        for layer in order:
            _settle(layer, neighbours, rows)
    top = min(rows.values(), default=0.0)
    return {node: row - top for node, row in rows.items()}


def _settle(
    layer: list[Hashable], neighbours: Mapping[Hashable, list[Hashable]], rows: dict[Hashable, float]
) -> None:
    """Move a layer's nodes towards where their neighbours are, keeping order and distance.

    Each run of nodes that would overlap becomes a block, which stands where its nodes wish on the average.
    """
    blocks: list[tuple[list[Hashable], float]] = []
    for node in layer:
        near = [rows[other] for other in neighbours.get(node, ())]
        wish = sum(near) / len(near) if near else rows[node]
        block, place = [node], wish
        while blocks and blocks[-1][1] + len(blocks[-1][0]) > place:
            earlier, its_place = blocks.pop()
            weight = len(earlier)
            # The block's first row, if all of its nodes are to be as near to their wishes as can be.
            place = (its_place * weight + (place - weight) * len(block)) / (weight + len(block))
            block = earlier + block
        blocks.append((block, place))
    for block, place in blocks:
        for index, node in enumerate(block):
            rows[node] = place + index


def _placed(layers: _Layers, rows: Mapping[Hashable, float], size: Size) -> Layout:
    column, row_height = size.width + size.between_layers, size.height + size.between_rows
    left = {node: index * column for index, layer in enumerate(layers.layers) for node in layer}
    places = {
        node: (left[node], rows[node] * row_height)
        for layer in layers.layers
        for node in layer
        if isinstance(node, str)
    }
    paths = {}
    for edge, chain in layers.chains.items():
        points: list[tuple[float, float]] = []
        middle = size.height / 2
        forward = left[chain[0]] < left[chain[-1]]
        for node in chain:
            x, y = left[node], rows[node] * row_height + middle
            if node == chain[0]:
                points.append((x + size.width if forward else x, y))
            elif node == chain[-1]:
                points.append((x if forward else x + size.width, y))
            else:
                ends = ((x, y), (x + size.width, y))
                points += ends if forward else ends[::-1]
        paths[edge] = tuple(points)
    height = max((rows[node] for node in places), default=0.0) * row_height + size.height
    return Layout(places, paths, max(len(layers.layers) * column - size.between_layers, 0.0), height)
