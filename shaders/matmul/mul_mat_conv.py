"""The kernel of mul_mat_conv: mul_mat_matrix of a product that is convolved at its end."""

from dataclasses import replace

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Arguments, Features, Kernel, KernelCall, placed
from ..operands import FLOATS, INTS, Operands
from . import matrices
from .matrix_tiles import MOST_FEW
from .mul_mat_args import ceil_div, type_define

CONVOLVED: Operands = {
    "conv": FLOATS.contiguous.axis(1, least=4, most=4),
    "state": FLOATS.rows,
    "slots": INTS.contiguous,
    "tails": INTS,
}  # of convolved.glsl
MOST_ELEMENTS = 8  # of an invocation: so many are written out, each takes registers
_FLAG = (("CONV", ""),)


def convolved(call: KernelCall, conv: Tensor, state: Tensor, slots: Tensor, tails: Tensor) -> KernelCall:
    """A call of a product whose kernel includes convolved.glsl."""
    arguments: Arguments = {
        "conv_at": conv,
        "slots_at": slots,
        "n_slots": state.shape[0],
        **placed("state", state, "slot"),
        **placed("tails", tails, "seq column"),
    }
    return replace(
        call,
        defines=(*call.defines, *_FLAG),
        buffers={**call.buffers, "conv": conv, "state": state, "slots": slots, "tails": tails},
        arguments={**call.arguments, **arguments},
    )


def _product(node: Node) -> Node:
    return replace(node, op="mul_mat", inputs=node.inputs[:2], outputs=(node.outputs[0].select(1, 0),))


def _rule(node: Node, features: Features) -> str:
    if (n := node.inputs[1].shape[0]) > MOST_FEW:
        return f"{n} columns, better convolved apart"
    if why := matrices.PRODUCT.rule(product := _product(node), features):
        return why
    c = matrices.PRODUCT.lower(product, features).constants
    sharers = c["local_size_x"] // (c["TILE_ROWS"] // c["PART_ROWS"] * (c["TILE_COLS"] // c["PART_COLS"]))
    n_elements = c["PART_ROWS"] // c["M"] * (c["PART_COLS"] // c["N"]) * ceil_div(c["M"] * c["N"], sharers)
    if n_elements > MOST_ELEMENTS or sharers % c["M"]:
        return f"{n_elements} elements of {sharers} invocations each, at most {MOST_ELEMENTS}, of one row"
    return ""


def _lower(node: Node, features: Features) -> KernelCall:
    return convolved(matrices.PRODUCT.lower(_product(node), features), *node.inputs[2:])


KERNEL = Kernel(
    "mul_mat_conv",
    {**matrices.PRODUCT.takes, **CONVOLVED},
    {"y": FLOATS, "written": FLOATS.rows},
    _lower,
    [(stem, (*d, *_FLAG)) for stem, d in matrices.PRODUCT.variants if type_define(DType.F32) not in d],
    _rule,
)
