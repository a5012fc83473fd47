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
    edit = Editing(graph, supports)
    for fusion in fusions:
        for i in edit.positions_of(fusion.start):
            node = edit.at(i)
            if node is not None and node.op == fusion.start:
                fusion.rule(edit, i, node)
        edit = edit.spread()
    return edit.finished()
