"""Kernels that read block types one by one: get_rows over a quantised table."""

from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout, Shape, collapse_together
from ..kernel import At, Features, Kernel, KernelCall, grid_of
from ..matmul.mul_mat_args import in_words, type_define
from ..operands import BLOCKS, FLOATS, INTS


def _lower(node: Node, features: Features) -> KernelCall:
    (table, ids), (y,) = node.inputs, node.outputs
    words, local = in_words(table), 8 if features.software else 32
    lead = (ids.layout, Layout(y.shape[:-1], y.layout.strides[:-1]))
    if table.ndim == 2:
        lead = collapse_together(lead)
    shape = _three(lead[0].shape, 1)
    chunks = -(-y.shape[-1] // (8 * local))
    push = (
        *(At(0), At(1), At(2)),
        *(table.shape[-2], table.shape[-1], words.strides[-2], words.strides[0] if table.ndim == 3 else 0),
        *shape,
        *_three(lead[0].strides, 0),
        *_three(lead[1].strides, 0),
        y.layout.strides[-1],
    )
    grid = grid_of(chunks * shape[0] * shape[1] * shape[2])
    return KernelCall("get_rows_blocks", (type_define(table.dtype),), (table, ids, y), push, grid, (local,))


def _three(entries: Shape, fill: int) -> Shape:
    return (*(fill,) * (3 - len(entries)), *entries)


KERNELS = (
    Kernel(
        "get_rows",
        {"table": BLOCKS, "ids": INTS},
        {"y": FLOATS},
        _lower,
        tuple(("get_rows_blocks", (type_define(t),)) for t in BLOCKS.dtypes),
    ),
)
