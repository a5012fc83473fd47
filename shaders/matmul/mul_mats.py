"""Kernels of mul_mats, the projections of one input."""

from ...runtime.ir.graph import Node
from ..kernel import At, Features, Kernel, KernelCall, grid_of
from ..operands import FLOATS, WEIGHTS
from .dots import MAX_COLS, defines, form_of, local_of, row_words, tile_of, variants
from .mul_mat_args import ceil_div, lanes_tile, vec_tile

MAX_WEIGHTS = 3


def _few_weights(node: Node, _features: Features) -> str:
    n = len(node.inputs) - 1
    return "" if 1 < n <= MAX_WEIGHTS else f"{n} weights, expected 2 to {MAX_WEIGHTS}"


def _tile(node: Node, features: Features) -> tuple[int, int, int]:
    """Invocations, rows and columns of each, as mul_mat has them."""
    x, w, *_ = node.inputs
    local = local_of(x.shape[1], features)
    if "LANES" not in form_of(features):
        return local, *vec_tile(x.shape[0], features)
    rows, cols = lanes_tile(x.shape[0], w.dtype)
    return local, min(cols, 2) if not w.dtype.is_quantised else rows, cols


def _lower(node: Node, features: Features) -> KernelCall:
    x, *weights = node.inputs
    outs = list(node.outputs)
    n_rows = [w.shape[0] for w in weights]
    if len(weights) < MAX_WEIGHTS:  # the last one once more, without rows
        weights, outs, n_rows = [*weights, weights[-1]], [*outs, outs[-1]], [*n_rows, 0]
    local, rows, cols = _tile(node, features)
    tile = tile_of(local, rows, features)
    push = (
        *(At(i) for i in range(2 * MAX_WEIGHTS + 1)),
        *n_rows,
        *x.shape,
        *(row_words(w)[0] for w in weights),
        x.layout.strides[0],
        *(y.layout.strides[0] for y in outs),
    )
    groups = sum(ceil_div(n, tile) for n in n_rows) * ceil_div(x.shape[0], cols)
    flags = defines(weights[0].dtype, weights[0].dtype, form_of(features))
    return KernelCall("mul_mats", flags, (*weights, x, *outs), push, grid_of(groups), (local, rows, cols))


KERNELS = (
    Kernel(
        "mul_mats",
        {"x": FLOATS.rows.axis(0, most=MAX_COLS), "w*": WEIGHTS.rows.typed_as("w0")},
        {"y*": FLOATS.rows},
        _lower,
        variants("mul_mats", ((t, t) for t in WEIGHTS.dtypes)),
        _few_weights,
    ),
)
