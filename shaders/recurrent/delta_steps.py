"""The gated delta rule in two steps by cooperative matrices: see delta_parts.comp and delta_scan.comp.

Operands are halves: the error of an output is about 1e-3 of its row's largest. Taken where a prompt is long enough that
two dispatches pay.
"""

from math import ceil

from ...runtime.ir.composites.recurrent.delta_parts import pays
from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ..kernel import Features, Kernel, KernelCall, Variant, grid_of, strides
from ..operands import FLOATS, INTS, Operand, Operands, strides_that_count
from .delta_args import TAKES, head_constants, slot_constants

PARTS: Variant = ("delta_parts", ())
SCAN: Variant = ("delta_scan", ())
N_SUBGROUPS = 8
DIMS = 64, 128  # of heads
CHUNK = 64
ROWS = 32  # of a state, a workgroup

_HALVES = Operand((DType.F16,)).contiguous.aligned(8)
_WHOLE = FLOATS.contiguous
_QUADS = FLOATS.rows.aligned(4)
_GIVES: Operands = {
    **dict.fromkeys(("w", "left", "grown", "p"), _HALVES),
    "u": _WHOLE,
    "ends": _WHOLE,
}


def _fits(features: Features, n_seqs: int, n_tokens: int, n_heads: int, dim: int) -> str:
    able = (16, 16, 16) in features.cooperative_matrix and features.float16
    if not able or features.subgroup_size < 8:
        return "steps: for devices with cooperative matrices of 16 x 16 x 16 halves"
    if N_SUBGROUPS * features.subgroup_size > features.max_workgroup or features.shared_nbytes < shared_nbytes(dim):
        return f"steps: {features.max_workgroup} invocations, {features.shared_nbytes} bytes of shared memory"
    fits = dim in DIMS and pays(n_seqs, n_tokens, n_heads, dim)
    return "" if fits else f"steps: {n_tokens} tokens, {n_heads} heads of {dim}"


def shared_nbytes(dim: int) -> int:
    """What delta_parts.comp declares, and delta_scan.comp, whichever is more."""
    halves = 16 * CHUNK * (dim // 8 + 1)
    parts = halves + max(halves, 16 * CHUNK * (CHUNK // 4 + 1)) + 16 * CHUNK * (CHUNK // 8 + 1) + 16 * CHUNK + 1024
    scan = 16 * ROWS * (dim // 8 + 1) + 16 * CHUNK * (ROWS // 8 + 1) + 4 * ROWS * dim + 4 * CHUNK * ROWS + 128
    return max(parts, scan)


def rule(node: Node, features: Features) -> str:
    """Of gated_delta_net and delta_parts: whether the rule is better taken in steps."""
    return _fits(features, *node.inputs[2].shape)


def _scan_rule(node: Node, features: Features) -> str:
    return _fits(features, *node.outputs[0].shape)


def _lower_parts(node: Node, features: Features) -> KernelCall:
    q, _, v, beta = node.inputs[:4]
    n_seqs, n_tokens, n_heads, _ = v.shape
    n_chunks = ceil(n_tokens / CHUNK)
    buffers = dict(zip((*PARTS_TAKES, *_GIVES), (*node.inputs, *node.outputs), strict=True))
    arguments = {
        **{f"{name}_at": t for name, t in buffers.items()},
        **dict(n_seqs=n_seqs, n_tokens=n_tokens, n_chunks=n_chunks),
        **strides("q", strides_that_count(q), "seq token head"),
        **strides("v", strides_that_count(v), "seq token head"),
        **strides("beta", strides_that_count(beta), "seq token"),
    }
    constants = {"local_size_x": N_SUBGROUPS * features.subgroup_size, **head_constants(node)}
    return KernelCall(*PARTS, buffers, arguments, grid_of(n_chunks * n_heads * n_seqs), constants)


def _lower_scan(node: Node, features: Features) -> KernelCall:
    state, slots, y = node.inputs[6], node.inputs[7], node.outputs[0]
    n_seqs, n_tokens, n_heads, dim = y.shape
    buffers = dict(zip((*SCAN_TAKES, "y"), (*node.inputs, y), strict=True))
    arguments = {
        **{f"{name}_at": t for name, t in buffers.items()},
        **dict(n_seqs=n_seqs, n_tokens=n_tokens, n_chunks=ceil(n_tokens / CHUNK), n_slots=state.shape[0]),
        **strides("y", strides_that_count(y), "seq token head"),
        "state_slot": state.layout.strides[0],
    }
    local = ROWS // 16 * 4 * features.subgroup_size
    constants = {"local_size_x": local, "DIM": dim, "N_HEADS": n_heads, "ROWS": ROWS, **slot_constants(slots)}
    return KernelCall(*SCAN, buffers, arguments, grid_of(dim // ROWS * n_heads * n_seqs), constants)


PARTS_TAKES: Operands = {
    "q": _QUADS,
    "k": _QUADS.strided_as("q"),
    "v": _QUADS,
    **{name: TAKES[name] for name in ("beta", "alpha", "a", "dt", "n_valid")},
}
SCAN_TAKES: Operands = {**_GIVES, "state": FLOATS.rows.aligned(4), "slots": INTS, "n_valid": INTS.rows}

KERNELS = (
    Kernel("delta_parts", PARTS_TAKES, _GIVES, _lower_parts, (PARTS,), rule, frozenset({"tiled"})),
    Kernel(
        "delta_scan",
        SCAN_TAKES,
        {"y": FLOATS.rows, "written": FLOATS.rows.aligned(4)},
        _lower_scan,
        (SCAN,),
        _scan_rule,
    ),
)
