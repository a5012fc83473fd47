"""order: independent nodes side by side, so that one barrier serves several."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

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
        line = [i for i in line[:LOOK_AHEAD] if i not in taken] + line[LOOK_AHEAD:]
        done += wave
    return graph.replaced(graph.nodes[i] for i in done)


def _dependencies(nodes: Sequence[Node]) -> tuple[list[int], list[list[int]]]:
    """How many nodes each waits for, and which wait for each."""
    reads: dict[Storage, list[tuple[int, Tensor]]] = defaultdict(list)
    writes: dict[Storage, list[tuple[int, Tensor]]] = defaultdict(list)
    waiting, followers = [0] * len(nodes), [[] for _ in nodes]
    for i, node in enumerate(nodes):
        before = {j for t in node.inputs for j in _over(t, writes)}
        before |= {j for t in node.outputs for seen in (reads, writes) for j in _over(t, seen)}
        for j in before:
            followers[j].append(i)
        waiting[i] = len(before)
        for tensors, seen in ((node.inputs, reads), (node.outputs, writes)):
            for t in tensors:
                seen[t.storage].append((i, t))
    return waiting, followers


def _over(t: Tensor, seen: dict[Storage, list[tuple[int, Tensor]]]) -> Iterator[int]:
    """Which of the nodes that touched t's storage touched what t shows."""
    return (j for j, other in seen.get(t.storage, ()) if t.layout.overlaps(other.layout))
