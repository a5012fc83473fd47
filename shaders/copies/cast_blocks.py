"""The kernel that reads caches of a block type as floats, for what has no kernel that reads them itself."""

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout, Shape, collapse_together
from ..kernel import Arguments, Features, Kernel, KernelCall, grid_of, strides
from ..matmul.mul_mat_args import in_words
from ..operands import FLOATS, Operand


def _lower(node: Node, features: Features) -> KernelCall:
    (x,), (y,), local = node.inputs, node.outputs, 8 if features.software else 64
    words, n = in_words(x), y.shape[-1]
    lead = collapse_together((Layout(x.shape[:-1], words.strides[:-1]), Layout(y.shape[:-1], y.layout.strides[:-1])))
    shape = _three(lead[0].shape, 1)
    arguments: Arguments = {
        **dict(n_inner=n, row_inner=x.storage.shape[-1]),
        **{f"n{i}": size for i, size in enumerate(shape)},
        **strides("x", (x, *_three(lead[0].strides, 0)), "at 0 1 2"),
        **strides("y", (y, *_three(lead[1].strides, 0), y.layout.strides[-1]), "at 0 1 2 inner"),
    }
    grid = grid_of(-(-n // (4 * local)) * shape[0] * shape[1] * shape[2])
    return KernelCall("cast_blocks", (), {"x": x, "y": y}, arguments, grid, {"local_size_x": local})


def _three(entries: Shape, fill: int) -> Shape:
    return (*(fill,) * (3 - len(entries)), *entries)


KERNELS = (Kernel("cast", {"x": Operand((DType.Q8_0,)).cut}, {"y": FLOATS}, _lower, (("cast_blocks", ()),)),)
