"""Kernels along the last axis: norms, softmax, sums, scans; and the two masks.

Each row kernel has a variant that reduces with subgroup arithmetic and a plain one that reduces in shared memory.
"""

from collections.abc import Callable

from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout
from ...runtime.ir.tensor import Tensor
from ..common.rows import both_reductions, n_rows_of, row_call, row_strides, rows
from ..common.walk import walk_apart
from ..kernel import Arguments, Buffers, Features, Kernel, KernelCall, Variant, grid_of, placed
from ..operands import FLOATS, INTS, Operands
from . import top_k

Lower = Callable[[Node, Features], KernelCall]


# norms

_L2 = {True: "L2", False: "L2_MAX"}


def _norm(kind: str, *flags: str) -> Variant:
    return "norm", (("KIND", kind), *((flag, "") for flag in flags))


def _xy(node: Node) -> dict[str, Tensor]:
    return {"x": node.inputs[0], "y": node.outputs[0]}


def _lower_rms_norm(node: Node, features: Features) -> KernelCall:
    return _lower_norm(_norm("RMS"), node, features, {}, {})


def _lower_l2_norm(node: Node, features: Features) -> KernelCall:
    return _lower_norm(_norm(_L2[bool(node.attrs["eps_inside"])]), node, features, {}, {})


def _lower_norm(variant: Variant, node: Node, features: Features, buffers: Buffers, arguments: Arguments) -> KernelCall:
    """`buffers` and `arguments` beside those of x and y."""
    xy = _xy(node)
    arguments = {**rows(xy), "eps": float(node.attrs["eps"]), **arguments}
    return row_call(variant, {**xy, **buffers}, features, arguments)


def _lower_rms_norm_scale(node: Node, features: Features) -> KernelCall:
    w = node.inputs[1]
    return _lower_norm(_norm("RMS", "WEIGHT"), node, features, {"w": w}, placed("w", w, "col"))


def _lower_gated_norm(node: Node, features: Features) -> KernelCall:
    _, w, gate = node.inputs
    more = {**placed("w", w, "col"), **row_strides("gate", gate)}
    return _lower_norm(_norm("RMS", "WEIGHT", "GATE"), node, features, {"w": w, "gate": gate}, more)


def _lower_norm_add(node: Node, features: Features) -> KernelCall:
    return _lower_added(node, features)


def _lower_layer_norm(node: Node, features: Features) -> KernelCall:
    return _lower_added(node, features, "MEAN")


def _lower_added(node: Node, features: Features, *flags: str) -> KernelCall:
    x, w, added = node.inputs
    more = {**placed("w", w, "col"), **row_strides("added", added, added.layout.broadcast_to(x.shape))}
    return _lower_norm(_norm("RMS", "WEIGHT", "ADDED", *flags), node, features, {"w": w, "added": added}, more)


# softmax, sums


def _lower_softmax(node: Node, features: Features) -> KernelCall:
    xy = _xy(node)
    arguments = {**rows(xy), "scale": float(node.attrs["scale"])}
    if len(node.inputs) == 1:
        return row_call(("softmax", ()), xy, features, arguments)
    x, mask = node.inputs
    arguments |= row_strides("mask", mask, mask.layout.broadcast_to(x.shape))
    return row_call(("softmax", (("MASK", ""),)), {**xy, "mask": mask}, features, arguments)


def _lower_sum_rows(node: Node, features: Features) -> KernelCall:
    xy = _xy(node)
    return row_call(("sum_rows", ()), xy, features, rows(xy))


def _lower_cumsum(node: Node, features: Features) -> KernelCall:
    xy, x = _xy(node), node.inputs[0]
    lanes = 8 if features.software else 32 if x.shape[-1] <= 1024 else 128
    return KernelCall("cumsum", (), xy, rows(xy), grid_of(n_rows_of(x)), {"local_size_x": lanes})


# masks


def _lower_tri(node: Node, features: Features) -> KernelCall:
    x, y = node.inputs[0], node.outputs[0]
    walked, _ = walk_apart(x.layout, y.layout, fences=(x.ndim - 2, x.ndim - 1))
    flags = {"LOWER": int(node.attrs["lower"]), "DIAGONAL": int(node.attrs["diagonal"])}
    return walked.call(("tri", ()), {"x": x, "y": y}, features, constants=flags)


def _lower_causal_mask(node: Node, features: Features) -> KernelCall:
    pos, y = node.inputs[0], node.outputs[0]
    wide = Layout(y.shape, (pos.layout.strides[0], 0, pos.layout.strides[1], 0), pos.layout.offset)
    walked, _ = walk_apart(wide, y.layout, fences=(3,))
    sizes = {"window": node.attrs.get("window", 0), "n_kv": y.shape[3]}
    return walked.call(("causal_mask", ()), {"pos": pos, "y": y}, features, sizes)


def _lower_valid_mask(node: Node, features: Features) -> KernelCall:
    n_valid, y = node.inputs[0], node.outputs[0]
    wide = Layout(y.shape, (n_valid.layout.strides[0], 0), n_valid.layout.offset)
    walked, _ = walk_apart(wide, y.layout, fences=(1,))
    return walked.call(("causal_mask", (("VALID", ""),)), {"pos": n_valid, "y": y}, features)


def _lower_add_norm(node: Node, features: Features) -> KernelCall:
    (x, y, w), (s, normed) = node.inputs, node.outputs
    along = {"x": x, "y": y, "s": s, "normed": normed}
    arguments = {**rows(along), **placed("w", w, "col"), "eps": float(node.attrs["eps"])}
    return row_call(("add_rms_norm", ()), {**along, "w": w}, features, arguments)


_XW = {"x": FLOATS, "w": FLOATS}
_ROW_KERNELS: dict[str, tuple[Operands, Lower, tuple[Variant, ...]]] = {
    "rms_norm": ({"x": FLOATS}, _lower_rms_norm, (_norm("RMS"),)),
    "l2_norm": ({"x": FLOATS}, _lower_l2_norm, (_norm("L2"), _norm("L2_MAX"))),
    "rms_norm_scale": (_XW, _lower_rms_norm_scale, (_norm("RMS", "WEIGHT"),)),
    "gated_norm": (_XW | {"gate": FLOATS}, _lower_gated_norm, (_norm("RMS", "WEIGHT", "GATE"),)),
    "rms_norm_add": (_XW | {"residual": FLOATS}, _lower_norm_add, (_norm("RMS", "WEIGHT", "ADDED"),)),
    "layer_norm": (_XW | {"bias": FLOATS}, _lower_layer_norm, (_norm("RMS", "WEIGHT", "ADDED", "MEAN"),)),
    "softmax": ({"x": FLOATS, "mask?": FLOATS}, _lower_softmax, (("softmax", ()), ("softmax", (("MASK", ""),)))),
    "sum_rows": ({"x": FLOATS}, _lower_sum_rows, (("sum_rows", ()),)),
}


KERNELS = (
    *(
        Kernel(op, takes, {"y": FLOATS}, lower, both_reductions(*them))
        for op, (takes, lower, them) in _ROW_KERNELS.items()
    ),
    Kernel("cumsum", {"x": FLOATS}, {"y": FLOATS}, _lower_cumsum, (("cumsum", ()),)),
    *top_k.KERNELS,
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
