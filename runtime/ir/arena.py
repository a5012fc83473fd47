"""Where temporaries stand in one arena, by liveness: two that never live at once may share bytes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .graph import Graph
from .tensor import Kind, Storage

ALIGNMENT = 256  # the largest minStorageBufferOffsetAlignment that Vulkan allows
Run = tuple[int, int]  # bytes, from and to


@dataclass(frozen=True)
class Arena:
    """Byte offsets of temporaries, the arena's size, and the peak of live bytes, which no arena can undercut."""

    offsets: Mapping[Storage, int]
    nbytes: int
    peak_live: int


def lifetimes(graph: Graph, epochs: Sequence[int]) -> dict[Storage, tuple[int, int]]:
    """First and last epoch in which each temporary is touched; outputs live to the end."""
    spans: dict[Storage, tuple[int, int]] = {}
    for i, node in zip(epochs, graph.nodes, strict=True):
        for t in (*node.inputs, *node.outputs):
            if t.storage.kind is Kind.TEMP:
                spans[t.storage] = spans.get(t.storage, (i, i))[0], i
    for t in graph.outputs.values():
        if t.storage in spans:
            spans[t.storage] = spans[t.storage][0], epochs[-1] + 1
    return spans


def place(graph: Graph, epochs: Sequence[int]) -> Arena:
    """Largest first, each at the lowest offset free over its whole life. `epochs`: when each node runs, ascending."""
    spans = lifetimes(graph, epochs)
    sizes = {s: _size(s) for s in spans}
    taken: list[list[Run]] = [[] for _ in range(max((end for _, end in spans.values()), default=-1) + 1)]
    offsets = {}
    for s in sorted(spans, key=lambda s: (-sizes[s], spans[s])):
        alive = taken[spans[s][0] : spans[s][1] + 1]
        offsets[s] = at = _lowest_gap({run for runs in alive for run in runs}, sizes[s])
        for runs in alive:
            runs.append((at, at + sizes[s]))
    total = max((at + sizes[s] for s, at in offsets.items()), default=0)
    return Arena(offsets, total, max((sum(b - a for a, b in runs) for runs in taken), default=0))


def _size(s: Storage) -> int:
    return -(-max(s.nbytes, 1) // ALIGNMENT) * ALIGNMENT


def _lowest_gap(runs: Iterable[Run], wanted: int) -> int:
    """Where so many bytes lie in none of the runs."""
    at = 0
    for start, end in sorted(runs):
        if start - at >= wanted:
            break
        at = max(at, end)
    return at
