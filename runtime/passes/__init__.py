"""The passes that make a graph lean. Each is a pure function from a graph to a graph; `lean` runs those of a level."""

from collections.abc import Callable

from ..graph import Graph, Node
from .decompose import decompose


def lean(graph: Graph, level: int, has_kernel: Callable[[Node], bool]) -> Graph:
    """The graph at an optimisation level (0 to 3), of nothing but nodes for which the backend has a kernel."""
    return decompose(graph, lambda node: level >= 2 and has_kernel(node))


__all__ = ["decompose", "lean"]
