"""Kernels that read block types one by one: get_rows over a quantised table."""

from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout, Shape, collapse_together
from ..kernel import Features, Kernel, KernelCall, grid_of, strides
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
    arguments = {
        **strides("w", (table, words.strides[-2], words.strides[0] if table.ndim == 3 else 0), "at row batch"),
        **dict(n_table=table.shape[-2], n_inner=table.shape[-1]),
        **{f"n{i}": n for i, n in enumerate(shape)},
        **strides("ids", (ids, *_three(lead[0].strides, 0)), "at 0 1 2"),
        **strides("y", (y, *_three(lead[1].strides, 0), y.layout.strides[-1]), "at 0 1 2 inner"),
    }
    grid, buffers = grid_of(chunks * shape[0] * shape[1] * shape[2]), {"weights": table, "ids": ids, "y": y}
    return KernelCall("get_rows_blocks", (type_define(table.dtype),), buffers, arguments, grid, {"local_size_x": local})


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
