"""order: independent nodes side by side, so that one barrier serves several."""

from collections import defaultdict
from collections.abc import Sequence

from ..graph import Graph, Node
from ..tensor import Storage, Tensor

LOOK_AHEAD = 48  # nodes; more would stretch the lives of temporaries over layers


def order(graph: Graph) -> Graph:
    """The same nodes in waves: each wave takes, of the next nodes in line, those that wait for nothing."""
    waiting, followers = _dependencies(graph.nodes)
    line, done = list(range(len(graph.nodes))), []
    while line:
        wave = [i for i in line[:LOOK_AHEAD] if not waiting[i]]
        for i in wave:
            for j in followers[i]:
                waiting[j] -= 1
        taken = set(wave)
        line = [i for i in line if i not in taken]
        done += wave
    return graph.replaced(graph.nodes[i] for i in done)


def _dependencies(nodes: Sequence[Node]) -> tuple[list[int], list[list[int]]]:
    """How many nodes each waits for, and which wait for each."""
    touched: dict[Storage, list[tuple[int, Tensor, bool]]] = defaultdict(list)
    waiting, followers = [0] * len(nodes), [[] for _ in nodes]
    for i, node in enumerate(nodes):
        accesses = [(t, False) for t in node.inputs] + [(t, True) for t in node.outputs]
        before = {
            j
            for t, writes in accesses
            for j, other, wrote in touched[t.storage]
            if (writes or wrote) and t.layout.overlaps(other.layout)
        }
        for j in before:
            followers[j].append(i)
        waiting[i] = len(before)
        for t, writes in accesses:
            touched[t.storage].append((i, t, writes))
    return waiting, followers
