"""Kernels along the last axis: norms, softmax, sums, scans, selection; and the two masks.

Each row kernel has a variant that reduces with subgroup arithmetic and a plain one that reduces in shared memory.
"""

from collections.abc import Callable

from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout
from ..common.rows import both_reductions, n_rows_of, row_call, row_strides, rows_words
from ..common.walk import walk_apart
from ..kernel import Argument, At, Features, Kernel, KernelCall, Variant, grid_of
from ..operands import FLOATS, INTS, Operands

Lower = Callable[[Node, Features], KernelCall]
KEPT = 1024  # of top_k.comp


# norms

_L2 = {True: "L2", False: "L2_MAX"}


def _norm(kind: str, *flags: str) -> Variant:
    return "norm", (("KIND", kind), *((flag, "") for flag in flags))


def _lower_rms_norm(node: Node, features: Features) -> KernelCall:
    return _lower_norm(_norm("RMS"), node, features)


def _lower_l2_norm(node: Node, features: Features) -> KernelCall:
    return _lower_norm(_norm(_L2[bool(node.attrs["eps_inside"])]), node, features)


def _lower_norm(variant: Variant, node: Node, features: Features, *more: Argument) -> KernelCall:
    x, y = node.inputs[0], node.outputs[0]
    push = (*rows_words(x.layout, y.layout), float(node.attrs["eps"]), *more)
    return row_call(variant, (x, y, *node.inputs[1:]), features, push)


def _lower_rms_norm_scale(node: Node, features: Features) -> KernelCall:
    weight = node.inputs[1].layout.strides[0], At(2)
    return _lower_norm(_norm("RMS", "WEIGHT"), node, features, *weight)


def _lower_gated_norm(node: Node, features: Features) -> KernelCall:
    _, w, gate = node.inputs
    more = w.layout.strides[0], At(2), *row_strides(gate.layout, 3)
    return _lower_norm(_norm("RMS", "WEIGHT", "GATE"), node, features, *more)


# softmax, sums


def _lower_softmax(node: Node, features: Features) -> KernelCall:
    x, y = node.inputs[0], node.outputs[0]
    push = (*rows_words(x.layout, y.layout), float(node.attrs["scale"]))
    if len(node.inputs) == 1:
        return row_call(("softmax", ()), (x, y), features, push)
    mask = node.inputs[1]
    push = (*push, *row_strides(mask.layout.broadcast_to(x.shape), 2))
    return row_call(("softmax", (("MASK", ""),)), (x, y, mask), features, push)


def _lower_sum_rows(node: Node, features: Features) -> KernelCall:
    x, y = node.inputs[0], node.outputs[0]
    return row_call(("sum_rows", ()), (x, y), features, rows_words(x.layout, y.layout))


def _lower_cumsum(node: Node, features: Features) -> KernelCall:
    x, y = node.inputs[0], node.outputs[0]
    push = rows_words(x.layout, y.layout)
    lanes = 8 if features.software else 32 if x.shape[-1] <= 1024 else 128
    return KernelCall("cumsum", (), (x, y), push, grid_of(n_rows_of(x)), (lanes,))


# selection


def _is_few(node: Node, features: Features) -> str:
    n, k = node.inputs[0].shape[-1], node.attrs["k"]
    few = (n <= 1024 and k <= 32) or k <= (8 if features.software else 2)
    return "" if few else f"k {k} of rows of {n}: not few"


def _lower_few(node: Node, features: Features) -> KernelCall:
    """Short rows are held in the registers of one subgroup, which needs no barrier."""
    x, y = node.inputs[0], node.outputs[0]
    push = (*rows_words(x.layout, y.layout), node.attrs["k"])
    return row_call(("top_k_few", ()), (x, y), features, push)


def _is_kept(node: Node, _features: Features) -> str:
    k = node.attrs["k"]
    return f"k {k}, at most {KEPT}" if k > KEPT else ""


def _lower_top_k(node: Node, features: Features) -> KernelCall:
    x, y = node.inputs[0], node.outputs[0]
    push = (*rows_words(x.layout, y.layout), node.attrs["k"])
    lanes = 8 if features.software else min(1024, 1 << features.max_workgroup.bit_length() - 1)
    return KernelCall("top_k", (), (x, y), push, grid_of(n_rows_of(x)), (lanes,))


