"""The passes that make a graph lean. Each is a pure function from a graph to a graph; `lean` runs those of a level."""

from collections.abc import Callable

from ..graph import Graph, Node
from .decompose import decompose
from .elide_copies import elide_copies
from .fuse import fuse
from .order import order


def lean(graph: Graph, level: int, has_kernel: Callable[[Node], bool]) -> Graph:
    """The graph at an optimisation level (0 to 3), of nothing but nodes for which the backend has a kernel."""
    graph = fuse(graph, has_kernel) if level >= 2 else graph
    graph = decompose(graph, lambda node: level >= 2 and has_kernel(node))
    graph = elide_copies(graph, has_kernel) if level >= 1 else graph
    return order(graph) if level >= 3 else graph


__all__ = ["decompose", "elide_copies", "fuse", "lean", "order"]
