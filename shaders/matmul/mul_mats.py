"""Kernels of mul_mats, the projections of one input."""

from collections.abc import Sequence

from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Constants, Features, Kernel, KernelCall, grid_of, placed
from ..operands import FLOATS, WEIGHTS
from .dots import LANES, MAX_COLS, defines, form_of, local_of, row_words, variants
from .mul_mat_args import ceil_div, lanes_tile, vec_tile
from .wide import is_aligned, wide_tile

MAX_WEIGHTS = 3


def _few_weights(node: Node, _features: Features) -> str:
    n = len(node.inputs) - 1
    return "" if 1 < n <= MAX_WEIGHTS else f"{n} weights, expected 2 to {MAX_WEIGHTS}"


def _tile(node: Node, features: Features) -> tuple[int, Constants]:
    """Workgroups, and the constants that say what each does."""
    x, *weights = node.inputs
    (n, n_inner), form = x.shape, form_of(features, *weights, n_cols=x.shape[0])
    if "WIDE" in form:
        tile = wide_tile(sum(w.shape[0] for w in weights), n, n_inner, features, weights[0].dtype)
        groups, run = tile.runs(_n_tiles(weights, tile.tile_rows))
        return groups * ceil_div(n, tile.cols), tile.spec(is_aligned(*weights), features, run)
    local = LANES if "LANES" in form else local_of(n_inner, features)
    rows, cols = lanes_tile(n, weights[0].dtype) if "LANES" in form else vec_tile(n, "SUBGROUPS" in form)
    if "LANES" in form and not weights[0].dtype.is_quantised:
        rows = min(cols, 2)
    tile_rows = local * rows if "LANES" in form else rows
    constants = {"local_size_x": local, "ROWS": rows, "COLS": cols}
    return _n_tiles(weights, tile_rows) * ceil_div(n, cols), constants


def _n_tiles(weights: Sequence[Tensor], rows: int) -> int:
    return sum(ceil_div(w.shape[0], rows) for w in weights)


def _lower(node: Node, features: Features) -> KernelCall:
    x, *weights = node.inputs
    outs = list(node.outputs)
    n_rows = [w.shape[0] for w in weights]
    if len(weights) < MAX_WEIGHTS:  # the last one once more, without rows
        weights, outs, n_rows = [*weights, weights[-1]], [*outs, outs[-1]], [*n_rows, 0]
    groups, constants = _tile(node, features)
    n_cols, n_inner = x.shape
    buffers: dict[str, Tensor] = {"x": x}
    arguments: dict[str, Argument] = {"n_cols": n_cols, "n_inner": n_inner, **placed("x", x, "col")}
    for i, (w, y, n) in enumerate(zip(weights, outs, n_rows, strict=True)):
        buffers |= {f"w{i}": w, f"y{i}": y}
        arguments |= {f"w_at{i}": w, f"w_row{i}": row_words(w)[0], f"n_rows{i}": n}
        arguments |= {f"y_at{i}": y, f"y_col{i}": y.layout.strides[0]}
    flags = defines(weights[0].dtype, weights[0].dtype, form_of(features, *weights, n_cols=n_cols))
    return KernelCall("mul_mats", flags, buffers, arguments, grid_of(groups), constants)


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
