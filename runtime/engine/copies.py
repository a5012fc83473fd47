"""Copies between slots on the device: a recurrent state to another slot, the first keys and values of one cache to
another. Planned once a size; no byte passes through the host."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

import numpy as np

from ...backends.base import Program
from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.plan import lean_plan
from ..ir.tensor import Kind, Storage, Tensor
from .engine import Engine

ROW = 4096  # most numbers of a state that one workgroup copies


@dataclass(frozen=True)
class Part:
    """Rows of a storage: those that a slot has, and those of them that are copied, the first ones."""

    rows: Tensor  # [n_slots * n_each, width]
    n_each: int
    n_copied: int


@dataclass(frozen=True)
class Copy:
    """One planned: `ids` takes, for each number of rows in `sizes`, the row ids to copy from, then those to copy to."""

    ids: Storage
    sizes: tuple[tuple[int, int], ...]  # n_each, n_copied
    program: Program


class SlotCopies:
    """Copies slots of some storages: states [n_slots, n], or the first rows of caches [n_slots, n_rows, ...]."""

    def __init__(self, engine: Engine, storages: Sequence[Storage]) -> None:
        self._engine, self._storages = engine, storages
        self._planned: dict[int, Copy] = {}

    def copy(self, src: int, dst: int, n_rows: int = 0) -> None:
        """Slot src to slot dst: of a cache its first n_rows, of a state all. They differ."""
        device, copy = self._engine.device, self._copy(n_rows)
        ids = [slot * n_each + np.arange(n) for n_each, n in copy.sizes for slot in (src, dst)]
        device.write(copy.ids, np.concatenate(ids).astype(np.int32))
        copy.program.run()

    def close(self) -> None:
        """Drop every program; the next copy plans anew."""
        for copy in self._planned.values():
            copy.program.close()
            self._engine.device.free([copy.ids])
        self._planned.clear()

    def _copy(self, n_rows: int) -> Copy:
        if n_rows not in self._planned:
            parts = [_part(s, n_rows) for s in self._storages]
            graph, ids, sizes = _graph(parts)
            device = self._engine.device
            device.alloc([ids])
            # one after the other, so that they share the memory of one
            plan = lean_plan(graph, min(self._engine.level, 2), device.supports)
            self._planned[n_rows] = Copy(ids, sizes, device.compile(plan))
        return self._planned[n_rows]


def _part(storage: Storage, n_rows: int) -> Part:
    n_slots, n, *rest = storage.shape
    if rest:
        return Part(storage.tensor().reshape(n_slots * n, prod(rest)), n, n_rows)
    width = gcd(n, ROW)
    return Part(storage.tensor().reshape(n_slots * n // width, width), n // width, n // width)


def _graph(parts: Sequence[Part]) -> tuple[Graph, Storage, tuple[tuple[int, int], ...]]:
    sizes = tuple(dict.fromkeys((p.n_each, p.n_copied) for p in parts))
    ids = Storage("rows", Kind.INPUT, DType.I32, (2 * sum(n for _, n in sizes),))
    g, at, places = Graph(inputs={"rows": ids.tensor()}), 0, {}
    for size in sizes:
        n = size[1]
        places[size] = [ids.tensor().slice(0, at + i * n, at + i * n + n) for i in range(2)]
        at += 2 * n
    for p in parts:
        src, dst = places[p.n_each, p.n_copied]
        g.set_rows(p.rows, dst, g.get_rows(p.rows, src))
    return g, ids, sizes
