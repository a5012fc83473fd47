"""Kernels of the delta net: the convolution in front of it, the gated delta rule, and the rule with its norm."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, At, Defines, Features, Kernel, KernelCall, Variant, fills_subgroup, grid_of
from ..operands import FLOATS, INTS, strides_that_count
from . import delta_chunks
from .delta_args import GIVES, N_OPERANDS, NORM, OPTIONS, TAKES, delta_constants, delta_operands

MAX_TAPS = 16  # held in registers
HELD = 64  # numbers of the state that a lane of a CPU holds
RUN = 32  # tokens of a convolution that an invocation takes one after the other
FEW_TOKENS = 100
BIAS: Defines = (("BIAS", ""),)
SPLIT = 8  # lanes that hold a row of the state: no device has smaller subgroups


# the convolution


def _lower_conv(node: Node, features: Features) -> KernelCall:
    x, w, state, slots, tails, *bias = node.inputs
    if slots.ndim == 1:
        slots, tails = slots.unsqueeze(1), tails.unsqueeze(1)
    args = x, w, state, slots, tails, node.outputs[0], *bias
    n_seqs, n_tokens, n_channels = x.shape
    n_runs = -(-n_tokens // RUN)
    local = 64 if n_tokens == 1 or not features.software else 8
    strides: tuple[Argument, ...] = tuple(word for i, t in enumerate(args) for word in (*t.layout.strides, At(i)))
    push = (n_seqs, n_tokens, n_channels, state.shape[0], n_runs, RUN, slots.shape[1], *strides)
    groups = -(-n_channels // local) * n_runs * n_seqs
    constants = (local, w.shape[1], int(node.attrs.get("linear", False)))
    return KernelCall("causal_conv", BIAS if bias else (), args, push, grid_of(groups), constants)


# the delta rule


def _norm_pays(node: Node, features: Features) -> str:
    """A workgroup a head: too few of them for a GPU to scan many tokens, which the rule alone shares among more."""
    n_seqs, n_tokens, n_heads, _ = node.inputs[2].shape
    if not delta_chunks.rule(node, features):
        return f"{n_tokens} tokens, better taken in chunks"
    fewest = 1 if features.software else 128
    few = n_tokens > FEW_TOKENS and n_seqs * n_heads < fewest
    return f"{n_tokens} tokens of {n_seqs * n_heads} heads, better without a norm" if few else ""


def _lower_delta(node: Node, features: Features) -> KernelCall:
    local, split, each = _shape(node, features)
    return _delta_call(node, features, local, split, each)


def _shape(node: Node, features: Features) -> tuple[int, int, int]:
    """Lanes of a workgroup, lanes that share a row of the state, and rows of each."""
    dim, norm = node.inputs[2].shape[3], node.op == "gated_delta_norm"
    if features.software:
        split = SPLIT if features.subgroup_size >= SPLIT else 1
        return 8, split, min(split, max(1, HELD // -(-dim // split)))
    most = 1 << min(features.max_workgroup, 1024 if features.subgroup_size >= 16 else 256).bit_length() - 1
    split = SPLIT if features.subgroup_size >= SPLIT else 1
    wanted = 1 << (dim - 1).bit_length() if norm else min(16, 1 << (dim - 1).bit_length())
    while split > 1 and wanted * split > most:
        split //= 2
    return min(most, max(wanted * split, features.subgroup_size, 32)), split, 1


def _delta_call(node: Node, features: Features, local: int, split: int, each: int) -> KernelCall:
    n_seqs, _, n_heads, dim = node.inputs[2].shape
    norm = len(node.inputs) > N_OPERANDS
    rows = local // split * each
    n_groups = n_seqs * n_heads * (1 if norm else -(-dim // rows))
    args, push = delta_operands(node)
    if norm:
        push += (*strides_that_count(node.inputs[11])[:3], At(12), At(11), float(node.attrs["eps"]))
    variant = _variant(norm, features.subgroup_size >= SPLIT)
    spec = (local, 0, 0, *delta_constants(node)[:5], split, each, *delta_constants(node)[5:])
    return KernelCall(*variant, args, push, grid_of(n_groups), spec)


def _variant(norm: bool, subgroups: bool) -> Variant:
    return "delta_net", tuple((name, "") for name, on in (("NORM", norm), ("SUBGROUPS", subgroups)) if on)


def _four(t: Tensor) -> Tensor:
    for _ in range(4 - t.ndim):
        t = t.unsqueeze(0)
    return t


def _solve_tri(node: Node, features: Features) -> KernelCall:
    local, (a, b, x) = fills_subgroup(features), map(_four, (*node.inputs, *node.outputs))
    strides = (*a.layout.strides, *b.layout.strides, *x.layout.strides)
    n_groups = -(-x.shape[3] // local) * x.shape[0] * x.shape[1]
    push = (At(0), At(1), At(2), *x.shape, *strides)
    return KernelCall("solve_tri", (), (*node.inputs, *node.outputs), push, grid_of(n_groups), (local,))


def _ssm_conv(node: Node, features: Features) -> KernelCall:
    local, (x, w), (y,) = fills_subgroup(features), node.inputs, node.outputs
    strides = (*x.layout.strides, *w.layout.strides, *y.layout.strides)
    n_groups = -(-y.shape[2] // local) * y.shape[0] * y.shape[1]
    push = (At(0), At(1), At(2), *y.shape, w.shape[1], *strides)
    return KernelCall("ssm_conv", (), (x, w, y), push, grid_of(n_groups), (local,))


_CONV = {
    "x": FLOATS,
    "w": FLOATS.axis(1, least=2, most=MAX_TAPS),
    "state": FLOATS,
    "slots": INTS,
    "tails": INTS,
    "bias?": FLOATS,
}

KERNELS = (
    *delta_chunks.KERNELS,  # first, where it runs at all
    Kernel(
        "causal_conv",
        _CONV,
        {"y": FLOATS, "written": FLOATS},
        _lower_conv,
        (("causal_conv", ()), ("causal_conv", BIAS)),
        options=frozenset({"bias", "linear"}),
    ),
    Kernel(
        "gated_delta_net",
        TAKES,
        GIVES,
        _lower_delta,
        (_variant(False, False), _variant(False, True)),
        options=OPTIONS,
    ),
    Kernel(
        "gated_delta_norm",
        TAKES | NORM,
        GIVES,
        _lower_delta,
        (_variant(True, False), _variant(True, True)),
        _norm_pays,
        OPTIONS,
    ),
    Kernel("solve_tri", {"a": FLOATS, "b": FLOATS}, {"x": FLOATS}, _solve_tri, (("solve_tri", ()),)),
    Kernel("ssm_conv", {"x": FLOATS, "w": FLOATS}, {"y": FLOATS}, _ssm_conv, (("ssm_conv", ()),)),
)
