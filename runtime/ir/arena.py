"""Where temporaries stand in one arena, by liveness: two that never live at once may share bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .graph import Graph
from .tensor import Kind, Storage

ALIGNMENT = 256  # the largest minStorageBufferOffsetAlignment that Vulkan allows


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
    storages = sorted(spans, key=lambda s: (-_size(s), spans[s]))
    starts, ends = (np.array([spans[s][k] for s in storages], np.int64) for k in (0, 1))
    sizes, at = np.array([_size(s) for s in storages], np.int64), np.zeros(len(storages), np.int64)
    for i in range(len(storages)):
        alive = np.flatnonzero((starts[:i] <= ends[i]) & (ends[:i] >= starts[i]))
        at[i] = _lowest_gap(at[alive], sizes[alive], sizes[i])
    total = int((at + sizes).max(initial=0))
    return Arena(dict(zip(storages, at.tolist(), strict=True)), total, _peak(starts, ends, sizes))


def _size(s: Storage) -> int:
    return -(-max(s.nbytes, 1) // ALIGNMENT) * ALIGNMENT


def _lowest_gap(at: np.ndarray, sizes: np.ndarray, wanted: int) -> int:
    order = np.argsort(at)
    at, ends = at[order], (at + sizes)[order]
    floor = np.concatenate([[0], np.maximum.accumulate(ends)])
    fits = np.flatnonzero(at - floor[:-1] >= wanted)
    return int(floor[fits[0]] if fits.size else floor[-1])


def _peak(starts: np.ndarray, ends: np.ndarray, sizes: Sequence[int] | np.ndarray) -> int:
    if not len(starts):
        return 0
    change = np.zeros(int(ends.max()) + 2, np.int64)
    np.add.at(change, starts, sizes)
    np.add.at(change, ends + 1, -np.asarray(sizes))
    return int(change.cumsum().max())