# masks


def _lower_tri(node: Node, features: Features) -> KernelCall:
    x, y = node.inputs[0], node.outputs[0]
    walked, _ = walk_apart(x.layout, y.layout, fences=(x.ndim - 2, x.ndim - 1))
    flags = int(node.attrs["lower"]), int(node.attrs["diagonal"])
    return walked.call(("tri", ()), (x, y), features, (), flags)


def _lower_causal_mask(node: Node, features: Features) -> KernelCall:
    pos, y = node.inputs[0], node.outputs[0]
    wide = Layout(y.shape, (pos.layout.strides[0], 0, pos.layout.strides[1], 0), pos.layout.offset)
    walked, _ = walk_apart(wide, y.layout, fences=(3,))
    return walked.call(("causal_mask", ()), (pos, y), features, (node.attrs.get("window", 0),))


def _lower_valid_mask(node: Node, features: Features) -> KernelCall:
    n_valid, y = node.inputs[0], node.outputs[0]
    wide = Layout(y.shape, (n_valid.layout.strides[0], 0), n_valid.layout.offset)
    walked, _ = walk_apart(wide, y.layout, fences=(1,))
    return walked.call(("causal_mask", (("VALID", ""),)), (n_valid, y), features)


def _lower_add_norm(node: Node, features: Features) -> KernelCall:
    (x, y, w), (s, normed) = node.inputs, node.outputs
    push = (
        *rows_words(x.layout, y.layout),
        *row_strides(s.layout, 3),
        *row_strides(normed.layout, 4),
        *(w.layout.strides[0], At(2), float(node.attrs["eps"])),
    )
    return row_call(("add_rms_norm", ()), (x, y, w, s, normed), features, push)


_XW = {"x": FLOATS, "w": FLOATS}
_ROW_KERNELS: dict[str, tuple[Operands, Lower, tuple[Variant, ...]]] = {
    "rms_norm": ({"x": FLOATS}, _lower_rms_norm, (_norm("RMS"),)),
    "l2_norm": ({"x": FLOATS}, _lower_l2_norm, (_norm("L2"), _norm("L2_MAX"))),
    "rms_norm_scale": (_XW, _lower_rms_norm_scale, (_norm("RMS", "WEIGHT"),)),
    "gated_norm": (_XW | {"gate": FLOATS}, _lower_gated_norm, (_norm("RMS", "WEIGHT", "GATE"),)),
    "softmax": ({"x": FLOATS, "mask?": FLOATS}, _lower_softmax, (("softmax", ()), ("softmax", (("MASK", ""),)))),
    "sum_rows": ({"x": FLOATS}, _lower_sum_rows, (("sum_rows", ()),)),
}


KERNELS = (
    *(
        Kernel(op, takes, {"y": FLOATS}, lower, both_reductions(*them))
        for op, (takes, lower, them) in _ROW_KERNELS.items()
    ),
    Kernel("cumsum", {"x": FLOATS}, {"y": FLOATS}, _lower_cumsum, (("cumsum", ()),)),
    Kernel("top_k", {"x": FLOATS}, {"ids": INTS}, _lower_few, both_reductions(("top_k_few", ())), _is_few),
    Kernel("top_k", {"x": FLOATS}, {"ids": INTS}, _lower_top_k, (("top_k", ()),), _is_kept),
    Kernel("tri", {"x": FLOATS}, {"y": FLOATS}, _lower_tri, (("tri", ()),)),
    Kernel(
        "causal_mask",
        {"pos": INTS},
        {"y": FLOATS},
        _lower_causal_mask,
        (("causal_mask", ()),),
        options=frozenset({"window"}),
    ),
    Kernel("valid_mask", {"n_valid": INTS}, {"y": FLOATS}, _lower_valid_mask, (("causal_mask", (("VALID", ""),)),)),
    Kernel(
        "add_rms_norm",
        {"x": FLOATS, "y": FLOATS, "w": FLOATS},
        {"s": FLOATS, "normed": FLOATS},
        _lower_add_norm,
        both_reductions(("add_rms_norm", ())),
    ),
)
