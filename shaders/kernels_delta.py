"""Kernels of the delta net: the convolution in front of it, the gated delta rule, and the rule with its norm."""

from ..runtime.dtypes import DType
from ..runtime.graph import Node
from ..runtime.tensor import Tensor
from .indexing import Word, refuse_dtype, refuse_large
from .kernel import At, Features, Kernel, KernelCall, Variant, grid_of

MAX_TAPS = 16  # held in registers
MAX_DIM = 256
HELD = 64  # numbers of the state that a lane of a CPU holds
RUN = 32  # tokens of a convolution that an invocation takes one after the other
FEW_TOKENS = 100
SPLIT = 8  # lanes that hold a row of the state: no device has smaller subgroups


def _refuses_types(node: Node, ids: tuple[int, ...]) -> str:
    plain = (t for i, t in enumerate(node.inputs) if i not in ids)
    return (
        refuse_dtype((DType.I32,), *(node.inputs[i] for i in ids))
        or refuse_dtype((DType.F32,), *plain)
        or refuse_large(*node.inputs, *node.outputs)
    )


# the convolution


def _refuses_conv(node: Node, features: Features) -> str:
    n_taps = node.inputs[1].shape[1]
    return _refuses_types(node, (3, 4)) if 2 <= n_taps <= MAX_TAPS else f"{n_taps} taps, expected 2 to {MAX_TAPS}"


def _lower_conv(node: Node, features: Features) -> KernelCall:
    x, w, state = node.inputs[:3]
    args = (*node.inputs, node.outputs[0])
    n_seqs, n_tokens, n_channels = x.shape
    n_runs = -(-n_tokens // RUN)
    local = 64 if n_tokens == 1 or not features.software else 8
    strides: tuple[Word, ...] = tuple(word for i, t in enumerate(args) for word in (*t.layout.strides, At(i)))
    push = (n_seqs, n_tokens, n_channels, state.shape[0], n_runs, RUN, *strides)
    groups = -(-n_channels // local) * n_runs * n_seqs
    return KernelCall("causal_conv", (), args, push, grid_of(groups), (local, w.shape[1]))


# the delta rule


def _strides(t: Tensor) -> tuple[int, ...]:
    """Strides, with 0 for axes of one entry, whose stride says nothing."""
    return tuple(s if n > 1 else 0 for n, s in zip(t.shape, t.layout.strides, strict=True))


def _refuses_delta(node: Node, features: Features) -> str:
    q, k, v, beta, alpha, a, dt, state, slots, n_valid, *norm = node.inputs
    if v.shape[3] > MAX_DIM:
        return f"heads of {v.shape[3]}, at most {MAX_DIM}"
    for t in (q, k, v, a, dt, state, slots, n_valid, node.outputs[0], *norm):
        if not t.layout.rows_contiguous:
            return f"{t}: strides {t.layout.strides}, the last one is not 1"
    for t, other in ((q, k), (beta, alpha)):
        if _strides(t) != _strides(other):
            return f"{t}: strides {t.layout.strides}, of {other} {other.layout.strides}"
    return _refuses_types(node, (8, 9))


def _refuses_norm(node: Node, features: Features) -> str:
    """A workgroup a head: too few of them for a GPU to scan many tokens, which the rule alone shares among more."""
    n_seqs, n_tokens, n_heads, _ = node.inputs[2].shape
    fewest = 1 if features.software else 128
    if n_tokens > FEW_TOKENS and n_seqs * n_heads < fewest:
        return f"{n_tokens} tokens of {n_seqs * n_heads} heads, at least {fewest} for more than {FEW_TOKENS} tokens"
    return _refuses_delta(node, features)


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
    q, _, v, beta, *_ = node.inputs
    state, norm, y = node.inputs[7], node.inputs[10:], node.outputs[0]
    n_seqs, n_tokens, n_heads, dim = v.shape
    rows = local // split * each
    n_groups = n_seqs * n_heads * (1 if norm else -(-dim // rows))
    gates = _strides(beta)
    push: tuple[Word, ...] = (n_seqs, n_tokens, state.shape[0])
    push += (*_strides(q)[:3], At(0), At(1), *_strides(v)[:3], At(2), *gates[:2], At(3), At(4), At(5), At(6))
    push += (state.layout.strides[0], At(7), At(8), At(9), *_strides(y)[:3], At(10))
    if norm:
        push += (*_strides(norm[1])[:3], At(12), At(11), float(node.attrs["eps"]))
    args = (*node.inputs[:10], y, *norm)
    variant = _variant(bool(norm), features.subgroup_size >= SPLIT)
    spec = (local, 0, 0, dim, n_heads, n_heads // q.shape[2], *gates[2:], split, each)
    return KernelCall(*variant, args, push, grid_of(n_groups), spec)


def _variant(norm: bool, subgroups: bool) -> Variant:
    return "delta_net", tuple((name, "") for name, on in (("NORM", norm), ("SUBGROUPS", subgroups)) if on)


KERNELS = (
    Kernel("causal_conv", _refuses_conv, _lower_conv, (("causal_conv", ()),)),
    Kernel("gated_delta_net", _refuses_delta, _lower_delta, (_variant(False, False), _variant(False, True))),
    Kernel("gated_delta_norm", _refuses_norm, _lower_delta, (_variant(True, False), _variant(True, True))),
)
