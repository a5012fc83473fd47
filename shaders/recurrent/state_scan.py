"""Kernels of scans whose state need not be square: Mamba-2, Kimi delta attention."""

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Arguments, Constants, Features, Kernel, KernelCall, Variant, grid_of, placed
from ..operands import FLOATS, INTS, Operands
from .delta_args import slot_constants

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
GIVES: Operands = {"y": _ROWS, "written": _ROWS}
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
    return _call(features, node, given(node), {})


def given(node: Node) -> dict[str, Tensor]:
    """What a token brings, and the vectors, of mamba2."""
    return dict(zip(("x", "b", "c", "dt", "bias", "a", "d"), node.inputs, strict=False))


def _lower_kimi(node: Node, features: Features) -> KernelCall:
    return _call(features, node, *given_to_kimi(node))


def given_to_kimi(node: Node) -> tuple[dict[str, Tensor], Arguments]:
    """The same of kimi_delta, and where its gates stand."""
    q, k, v, beta, alpha, a, dt, *_ = node.inputs
    brought = {"x": v, "b": k, "c": q, "dt": beta, "bias": dt, "a": a, "d": alpha}
    return brought, placed("d", alpha, "seq token head")


def operands(node: Node, brought: dict[str, Tensor], more: Arguments) -> tuple[dict[str, Tensor], dict[str, Argument]]:
    """Buffers and arguments. brought: what a token brings and the vectors, as the shader names them; more: arguments of
    one variant alone."""
    (state, slots, n_valid), (x, b), y = node.inputs[-3:], (brought["x"], brought["b"]), node.outputs[0]
    buffers = {**brought, "state": state, "slots": slots, "n_valid": n_valid, "y": y}
    arguments: dict[str, Argument] = {
        **{f"{name}_at": t for name, t in buffers.items()},
        **dict(n_seqs=x.shape[0], n_tokens=x.shape[1], n_slots=state.shape[0]),
        **placed("x", x, "seq token head"),
        **placed("b", b, "seq token group"),
        **placed("dt", brought["dt"], "seq token head"),
        **placed("state", state, "slot"),
        **placed("y", y, "seq token head"),
        **more,
    }
    return buffers, arguments


def sizes(node: Node, x: Tensor, b: Tensor) -> Constants:
    """Of states, heads and slots."""
    n_heads, dim = x.shape[2:]
    shape = dict(DIM=dim, N_STATE=b.shape[3], N_HEADS=n_heads, SHARE=n_heads // b.shape[2])
    return {**shape, **slot_constants(node.inputs[-2])}


def _call(features: Features, node: Node, brought: dict[str, Tensor], more: Arguments) -> KernelCall:
    x, b = brought["x"], brought["b"]
    n_seqs, n_tokens, n_heads, dim = x.shape
    split = SPLIT if features.subgroup_size >= SPLIT else 1
    local = SPLIT if features.software else max(LANES, features.subgroup_size)
    each = forced or _rows_each(features, n_tokens, b.shape[3], split)
    constants = {"local_size_x": local, "SPLIT": split, "EACH": each, **sizes(node, x, b)}
    grid = grid_of(n_seqs * n_heads * -(-dim * split // (local * each)))
    return KernelCall(*_variant(split > 1, bool(more)), *operands(node, brought, more), grid, constants)


def _rows_each(features: Features, n_tokens: int, n_state: int, split: int) -> int:
    if not features.software or n_tokens < FEWEST_TOKENS:
        return 1
    return min(split, max(FEWEST_ROWS, HELD * split // n_state))


def _variant(subgroups: bool, delta: bool = False) -> Variant:
    return "state_scan", tuple((name, "") for name, on in (("DELTA", delta), ("SUBGROUPS", subgroups)) if on)


KERNELS = (
    Kernel("mamba2", MAMBA, GIVES, _lower, (_variant(False), _variant(True))),
    Kernel(
        "kimi_delta",
        KIMI,
        GIVES,
        _lower_kimi,
        (_variant(False, True), _variant(True, True)),
    ),
)
