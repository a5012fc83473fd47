"""Reading and writing the slots of a state. A state of one slot needs no ids, which makes both plain copies."""

from ..graph import Graph
from ..tensor import Tensor


def read_slots(g: Graph, state: Tensor, slots: Tensor) -> Tensor:
    """Rows `slots` [B] of a state [n_slots, n], ids clamped: [B, n]."""
    return g.contiguous(state) if _only_one(state, slots) else g.get_rows(state, slots)


def write_slots(g: Graph, state: Tensor, slots: Tensor, x: Tensor) -> Tensor:
    """state[slots[b]] = x[b]; ids outside of a state of several slots are dropped. Returns the state."""
    return g.cpy(x, state) if _only_one(state, slots) else g.set_rows(state, slots, x)


def _only_one(state: Tensor, slots: Tensor) -> bool:
    return state.shape[0] == slots.shape[0] == 1
