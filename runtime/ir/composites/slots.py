"""Reading and writing the slots of a state. A state of one slot needs no ids, which makes both plain copies.

An op that takes `slots` takes them as [B], a slot for each sequence, or as [B, 1 + S]: then the columns after the first
are snapshots, slots that also receive the state as it is at the end of a span of SPAN tokens (the last one ends with
the last valid token); -1 for none, and for spans without valid tokens. All slots that one call writes differ.
"""

from collections.abc import Sequence

from ..graph import Graph
from ..layout import Shape
from ..ops.op import Work, n_picked
from ..tensor import Tensor

SPAN = 64  # tokens between two snapshots


def n_spans(n_tokens: int) -> int:
    """The most snapshots that a step of n_tokens tokens can take."""
    return -(-n_tokens // SPAN)


def fits_slots(shape: Shape, n_seqs: int, n_tokens: int) -> bool:
    """Is it a shape of slots for so many sequences and tokens?"""
    return shape in ((n_seqs,), (n_seqs, 1 + n_spans(n_tokens)))


def read_slots(g: Graph, state: Tensor, slots: Tensor) -> Tensor:
    """Rows `slots` of a state [n_slots, n], ids clamped: [B, n]."""
    own = _column(slots, 0)
    return g.contiguous(state) if _only_one(state, slots) else g.get_rows(state, own)


def write_slots(g: Graph, state: Tensor, slots: Tensor, last: Tensor, spans: Sequence[Tensor]) -> Tensor:
    """state[slots[b]] = last[b], and each snapshot's slot gets its span's; ids outside are dropped. Returns the state.

    last [B, n]; spans [B, n] each, read only where slots have columns for them.
    """
    if _only_one(state, slots):
        return g.cpy(last, state)
    for i in range(1, slots.shape[1] if slots.ndim == 2 else 1):
        g.set_rows(state, _column(slots, i), spans[i - 1])
    return g.set_rows(state, _column(slots, 0), last)


def slot_work(state: Tensor, slots: Tensor, at: int) -> Work:
    """Of a state, input `at` and output 1: each sequence's own slot is read, and written, as are its snapshots."""
    return Work({at: n_picked(state, _column(slots, 0))}, {1: n_picked(state, slots)})


def _column(slots: Tensor, i: int) -> Tensor:
    return slots if slots.ndim == 1 else slots.select(1, i)


def _only_one(state: Tensor, slots: Tensor) -> bool:
    return state.shape[0] == slots.shape[0] == slots.ndim == 1
