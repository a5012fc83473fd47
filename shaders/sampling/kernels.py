"""Kernels that choose the next token and move the step buffer on to it."""

from ...runtime.ir.graph import Node
from ..kernel import At, Features, Kernel, KernelCall, grid_of
from ..operands import FLOATS, INTS


def _lower_draw(node: Node, _features: Features) -> KernelCall:
    logits, ids, *_ = node.inputs
    args = (*node.inputs, *node.outputs)
    sizes = (logits.shape[0], logits.shape[1], ids.shape[1])
    push = (*sizes, *(t.layout.strides[0] for t in args), *(At(i) for i in range(len(args))))
    return KernelCall("draw", (), args, push, grid_of(logits.shape[0]))


def _lower_advance(node: Node, _features: Features) -> KernelCall:
    logits, token, ring = *node.inputs[:2], node.outputs[3]
    args = (logits, token, *node.outputs)
    strides = (*(t.layout.strides[0] for t in args), ring.layout.strides[1])
    push = (*logits.shape, ring.shape[1], *strides, *(At(i) for i in range(len(args))))
    return KernelCall("advance", (), args, push, (1, 1, 1))


_ADVANCED = {"ids": INTS, "pos": INTS, "rows": INTS, "ring": INTS}

KERNELS = (
    Kernel(
        "draw",
        {"logits": FLOATS.rows, "ids": INTS.rows, "settings": INTS.rows, "pos": INTS},
        {"token": INTS},
        _lower_draw,
        (("draw", ()),),
    ),
    Kernel(
        "advance", {"logits": FLOATS.rows, "token": INTS, **_ADVANCED}, _ADVANCED, _lower_advance, (("advance", ()),)
    ),
)
