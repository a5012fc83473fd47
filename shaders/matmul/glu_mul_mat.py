"""The kernel of glu_mul_mat: mul_mat_vec of a gated linear unit that is made on its way."""

from collections.abc import Callable
from dataclasses import replace

from ...runtime.ir.graph import Node
from ..kernel import Features, Kernel, KernelCall, Variant, placed
from ..operands import FLOATS, WEIGHTS
from .matrices import takes_few
from .mul_mats import MAX_COLS, for_subgroups

Lower = Callable[[Node, Features], KernelCall]
GLUS = ("silu", "gelu")  # by the constant that says which
_FLAG = (("GLU", ""),)


def _rule(node: Node, features: Features) -> str:
    n, kind = node.inputs[1].shape[0], node.attrs.get("activation", GLUS[0])
    if n > MAX_COLS:
        return f"{n} columns, expected at most {MAX_COLS}"
    if takes_few(node.inputs[:1], n, features):
        return f"{n} columns, better by matrices"
    if why := for_subgroups(features, node.inputs[0].dtype):
        return why
    return "" if kind in GLUS else f"activation {kind}, expected {' or '.join(GLUS)}"


def _lowered(node: Node, features: Features, product: Lower) -> KernelCall:
    w, gate, up, *residual = node.inputs
    call = product(replace(node, op="mul_mat", inputs=(w, gate), attrs={}), features)
    added = residual[0] if residual else gate  # any buffer, where nothing is added
    kind = GLUS.index(node.attrs.get("activation", GLUS[0]))
    return replace(
        call,
        defines=(*call.defines, *_FLAG),
        buffers={**call.buffers, "up": up, "residual": added},
        arguments={**call.arguments, "up_at": up, **placed("residual", added, "col"), "adds": len(residual)},
        constants={**call.constants, "GELU": kind},
    )


def kernel(product: Lower, variants: tuple[Variant, ...]) -> Kernel:
    """`product` and its variants: of the product alone, for GPUs with subgroups."""
    return Kernel(
        "glu_mul_mat",
        {
            "w": WEIGHTS.rows,
            "gate": FLOATS.rows,
            "up": FLOATS.rows.shaped_as("gate").strided_as("gate"),
            "residual?": FLOATS.rows,
        },
        {"y": FLOATS.rows},
        lambda node, features: _lowered(node, features, product),
        tuple((stem, (*defines, *_FLAG)) for stem, defines in variants),
        _rule,
        frozenset({"activation", "residual"}),
    )
