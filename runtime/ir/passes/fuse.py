"""fuse: chains that the backend runs as one dispatch become one node, by the fusions declared beside the composites.

What has no kernel is left for decompose.
"""

from collections.abc import Sequence

from ..composites import FUSIONS
from ..editing import Editing, Supports
from ..graph import Graph
from ..patterns import Fusion


def fuse(graph: Graph, supports: Supports, fusions: Sequence[Fusion] = FUSIONS) -> Graph:
    """A graph of the same results with fewer, larger nodes."""
    for fusion in fusions:
        edit = Editing(graph, supports)
        for i in range(len(edit)):
            node = edit.at(i)
            if node is not None and node.op == fusion.start:
                fusion.rule(edit, i, node)
        graph = edit.finished()
    return graph
