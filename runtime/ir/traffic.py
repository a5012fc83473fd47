"""Traffic: bytes that a node moves, and the arithmetic of products. From shapes alone; no data is looked at.

Bytes are those of the distinct elements of a node's inputs and outputs, in GGUF's own layout. Where an op touches only
a part of an operand (rows picked by ids, slots of a state, the keys of a cache) it says so, at its most: every id
another row, every planned key in use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from .graph import Node
from .layout import Layout
from .ops import OPS
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
    work = OPS[node.op].work(*node.inputs, **node.attrs)
    return Traffic(_nbytes(node.inputs, work.reads), _nbytes(node.outputs, work.writes), work.flops)


def n_distinct(layout: Layout) -> int:
    """Elements of the storage that a layout shows: repeated ones count once."""
    lo, hi = layout.span
    return min(prod(n for n, s in zip(layout.shape, layout.strides, strict=True) if s), hi - lo)


def _nbytes(tensors: Sequence[Tensor], touched: Mapping[int, int]) -> int:
    """A tensor that is there twice is counted once."""
    sizes = {
        (t.storage, t.layout): t.dtype.nbytes(min(n_distinct(t.layout), touched.get(i, t.layout.n_elements)))
        for i, t in enumerate(tensors)
    }
    return sum(sizes.values())
