"""Lineage: from the event that caused it to the last asset it touched."""

from hookline.lineage.documents import graph_document
from hookline.lineage.graph import build_graph
from hookline.lineage.nodes import Direction, Edge, Graph, Kind, Link, Node

__all__ = [
    "Direction",
    "Edge",
    "Graph",
    "Kind",
    "Link",
    "Node",
    "build_graph",
    "graph_document",
]
