"""Traffic: bytes that a node moves, and the arithmetic of products. From shapes alone; no data is looked at.

Bytes are those of the distinct elements of a node's inputs and outputs, in GGUF's own layout. Where an op touches only
a part of an operand (rows picked by ids, slots of a state, the keys of a cache) it is counted at its most: every id
another row, every planned key in use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from .graph import Node
from .layout import Layout
from .tensor import Tensor


@dataclass(frozen=True)
class Traffic:
    """Bytes read and written, and floating point operations of products: 2 a multiply and add, others not counted."""

    read: int = 0
    written: int = 0
    flops: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.read + other.read, self.written + other.written, self.flops + other.flops)


def traffic(node: Node) -> Traffic:
    flops = _FLOPS.get(node.op)
    return Traffic(
        _nbytes(node.inputs, _rule(_READS, node)),
        _nbytes(node.outputs, _rule(_WRITES, node)),
        flops(node) if flops else 0,
    )


def n_distinct(layout: Layout) -> int:
    """Elements of the storage that a layout shows: repeated ones count once."""
    lo, hi = layout.span
    return min(prod(n for n, s in zip(layout.shape, layout.strides, strict=True) if s), hi - lo)


Limits = dict[int, int]  # operand -> elements of it that are touched at most


def _nbytes(tensors: Sequence[Tensor], limits: Limits) -> int:
    """A tensor that is there twice is counted once."""
    sizes = {
        (t.storage, t.layout): t.dtype.nbytes(min(n_distinct(t.layout), limits.get(i, t.layout.n_elements)))
        for i, t in enumerate(tensors)
    }
    return sum(sizes.values())


def _rule(rules: "dict[str, Callable[[Node], Limits]]", node: Node) -> Limits:
    return rules[node.op](node) if node.op in rules else {}


def _picked(table: Tensor, ids: Tensor) -> int:
    """Elements of the rows (of all axes but the first) that ids name."""
    return min(table.shape[0], ids.layout.n_elements) * prod(table.shape[1:])


def _experts(node: Node, ids: int, *weights: int) -> Limits:
    return {i: _picked(node.inputs[i], node.inputs[ids]) for i in weights}


def _moe(node: Node) -> Limits:
    """moe_ffn finds its ids itself: k for each row of x."""
    n_picked = node.inputs[0].shape[0] * node.attrs["k"]
    return {i: min(node.inputs[i].shape[0], n_picked) * prod(node.inputs[i].shape[1:]) for i in (2, 3, 4)}


def _get_rows(node: Node) -> Limits:
    table, ids = node.inputs
    return {0: ids.layout.n_elements * table.shape[-1]}


def _keys(node: Node) -> Limits:
    """n_kv rows of the caches of B slots."""
    n_seqs, width = node.inputs[0].shape[0], node.inputs[1].shape[2]
    return dict.fromkeys((1, 2), n_seqs * node.attrs["n_kv"] * width)


def _slots(node: Node, state: int, slots: int) -> int:
    """Elements of the slots that are written: each sequence's own, and its snapshots."""
    return _picked(node.inputs[state], node.inputs[slots])


def _own_slots(node: Node, state: int, slots: int) -> int:
    """Elements of the slots that are read: snapshots are only written."""
    own = node.inputs[slots]
    return _picked(node.inputs[state], own.select(1, 0) if own.ndim == 2 else own)


def _angles(node: Node, pos: int, table: int) -> Limits:
    return {table: _picked(node.inputs[table], node.inputs[pos])}


# what an op reads less of than its inputs show; a place that is written is no input that is read
_READS: dict[str, Callable[[Node], Limits]] = {
    "cpy": lambda _: {1: 0},
    "get_rows": _get_rows,
    "advance": lambda n: {0: n.inputs[1].layout.n_elements},
    "set_rows": lambda _: {0: 0},
    "mul_mat_id": lambda n: _experts(n, 2, 0),
    "experts_gate_up": lambda n: _experts(n, 3, 1, 2),
    "experts_down": lambda n: _experts(n, 2, 1),
    "moe_ffn": _moe,
    "attention": _keys,
    "attention_split": _keys,
    "rope": lambda n: _angles(n, 1, 2),
    "qk_rope_cache": lambda n: {**_angles(n, 5, 6), 8: 0, 9: 0},
    "causal_conv": lambda n: {2: _own_slots(n, 2, 3)},
    "gated_delta_net": lambda n: {7: _own_slots(n, 7, 8)},
    "gated_delta_norm": lambda n: {7: _own_slots(n, 7, 8)},
}

_WRITES: dict[str, Callable[[Node], Limits]] = {
    "set_rows": lambda n: {0: n.inputs[2].layout.n_elements},
    "qk_rope_cache": lambda n: dict.fromkeys((1, 2), n.inputs[1].layout.n_elements),
    "causal_conv": lambda n: {1: _slots(n, 2, 3)},
    "gated_delta_net": lambda n: {1: _slots(n, 7, 8)},
    "gated_delta_norm": lambda n: {1: _slots(n, 7, 8)},
}


def _n_out(node: Node, i: int = 0) -> int:
    return node.outputs[i].layout.n_elements


def _gate_up_flops(node: Node) -> int:
    return 2 * 2 * node.inputs[0].shape[-1] * (_n_out(node, 0) + _n_out(node, 1))


def _down_flops(node: Node) -> int:
    hidden, shared = node.inputs[0], node.inputs[4]
    return 2 * node.outputs[0].shape[-1] * (hidden.layout.n_elements + shared.layout.n_elements)


def _moe_flops(node: Node) -> int:
    x, router, gate = node.inputs[:3]
    a_row = router.shape[0] + 1 + 3 * (node.attrs["k"] * gate.shape[1] + node.inputs[5].shape[0])
    return 2 * x.layout.n_elements * a_row


def _attention_flops(node: Node) -> int:
    """q k^T and its product with v, over every planned key."""
    return 4 * node.inputs[0].layout.n_elements * node.attrs["n_kv"]


def _delta_flops(node: Node) -> int:
    """S^T k, k d^T and S^T q: 2 D^2 each, a token and a value head."""
    return 6 * node.inputs[2].layout.n_elements * node.inputs[2].shape[-1]


_FLOPS: dict[str, Callable[[Node], int]] = {
    "mul_mat": lambda n: 2 * _n_out(n) * n.inputs[1].shape[-1],
    "mul_mats": lambda n: 2 * n.inputs[0].shape[-1] * sum(_n_out(n, i) for i in range(len(n.outputs))),
    "mul_mat_id": lambda n: 2 * _n_out(n) * n.inputs[1].shape[-1],
    "experts_gate_up": _gate_up_flops,
    "experts_down": _down_flops,
    "moe_ffn": _moe_flops,
    "attention": _attention_flops,
    "attention_split": _attention_flops,
    "solve_tri": lambda n: _n_out(n) * n.inputs[0].shape[-1],
    "ssm_conv": lambda n: 2 * _n_out(n) * n.inputs[1].shape[-1],
    "causal_conv": lambda n: 2 * _n_out(n) * n.inputs[1].shape[-1],
    "gated_delta_net": _delta_flops,
    "gated_delta_norm": _delta_flops,
}
