"""The passes that make a graph lean. Each is a pure function from a graph to a graph; `lean` runs those of a level.

Each has an off switch, VKRUN_NO_SELECT, VKRUN_NO_ELIDE, VKRUN_NO_FUSE and VKRUN_NO_ORDER. Decomposing is no choice: it
replaces the composites that a backend has no kernel for.
"""

from collections.abc import Callable

from ... import config
from ..composites import PART_FUSIONS
from ..graph import Graph, Node
from .decompose import decompose
from .elide_copies import elide_copies
from .fuse import fuse
from .order import order
from .select import branch, select


def lean(graph: Graph, level: int, has_kernel: Callable[[Node], bool]) -> Graph:
    """The graph at an optimisation level (0 to 3), of nothing but nodes for which the backend has a kernel."""
    on = config.read().has
    fuses = level >= 2 and on("FUSE")
    graph = select(graph) if on("SELECT") else graph
    graph = fuse(graph, has_kernel) if fuses else graph
    graph = decompose(graph, lambda node: fuses and has_kernel(node))
    graph = fuse(graph, has_kernel, PART_FUSIONS) if fuses else graph
    graph = branch(graph, has_kernel) if on("SELECT") else graph
    graph = elide_copies(graph, has_kernel) if level >= 1 and on("ELIDE") else graph
    return order(graph) if level >= 3 and on("ORDER") else graph


__all__ = ["branch", "decompose", "elide_copies", "fuse", "lean", "order", "select"]
