"""Kernels of scans whose state need not be square: Mamba-2, Kimi delta attention."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Arguments, Features, Kernel, KernelCall, Variant, grid_of, placed
from ..operands import FLOATS, INTS, Operands

MAX_STATE = 256
LANES, SPLIT = 64, 8  # of a workgroup, and those that hold a row: no device has smaller subgroups
HELD = 64  # numbers of the state that a lane of a CPU holds, or of FEWEST_ROWS, as it is slow to read what rows share
FEWEST_ROWS = 4
FEWEST_TOKENS = 16  # for which that is worth its compiling
forced: int | None = None  # rows of a lane whatever the shape, for those who measure

_ROWS = FLOATS.rows
MAMBA: Operands = {
    "x": _ROWS,
    "b": _ROWS.axis(3, most=MAX_STATE),
    "c": _ROWS.strided_as("b"),
    "dt": FLOATS,
    "bias": _ROWS,
    "a": _ROWS,
    "d": _ROWS,
    "state": _ROWS,
    "slots": INTS,
    "n_valid": INTS.rows,
}


KIMI: Operands = {
    "q": _ROWS.axis(3, most=MAX_STATE),
    "k": _ROWS.strided_as("q"),
    "v": _ROWS,
    "beta": FLOATS,
    "alpha": _ROWS,
    "a": _ROWS,
    "dt": _ROWS,
    "state": _ROWS,
    "slots": INTS,
    "n_valid": INTS.rows,
}


def _lower(node: Node, features: Features) -> KernelCall:
    x, b, c, dt, bias, a, d, *_ = node.inputs
    return _call(features, node, {"x": x, "b": b, "c": c, "dt": dt, "bias": bias, "a": a, "d": d}, {})


def _lower_kimi(node: Node, features: Features) -> KernelCall:
    q, k, v, beta, alpha, a, dt, *_ = node.inputs
    given = {"x": v, "b": k, "c": q, "dt": beta, "bias": dt, "a": a, "d": alpha}
    return _call(features, node, given, placed("d", alpha, "seq token head"))


def _call(features: Features, node: Node, given: dict[str, Tensor], more: Arguments) -> KernelCall:
    """given: what a token brings and the vectors, as the shader names them; more: arguments of one variant alone."""
    (state, slots, n_valid), (x, b), y = node.inputs[-3:], (given["x"], given["b"]), node.outputs[0]
    slots, (n_seqs, n_tokens, n_heads, dim) = slots if slots.ndim == 2 else slots.unsqueeze(1), x.shape
    buffers = {**given, "state": state, "slots": slots, "n_valid": n_valid, "y": y}
    arguments: dict[str, Argument] = {
        **{f"{name}_at": t for name, t in buffers.items()},
        **dict(n_seqs=n_seqs, n_tokens=n_tokens, n_slots=state.shape[0]),
        **placed("x", x, "seq token head"),
        **placed("b", b, "seq token group"),
        **placed("dt", given["dt"], "seq token head"),
        **placed("state", state, "slot"),
        **placed("y", y, "seq token head"),
        **more,
    }
    split = SPLIT if features.subgroup_size >= SPLIT else 1
    local = SPLIT if features.software else max(LANES, features.subgroup_size)
    each = forced or _rows_each(features, n_tokens, b.shape[3], split)
    constants = {
        **dict(local_size_x=local, SPLIT=split, DIM=dim, N_STATE=b.shape[3], N_HEADS=n_heads),
        **dict(SHARE=n_heads // b.shape[2], SLOTS_SEQ=slots.layout.strides[0], SLOTS_COLUMN=slots.layout.strides[1]),
        "N_SNAPSHOTS": slots.shape[1] - 1,
        "EACH": each,
    }
    grid = grid_of(n_seqs * n_heads * -(-dim * split // (local * each)))
    return KernelCall(*_variant(split > 1, bool(more)), buffers, arguments, grid, constants)


def _rows_each(features: Features, n_tokens: int, n_state: int, split: int) -> int:
    if not features.software or n_tokens < FEWEST_TOKENS:
        return 1
    return min(split, max(FEWEST_ROWS, HELD * split // n_state))


def _variant(subgroups: bool, delta: bool = False) -> Variant:
    return "state_scan", tuple((name, "") for name, on in (("DELTA", delta), ("SUBGROUPS", subgroups)) if on)


KERNELS = (
    Kernel("mamba2", MAMBA, {"y": _ROWS, "written": _ROWS}, _lower, (_variant(False), _variant(True))),
    Kernel(
        "kimi_delta",
        KIMI,
        {"y": _ROWS, "written": _ROWS},
        _lower_kimi,
        (_variant(False, True), _variant(True, True)),
    ),
)
