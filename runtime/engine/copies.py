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


Pair = tuple[int, int]  # copied from, and to


@dataclass(frozen=True)
class Part:
    """Rows of a storage: those that a slot has, and those of them that are copied, the first ones. Of a state, or else
    of a cache."""

    rows: Tensor  # [n_slots * n_each, width]
    n_each: int
    n_copied: int
    is_state: bool

    @property
    def size(self) -> tuple[bool, int, int]:
        """What parts of one have in common: their row ids."""
        return self.is_state, self.n_each, self.n_copied


@dataclass(frozen=True)
class Copy:
    """One planned: `ids` takes, for each of the parts' sizes, the row ids to copy from, then those to copy to."""

    ids: Storage
    sizes: tuple[tuple[bool, int, int], ...]
    program: Program


class SlotCopies:
    """Copies slots of states [n_states, n], and the first rows of slots of caches [n_caches, n_rows, ...], all that is
    held of rings."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._planned: dict[tuple[int, bool], Copy] = {}

    def copy(self, state: Pair | None = None, caches: Pair | None = None, n_rows: int = 0) -> None:
        """A state slot to another one, and the first n_rows rows of a cache slot to another one, in one run."""
        model, device = self._engine.model, self._engine.device
        state = state if model.states else None
        caches = caches if model.caches and n_rows else None
        if not state and not caches:
            return
        copy = self._copy(n_rows if caches else 0, bool(state))
        slots = {True: state, False: caches}
        ids = [slot * n_each + np.arange(n) for which, n_each, n in copy.sizes for slot in slots[which] or ()]
        device.write(copy.ids, np.concatenate(ids).astype(np.int32))
        copy.program.run()

    def get_ready(self) -> None:
        """Plan the copy of a state."""
        if self._engine.model.states:
            self._copy(0, True)

    def close(self) -> None:
        """Drop every program; the next copy plans anew."""
        for copy in self._planned.values():
            copy.program.close()
            self._engine.device.free([copy.ids])
        self._planned.clear()

    def _copy(self, n_rows: int, with_state: bool) -> Copy:
        key = n_rows, with_state
        if key not in self._planned:
            model, device = self._engine.model, self._engine.device
            parts = [_state_part(s) for s in model.states if with_state]
            parts += [_cache_part(s, n_rows) for s in model.caches if n_rows]
            graph, ids, sizes = _graph(parts)
            device.alloc([ids])
            # one after the other, so that they share the memory of one
            plan = lean_plan(graph, min(self._engine.level, 2), device.supports)
            self._planned[key] = Copy(ids, sizes, device.compile(plan))
        return self._planned[key]


def _state_part(storage: Storage) -> Part:
    n_slots, n = storage.shape
    width = gcd(n, ROW)
    return Part(storage.tensor().reshape(n_slots * n // width, width), n // width, n // width, True)


def _cache_part(storage: Storage, n_rows: int) -> Part:
    n_slots, n, *rest = storage.shape
    return Part(storage.tensor().reshape(n_slots * n, prod(rest)), n, min(n, n_rows), False)


def _graph(parts: Sequence[Part]) -> tuple[Graph, Storage, tuple[tuple[bool, int, int], ...]]:
    sizes = tuple(dict.fromkeys(p.size for p in parts))
    ids = Storage("rows", Kind.INPUT, DType.I32, (2 * sum(n for *_, n in sizes),))
    g, at, places = Graph(inputs={"rows": ids.tensor()}), 0, {}
    for size in sizes:
        n = size[-1]
        places[size] = [ids.tensor().slice(0, at + i * n, at + i * n + n) for i in range(2)]
        at += 2 * n
    for p in parts:
        src, dst = places[p.size]
        g.set_rows(p.rows, dst, g.get_rows(p.rows, src))
    return g, ids, sizes
