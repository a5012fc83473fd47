"""Keys and states between the device and the host: what is parked or saved, and what comes back."""

from collections.abc import Sequence
from math import prod

import numpy as np

from ..ir.tensor import Storage
from .engine import Engine
from .parked import Arrays


class Transfers:
    """`rows`, `states`: of each cache's row and of each recurrent state the numpy dtype and how many numbers;
    `row_nbytes`, `state_nbytes`: of all of them together."""

    def __init__(self, engine: Engine) -> None:
        self._device = engine.device
        self._caches, self._states = engine.model.caches, engine.model.states
        self.rows = [(np.dtype(s.dtype.numpy).str, prod(s.shape[2:])) for s in self._caches]
        self.states = [(np.dtype(s.dtype.numpy).str, prod(s.shape[1:])) for s in self._states]
        self.row_nbytes = sum(np.dtype(dtype).itemsize * n for dtype, n in self.rows)
        self.state_nbytes = sum(np.dtype(dtype).itemsize * n for dtype, n in self.states)

    def take_keys(self, cache: int, start: int, stop: int) -> Arrays:
        """Rows [start, stop) of a cache slot, [stop - start, width] of each cache."""
        made = []
        for s, (_, width) in zip(self._caches, self.rows, strict=True):
            first, each = _rows(s, cache)
            made.append(self._device.read(s, first + start * each, (stop - start) * each).reshape(-1, width))
        return made

    def put_keys(self, cache: int, start: int, rows: Sequence[np.ndarray]) -> None:
        for s, data in zip(self._caches, rows, strict=True):
            first, each = _rows(s, cache)
            self._device.write(s, data.reshape(-1, s.shape[-1]), first + start * each)

    def take_state(self, state: int) -> Arrays:
        """A state slot, [n] of each recurrent state."""
        return [self._device.read(s, state, 1).reshape(-1) for s in self._states]

    def put_state(self, state: int, arrays: Sequence[np.ndarray]) -> None:
        for s, data in zip(self._states, arrays, strict=True):
            self._device.write(s, data.reshape(1, -1), state)


def _rows(cache: Storage, slot: int) -> tuple[int, int]:
    """Of a slot of a cache [n_slots, n_ctx, ..., width] the first row of the last axis, and how many a token has."""
    each = prod(cache.shape[2:-1])
    return slot * cache.shape[1] * each, each
