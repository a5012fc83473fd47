"""Kernels of mul_mats, the projections of one input."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Constants, Features, Kernel, KernelCall, Variant, grid_of, placed
from ..operands import FLOATS, WEIGHTS
from .dots import LANES, MAX_COLS, defines, form_of, local_of, row_words, variants
from .matrices import takes_few
from .mul_mat_args import ceil_div, lanes_tile, vec_tile
from .mul_mat_conv import CONVOLVED, convolved
from .wide import FEWEST, takes_wide, wide_tile

MAX_WEIGHTS = 3
LEAST = 4  # invocations of a subgroup, for which normed.glsl has room
MOST_NORMED = 4  # columns: for more of them norms once, for all workgroups, are faster
_Q2_K, _Q3_K, _Q4_K, _Q5_K, _Q6_K = (DType[f"Q{n}_K"] for n in range(2, 7))
# Types of weights of one input in files as llama.cpp mixes them: values with more bits than queries and keys,
_MORE_BITS = ((_Q2_K, _Q3_K), (_Q2_K, _Q4_K), (_Q3_K, _Q4_K), (_Q3_K, _Q5_K), (_Q4_K, _Q5_K), (_Q4_K, _Q6_K))
_OF_EIGHT = tuple((t, DType.Q8_0) for t in (_Q2_K, _Q3_K, _Q4_K, _Q5_K, _Q6_K))  # keys and values beside eight experts,
_JOINED_FIRST = ((_Q4_K, _Q3_K), (_Q5_K, _Q4_K), (_Q6_K, _Q5_K))  # and queries, keys and values in one before a gate
MIXES = (*_MORE_BITS, (_Q5_K, _Q6_K), *_OF_EIGHT, *_JOINED_FIRST)


@dataclass(frozen=True)
class Parts:
    """The input, its weights, and what they make."""

    x: Tensor
    weights: Sequence[Tensor]
    outs: Sequence[Tensor]
    made_with: Sequence[Tensor] = ()  # what the input is multiplied by


def _plain_parts(node: Node) -> Parts:
    x, *weights = node.inputs
    return Parts(x, weights, node.outputs)


def _normed_parts(node: Node) -> Parts:
    x, norm, *weights = node.inputs
    return Parts(x, weights, node.outputs[1:], (norm,))


def _convolved_parts(node: Node) -> Parts:
    x, norm, _, _, _, _, *weights = node.inputs
    y, _, _, *others = node.outputs
    return Parts(x, weights, (y.select(1, 0), *others), (norm,))


def _few_weights(node: Node, features: Features) -> str:
    return _joined(_plain_parts(node), features)


def _joined(parts: Parts, features: Features) -> str:
    n, n_cols = len(parts.weights), parts.x.shape[0]
    if not 1 < n <= MAX_WEIGHTS:
        return f"{n} weights, expected 2 to {MAX_WEIGHTS}"
    if takes_few(parts.weights, n_cols, features):
        return f"{n_cols} columns, better by matrices"
    return _mixed(parts.weights, features)


def _mixed(weights: Sequence[Tensor], features: Features) -> str:
    """Weights of two types: those of the first one first, on devices with subgroups."""
    types = [w.dtype for w in weights]
    first, last = types[0], types[-1]
    in_order = types == [first] * (n := types.count(first)) + [last] * (len(types) - n)
    if first is last and in_order:
        return ""
    if not in_order or (first, last) not in MIXES:
        return f"weights of {', '.join(t.name for t in types)}, expected one type or a known mix of two"
    return "" if _form(weights, 1, features) else "weights of two types: for devices with subgroups"


def _form(weights: Sequence[Tensor], n_cols: int, features: Features) -> tuple[str, ...]:
    """Those of two types have no form for short rows, nor one without subgroups."""
    form = form_of(features, *weights, n_cols=n_cols)
    if weights[0].dtype is weights[-1].dtype or "LANES" in form:
        return form
    if not takes_wide(features, *(w.shape[1] for w in weights)):
        return ()
    return ("WIDE", "DOT") if features.int_dot and n_cols == 1 else ("WIDE",)


def _norms(node: Node, features: Features) -> str:
    """On GPUs with subgroups, where each workgroup can norm the rows anew."""
    parts = _normed_parts(node) if node.op == "norm_mul_mats" else _convolved_parts(node)
    n_cols, n_inner = parts.x.shape
    empty = "" if n_inner else "rows of 0 numbers, whose norm is none"
    if n_cols > MOST_NORMED:
        return f"{n_cols} columns, better normed apart"
    return empty or for_subgroups(features, parts.weights[0].dtype) or _joined(parts, features)


def _norms_convolved(node: Node, features: Features) -> str:
    weights = _convolved_parts(node).weights
    mix = weights[0].dtype, weights[-1].dtype
    rare = mix[0] is not mix[1] and mix not in _JOINED_FIRST
    return f"weights of {mix[0].name} and {mix[1].name}" if rare else _norms(node, features)


def for_subgroups(features: Features, dtype: DType) -> str:
    """Rare types have one form for subgroups, see dots.py."""
    least = FEWEST if dtype.is_rare else LEAST
    few = features.software or features.subgroup_size < least
    return f"for GPUs with subgroups of {least} or more" if few else ""


def _tile(
    x: Tensor, weights: Sequence[Tensor], made_with: Sequence[Tensor], features: Features
) -> tuple[int, Constants]:
    """Workgroups, and the constants that say what each does."""
    (n, n_inner), form = x.shape, _form(weights, x.shape[0], features)
    if "WIDE" in form:
        tile = wide_tile(sum(w.shape[0] for w in weights), n, n_inner, features, weights[0].dtype)
        groups, run = tile.runs(_n_tiles(weights, tile.tile_rows))
        return groups * ceil_div(n, tile.cols), tile.spec(weights, (x,), features, run, made_with)
    local = LANES if "LANES" in form else local_of(n_inner, features)
    rows, cols = lanes_tile(n, weights[0].dtype) if "LANES" in form else vec_tile(n, "SUBGROUPS" in form)
    if "LANES" in form and not weights[0].dtype.is_quantised:
        rows = min(cols, 2)
    tile_rows = local * rows if "LANES" in form else rows
    constants = {"local_size_x": local, "ROWS": rows, "COLS": cols}
    return _n_tiles(weights, tile_rows) * ceil_div(n, cols), constants


def _n_tiles(weights: Sequence[Tensor], rows: int) -> int:
    return sum(ceil_div(w.shape[0], rows) for w in weights)


def _call(parts: Parts, features: Features) -> KernelCall:
    x, missing = parts.x, MAX_WEIGHTS - len(parts.weights)
    (n_cols, n_inner), types = x.shape, [w.dtype for w in parts.weights]
    n_rows = [*(w.shape[0] for w in parts.weights), *[0] * missing]
    buffers: dict[str, Tensor] = {"x": x}
    arguments: dict[str, Argument] = {"n_cols": n_cols, "n_inner": n_inner, **placed("x", x, "col")}
    for i, n in enumerate(n_rows):  # the last weight once more, without rows, in the place of each that is missing
        w, y = (ts[min(i, len(ts) - 1)] for ts in (parts.weights, parts.outs))
        buffers |= {f"w{i}": w, f"y{i}": y}
        arguments |= {f"w_at{i}": w, f"w_row{i}": row_words(w)[0], f"n_rows{i}": n}
        arguments |= {f"y_at{i}": y, f"y_col{i}": y.layout.strides[0]}
    groups, constants = _tile(x, parts.weights, parts.made_with, features)
    flags = defines(types[0], types[-1], _form(parts.weights, n_cols, features))
    constants = {**constants, "N_FIRST": types.count(types[0])}
    return KernelCall("mul_mats", flags, buffers, arguments, grid_of(groups), constants)


def _lower(node: Node, features: Features) -> KernelCall:
    return _call(_plain_parts(node), features)


def _lower_normed(node: Node, features: Features) -> KernelCall:
    call = _call(_normed_parts(node), features)
    return _normed(call, node.inputs[1], node.outputs[0], node.attrs["eps"])


def _normed(call: KernelCall, norm: Tensor, normed: Tensor, eps: float) -> KernelCall:
    return replace(
        call,
        defines=(*call.defines, ("NORM", "")),
        buffers={**call.buffers, "norm": norm, "normed": normed},
        arguments={**call.arguments, "norm_at": norm, **placed("normed", normed, "col"), "eps": float(eps)},
    )


def _lower_convolved(node: Node, features: Features) -> KernelCall:
    (_, norm, conv, state, slots, tails, *_), normed = node.inputs, node.outputs[2]
    call = _normed(_call(_convolved_parts(node), features), norm, normed, node.attrs["eps"])
    return convolved(call, conv, state, slots, tails)


def _mixed_variants(*forms: tuple[str, ...], mixes: Sequence[tuple[DType, DType]] = MIXES) -> list[Variant]:
    return [("mul_mats", defines(*mix, form)) for mix in mixes for form in forms]


def _subgroup_variants(*flags: str, mixes: Sequence[tuple[DType, DType]]) -> list[Variant]:
    """Of the forms for subgroups of GPUs."""
    made = [*variants("mul_mats", ((t, t) for t in WEIGHTS.dtypes)), *_mixed_variants(*_WIDE, mixes=mixes)]
    more = tuple((flag, "") for flag in flags)
    return [(stem, (*d, *more)) for stem, d in made if {"WIDE", "SUBGROUPS"} & {name for name, _ in d}]


_WIDE = ("WIDE", "DOT"), ("WIDE",)
_X, _W = FLOATS.rows.axis(0, most=MAX_COLS), WEIGHTS.rows

KERNELS = (
    Kernel(
        "mul_mats",
        {"x": _X, "w*": _W},
        {"y*": FLOATS.rows},
        _lower,
        [*variants("mul_mats", ((t, t) for t in WEIGHTS.dtypes)), *_mixed_variants(("LANES",), *_WIDE)],
        _few_weights,
    ),
    Kernel(
        "norm_mul_mats",
        {"x": _X, "norm": FLOATS.rows, "w*": _W},
        {"normed": FLOATS.rows, "y*": FLOATS.rows},
        _lower_normed,
        _subgroup_variants("NORM", mixes=MIXES),
        _norms,
    ),
    Kernel(
        "norm_mul_mats_conv",
        {"x": _X, "norm": FLOATS.rows, **CONVOLVED, "w*": _W},
        {"y": FLOATS.rows, "written": FLOATS.rows, "normed": FLOATS.rows, "y*": FLOATS.rows},
        _lower_convolved,
        _subgroup_variants("NORM", "CONV", mixes=_JOINED_FIRST),
        _norms_convolved,
    ),
)
