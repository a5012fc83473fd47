"""What scans over a state share: heads that are repeated, and where states are kept."""

import numpy as np

from ...graph import Graph
from ...tensor import Tensor
from ..slots import SPAN


def repeated_heads(g: Graph, x: Tensor, n_heads: int, tiled: bool = False) -> Tensor:
    """Heads [B, T, Hk, D] repeated onto [B, T, n_heads, D]: each so often in a row, or tiled all of them in turn."""
    n_seqs, n_tokens, n_keys, dim = x.shape
    if n_keys == n_heads:
        return x
    n, share = n_seqs * n_tokens, n_heads // n_keys
    each = g.reshape(x, n, 1, n_keys, dim) if tiled else g.reshape(x, n, n_keys, 1, dim)
    wide = (n, share, n_keys, dim) if tiled else (n, n_keys, share, dim)
    return g.repeat(each, *wide).reshape(n_seqs, n_tokens, n_heads, dim)


class Keeper:
    """Puts states into the slots that get them, in a copy of a state [n_slots, n]."""

    def __init__(self, state: np.ndarray, columns: np.ndarray) -> None:
        self.state, self._columns = state.copy(), columns

    def __call__(self, seq: int, n_done: int, n: int, s: np.ndarray) -> None:
        """The state after n_done of a sequence's n tokens."""
        own, *snapshots = self._columns[seq]
        if snapshots and n_done and (n_done == n or n_done % SPAN == 0):
            self._put(snapshots[(n_done - 1) // SPAN], s)
        if n_done == n:
            self._put(own, s)

    def _put(self, slot: int, s: np.ndarray) -> None:
        if 0 <= slot < len(self.state):
            self.state[slot] = s.reshape(-1)


def kept_states(state: np.ndarray, slots: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, Keeper]:
    """Each sequence's state before the first token, float64 [B, *shape], and the keeper of those after."""
    columns = slots.reshape(len(slots), slots.shape[1] if slots.ndim == 2 else 1)
    old = state[np.clip(columns[:, 0], 0, len(state) - 1)].astype(np.float64)
    return old.reshape(len(slots), *shape), Keeper(state, columns)
