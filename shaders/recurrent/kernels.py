"""Kernels of the delta net: the convolution in front of it, the gated delta rule, and the rule with its norm."""

from dataclasses import replace

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..common.rows import NOT_HELD
from ..kernel import Defines, Features, Kernel, KernelCall, Variant, fills_subgroup, grid_of, placed, strides
from ..operands import FLOATS, INTS, strides_that_count
from . import delta_chunks, delta_steps, kimi_chunks, state_chunks, state_scan
from .delta_args import GIVES, N_OPERANDS, NORM, OPTIONS, TAKES, delta_constants, delta_operands

MAX_TAPS = 16  # held in registers
HELD = 64  # numbers of the state that a lane of a CPU holds
RUN = 32  # tokens of a convolution that an invocation takes one after the other
FEW_TOKENS = 100
BIAS: Defines = (("BIAS", ""),)
ROWS_EACH, MOST_DIM = 2, 128  # of delta_token.comp
SPLIT = 8  # lanes that hold a row of the state: no device has smaller subgroups


# the convolution


def _lower_conv(node: Node, features: Features) -> KernelCall:
    x, w, state, slots, tails, *bias = node.inputs
    if slots.ndim == 1:
        slots, tails = slots.unsqueeze(1), tails.unsqueeze(1)
    buffers = {"x": x, "w": w, "state": state, "slots": slots, "tails": tails, "y": node.outputs[0]}
    n_seqs, n_tokens, n_channels = x.shape
    n_runs = -(-n_tokens // RUN)
    arguments = {
        **dict(n_seqs=n_seqs, n_tokens=n_tokens, n_channels=n_channels),
        **dict(n_slots=state.shape[0], n_runs=n_runs, run_length=RUN, n_places=slots.shape[1]),
        **placed("x", x, "seq token channel"),
        **placed("w", w, "channel tap"),
        **placed("state", state, "slot column"),
        **placed("slots", slots, "seq place"),
        **placed("tails", tails, "seq place column"),
        **placed("y", node.outputs[0], "seq token channel"),
    }
    for b in bias:
        buffers["bias"] = b
        arguments |= placed("bias", b, "channel")
    local = 64 if n_tokens == 1 or not features.software else 8
    grid = grid_of(-(-n_channels // local) * n_runs * n_seqs)
    constants = {"local_size_x": local, "TAPS": w.shape[1], "LINEAR": int(node.attrs.get("linear", False))}
    return KernelCall("causal_conv", BIAS if bias else (), buffers, arguments, grid, constants)


# the delta rule


def _norm_pays(node: Node, features: Features) -> str:
    """A workgroup a head: too few of them for a GPU to scan many tokens, which the rule alone shares among more."""
    n_seqs, n_tokens, n_heads, _ = node.inputs[2].shape
    if not delta_steps.rule(node, features) or not delta_chunks.rule(node, features):
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
    buffers, arguments = delta_operands(node)
    if norm:
        w, gate = node.inputs[N_OPERANDS:]
        buffers |= {"w": w, "gate": gate}
        arguments |= strides("gate", (gate, *strides_that_count(gate)), "at seq token head")
        arguments |= {"w_at": w, "eps": float(node.attrs["eps"])}
    variant = _variant(norm, features.subgroup_size >= SPLIT)
    constants = {"local_size_x": local, **NOT_HELD, "SPLIT": split, "EACH": each, **delta_constants(node)}
    return KernelCall(*variant, buffers, arguments, grid_of(n_groups), constants)


def _one_token(node: Node, features: Features) -> str:
    """delta_token.comp's: a token, no snapshots, heads that lanes share evenly."""
    _, n_tokens, _, dim = node.inputs[2].shape
    if features.software or features.subgroup_size < SPLIT:
        return f"a token at once: for GPUs with subgroups of {SPLIT} or more"
    n_slots = node.inputs[8].shape[1] if node.inputs[8].ndim > 1 else 1
    fits = (
        n_tokens == 1 and n_slots == 1 and dim % (4 * SPLIT) == 0 and dim // ROWS_EACH * SPLIT <= features.max_workgroup
    )
    return "" if fits and dim <= MOST_DIM else f"{n_tokens} tokens of heads of {dim}, {n_slots} slots"


def _lower_token(node: Node, features: Features) -> KernelCall:
    dim = node.inputs[2].shape[3]
    call = _delta_call(node, features, dim // ROWS_EACH * SPLIT, SPLIT, ROWS_EACH)
    return replace(call, stem="delta_token", defines=())


def _variant(norm: bool, subgroups: bool) -> Variant:
    return "delta_net", tuple((name, "") for name, on in (("NORM", norm), ("SUBGROUPS", subgroups)) if on)


def _four(t: Tensor) -> Tensor:
    for _ in range(4 - t.ndim):
        t = t.unsqueeze(0)
    return t


def _solve_tri(node: Node, features: Features) -> KernelCall:
    local, (a, b), (x,) = fills_subgroup(features), node.inputs, node.outputs
    n_batch0, n_batch1, n, m = _four(x).shape
    arguments = {
        **dict(n_batch0=n_batch0, n_batch1=n_batch1, n=n, m=m),
        **placed("a", _four(a), "0 1 row col"),
        **placed("b", _four(b), "0 1 row col"),
        **placed("x", _four(x), "0 1 row col"),
    }
    grid = grid_of(-(-m // local) * n_batch0 * n_batch1)
    return KernelCall("solve_tri", (), {"a": a, "b": b, "x": x}, arguments, grid, {"local_size_x": local})


def _ssm_conv(node: Node, features: Features) -> KernelCall:
    local, (x, w), (y,) = fills_subgroup(features), node.inputs, node.outputs
    n_batch, n_tokens, n_channels = y.shape
    arguments = {
        **dict(n_batch=n_batch, n_tokens=n_tokens, n_channels=n_channels, n_taps=w.shape[1]),
        **placed("x", x, "batch token channel"),
        **placed("w", w, "channel tap"),
        **placed("y", y, "batch token channel"),
    }
    grid = grid_of(-(-n_channels // local) * n_batch * n_tokens)
    return KernelCall("ssm_conv", (), {"x": x, "w": w, "y": y}, arguments, grid, {"local_size_x": local})


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
    *state_chunks.KERNELS,
    *kimi_chunks.KERNELS,
    *state_scan.KERNELS,
    *delta_steps.KERNELS,
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
        TAKES | NORM | {name: TAKES[name].aligned(4) for name in ("q", "k", "state")},
        GIVES,
        _lower_token,
        (("delta_token", ()),),
        _one_token,
        OPTIONS,
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
