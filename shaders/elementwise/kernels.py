"""Kernels of the elementwise ops: one shader for one input, one for two."""

from ...runtime.ir.graph import Node
from ..common.walk import walk
from ..kernel import Features, Kernel, KernelCall, Variant
from ..operands import FLOATS, INTS

UNARY = ("neg", "abs", "sqr", "sqrt", "exp", "log", "tanh", "relu", "sigmoid", "silu", "softplus", "gelu", "gelu_erf")
PARAMETERS = {"scale": ("factor", "bias"), "clamp": ("low", "high")}
BINARY = ("add", "sub", "mul", "div", "swiglu", "geglu")


def _variant(node: Node, stem: str) -> Variant:
    return stem, (("OP", f"op_{node.op}"),)


def _lower_unary(node: Node, features: Features) -> KernelCall:
    (x,), (y,) = node.inputs, node.outputs
    a, b = (float(node.attrs[name]) for name in PARAMETERS[node.op]) if node.op in PARAMETERS else (0.0, 0.0)
    return walk(x.layout, y.layout).call(_variant(node, "unary"), {"x": x, "y": y}, features, {"a": a, "b": b})


def _lower_binary(node: Node, features: Features) -> KernelCall:
    (a, b), (y,) = node.inputs, node.outputs
    layouts = (t.layout.broadcast_to(y.shape) for t in (a, b, y))
    return walk(*layouts).call(_variant(node, "binary"), {"a": a, "b": b, "y": y}, features)


def _lower_select(node: Node, features: Features) -> KernelCall:
    (which, a, b), (y,) = node.inputs, node.outputs
    buffers = {"a": a, "b": b, "y": y, "which": which}
    return walk(a.layout, b.layout, y.layout).call(("select", ()), buffers, features, {"which_at": which})


def _unary(op: str) -> Kernel:
    return Kernel(op, {"x": FLOATS}, {"y": FLOATS}, _lower_unary, (("unary", (("OP", f"op_{op}"),)),))


def _binary(op: str) -> Kernel:
    return Kernel(op, {"a": FLOATS, "b": FLOATS}, {"y": FLOATS}, _lower_binary, (("binary", (("OP", f"op_{op}"),)),))


KERNELS = (
    Kernel("select", {"which": INTS, "a": FLOATS, "b": FLOATS}, {"y": FLOATS}, _lower_select, (("select", ()),)),
    *map(_unary, (*UNARY, *PARAMETERS)),
    *map(_binary, BINARY),
)
