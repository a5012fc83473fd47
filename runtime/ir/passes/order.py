"""order: independent nodes side by side, so that one barrier serves several."""

from collections import defaultdict
from collections.abc import Sequence

from ..graph import Graph, Node
from ..layout import Layout
from ..tensor import Storage

LOOK_AHEAD = 48  # nodes; more would stretch the lives of temporaries over layers

Seen = dict[Storage, list[tuple[int, Layout]]]  # by storage the nodes that touched it, and what of it


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
        line = [i for i in line[:LOOK_AHEAD] if i not in taken] + line[LOOK_AHEAD:]
        done += wave
    return graph.replaced(graph.nodes[i] for i in done)


def _dependencies(nodes: Sequence[Node]) -> tuple[list[int], list[list[int]]]:
    """How many nodes each waits for, and which wait for each."""
    reads: Seen = defaultdict(list)
    writes: Seen = defaultdict(list)
    waiting, followers = [0] * len(nodes), [[] for _ in nodes]
    for i, node in enumerate(nodes):
        before: set[int] = set()
        for tensors, *touched in ((node.inputs, writes), (node.outputs, reads, writes)):
            for t in tensors:
                for seen in touched:
                    if found := seen.get(t.storage):
                        before.update([j for j, other in found if t.layout.overlaps(other)])
        for j in before:
            followers[j].append(i)
        waiting[i] = len(before)
        for tensors, seen in ((node.inputs, reads), (node.outputs, writes)):
            for t in tensors:
                seen[t.storage].append((i, t.layout))
    return waiting, followers
