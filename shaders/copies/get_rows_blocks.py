"""Kernels that read block types one by one: get_rows over a quantised table, or over a part of one."""

from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout, Shape, collapse_together
from ..kernel import Arguments, Features, Kernel, KernelCall, grid_of, strides
from ..matmul.mul_mat_args import in_words, type_define
from ..operands import BLOCKS, FLOATS, INTS


def _lower(node: Node, features: Features) -> KernelCall:
    table, ids, y = *node.inputs[-2:], *node.outputs
    words, local = in_words(table), 8 if features.software else 32
    lead = (ids.layout, Layout(y.shape[:-1], y.layout.strides[:-1]))
    if table.ndim == 2:
        lead = collapse_together(lead)
    shape = _three(lead[0].shape, 1)
    chunks = -(-y.shape[-1] // (8 * local))
    arguments = {
        **strides("w", (table, words.strides[-2], words.strides[0] if table.ndim == 3 else 0), "at row batch"),
        **held(node),
        "n_inner": table.shape[-1],
        **{f"n{i}": n for i, n in enumerate(shape)},
        **strides("ids", (ids, *_three(lead[0].strides, 0)), "at 0 1 2"),
        **strides("y", (y, *_three(lead[1].strides, 0), y.layout.strides[-1]), "at 0 1 2 inner"),
    }
    grid, buffers = grid_of(chunks * shape[0] * shape[1] * shape[2]), {"weights": table, "ids": ids, "y": y}
    return KernelCall("get_rows_blocks", (type_define(table.dtype),), buffers, arguments, grid, {"local_size_x": local})


def held(node: Node) -> Arguments:
    """Which rows the table has, of how many that there are."""
    n = node.inputs[-2].shape[-2]
    return {"n_table": n, "first_row": node.attrs.get("first", 0), "n_rows": node.attrs.get("n_rows", n)}


def _three(entries: Shape, fill: int) -> Shape:
    return (*(fill,) * (3 - len(entries)), *entries)


_VARIANTS = tuple(("get_rows_blocks", (type_define(t),)) for t in BLOCKS.dtypes)
KERNELS = tuple(
    Kernel(op, {**into, "table": BLOCKS, "ids": INTS}, {"y": FLOATS}, _lower, _VARIANTS)
    for op, into in (("get_rows", {}), ("get_rows_within", {"into": FLOATS}))
)
