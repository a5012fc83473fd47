"""Keys and states between the device and the host: what is parked or saved, and what comes back."""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from ..ir.dtypes import DType
from ..ir.tensor import Storage
from .engine import Engine
from .parked import NO_RINGS, Arrays, Rings


class Transfers:
    """`rows`, `ring_rows`, `states`: of each cache's row, each ring's and each recurrent state the numpy dtype and how
    many numbers, or blocks of so many bytes; `row_nbytes`, `ring_nbytes`, `state_nbytes`: of all of them together.
    rings: how long those are."""

    def __init__(self, engine: Engine) -> None:
        model, self._device = engine.model, engine.device
        self.rings = Rings(model.n_window_rows, model.window) if model.n_window_rows else NO_RINGS
        self._caches = [s for s in model.caches if s.shape[1] != self.rings.n_rows]
        self._rings = [s for s in model.caches if s.shape[1] == self.rings.n_rows]
        self._states = model.states
        self.rows, self.ring_rows = _widths(self._caches, 2), _widths(self._rings, 2)
        self.states = _widths(self._states, 1)
        self.row_nbytes, self.ring_nbytes, self.state_nbytes = map(_nbytes, (self.rows, self.ring_rows, self.states))

    def take_keys(self, cache: int, start: int, stop: int) -> Arrays:
        """Rows of tokens [start, stop) of a cache slot, [stop - start, width] of each cache that is no ring."""
        return [self._take(s, cache, start, stop) for s in self._caches]

    def put_keys(self, cache: int, start: int, rows: Sequence[np.ndarray]) -> None:
        for s, data in zip(self._caches, rows, strict=True):
            self._put(s, cache, start, data)

    def take_rings(self, cache: int, start: int, stop: int) -> Arrays:
        """Rows of tokens [start, stop) of a cache slot, which its rings still hold."""
        return [self._take(s, cache, start, stop) for s in self._rings]

    def put_rings(self, cache: int, start: int, rows: Sequence[np.ndarray]) -> None:
        for s, data in zip(self._rings, rows, strict=True):
            self._put(s, cache, start, data)

    def take_state(self, state: int) -> Arrays:
        """A state slot, [n] of each recurrent state."""
        return [self._device.read(s, state, 1).reshape(-1) for s in self._states]

    def put_state(self, state: int, arrays: Sequence[np.ndarray]) -> None:
        for s, data in zip(self._states, arrays, strict=True):
            self._device.write(s, data.reshape(1, -1), state)

    def _take(self, s: Storage, slot: int, start: int, stop: int) -> np.ndarray:
        each = prod(s.shape[2:-1])
        parts = [self._device.read(s, row * each, n * each) for row, n in _runs(s, slot, start, stop)]
        return np.concatenate(parts).reshape(stop - start, -1)

    def _put(self, s: Storage, slot: int, start: int, data: np.ndarray) -> None:
        each, at, held = prod(s.shape[2:-1]), 0, np.ascontiguousarray(data).view(s.dtype.numpy)
        for row, n in _runs(s, slot, start, start + len(data)):
            self._device.write(s, held[at : at + n].reshape(n * each, -1), row * each)
            at += n


def _widths(storages: Sequence[Storage], first: int) -> list[tuple[str, int]]:
    return [(_unit(s.dtype).str, prod(s.shape[first:]) // s.dtype.block) for s in storages]


def _unit(dtype: DType) -> np.dtype:
    """A number, or a block as its bytes."""
    return np.dtype(f"V{dtype.block_bytes}") if dtype.is_quantised else np.dtype(dtype.numpy)


def _nbytes(widths: Sequence[tuple[str, int]]) -> int:
    return sum(np.dtype(dtype).itemsize * n for dtype, n in widths)


def _runs(cache: Storage, slot: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where tokens [start, stop) stand in a cache [n_slots, n_rows, ...], perhaps a ring: first row, and how many."""
    n_rows = cache.shape[1]
    while start < stop:
        n = min(stop - start, n_rows - start % n_rows)
        yield slot * n_rows + start % n_rows, n
        start += n
