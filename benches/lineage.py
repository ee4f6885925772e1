"""Lineage under load: concurrent chains compared edge by edge with what the flows wrote down; large graphs.

Usage: scripts/bench lineage [--chains 100] [--descendants 500]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from hookline.lineage import Direction, Kind, graph_document
from tests.support.chain import LINKS, facts, of_chain, running_shop
from tests.support.up import until
from tests.unit.lineage.support import a_world

ROUNDS = 5


def main() -> None:
    """Run both parts and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--descendants", type=int, default=500)
    arguments = parser.parse_args()
    measure_graph(arguments.descendants)
    compare_chains(arguments.chains)


def measure_graph(descendants: int) -> None:
    """Print how long the graph of an event with so many runs below it takes, each with tasks and an asset."""
    with tempfile.TemporaryDirectory() as folder, a_world(Path(folder)) as world:
        root = world.event()
        waiting = [root]
        for number in range(descendants):
            run = world.run(waiting.pop(0))
            tasks = [world.task(run) for _ in range(3)]
            world.write(run, f"db://table/{number}", task=tasks[-1])
            waiting += [world.event(by=run, task=tasks[0]) for _ in range(2)]
        took = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            graph = world.graph(Kind.EVENT, root, Direction.DOWN, limit=20_000)
            graph_document(graph, str)
            took.append((time.perf_counter() - begun) * 1000)
    print(
        f"graph of {descendants} runs: {len(graph.nodes)} nodes, {len(graph.edges)} edges,"
        f" median {statistics.median(took):.0f} ms, slowest {max(took):.0f} ms"
    )


def compare_chains(chains: int) -> None:
    """Start chains at once, wait for their ends, and compare their graphs with what the flows wrote down."""
    with tempfile.TemporaryDirectory() as folder, running_shop(Path(folder)) as shop:
        begun = time.perf_counter()
        events = [shop.deliver("order", number) for number in range(chains)]
        accepted = time.perf_counter() - begun
        until(lambda: len(shop.truth("is")) == chains, "every chain has come to its end", 60 + 20 * chains)
        ended = time.perf_counter() - begun
        graphs = [shop.settled("event", event, events=3) for event in events]
        recorded = time.perf_counter() - begun
        truth = shop.truth(*LINKS)
        missing = sum(len(of_chain(graph, truth) - facts(graph, *LINKS)) for graph in graphs)
        wrong = sum(len(facts(graph, *LINKS) - of_chain(graph, truth)) for graph in graphs)
        edges = sum(len(facts(graph, *LINKS)) for graph in graphs)
        print(
            f"{chains} chains: accepted in {accepted:.1f} s, ended after {ended:.1f} s, complete in the graph"
            f" {recorded - ended:.1f} s later; {edges} edges compared, {missing} missing, {wrong} wrong"
        )
        assert (missing, wrong) == (0, 0)


if __name__ == "__main__":
    main()
