"""Kernels of mul_mat and mul_mat_id: fast ones first, the plain one that takes everything last.

A stem of shaders, the devices and shapes it is for, and its tile; each takes the arguments of mul_mat_args.glsl.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...runtime.ir.graph import Node
from ..kernel import Constants, Defines, Features, Kernel, KernelCall, placed
from ..operands import FLOATS, INTS, WEIGHTS, Operands
from . import glu_mul_mat, matrices, mul_mat_conv, mul_mats
from .dots import FORMS, form_of, has_form, local_of, most_tokens
from .mul_mat_args import (
    ceil_div,
    defines_of,
    is_grouped,
    lanes_tile,
    lower_product,
    operands_of,
    vec_tile,
)
from .wide import wide_experts, wide_tile

LANES = 8  # of a subgroup that lanes.glsl asks for
VECTOR_COLS = 32  # columns up to which a GPU computes by rows, at most 8 of them at a time
VECTOR_ROWS = 4  # rows up to which it does so however many columns there are
TILE_ROWS = 64


@dataclass(frozen=True)
class Way:
    """One way to run a product. `shape`: workgroups and constants for its operands."""

    op: str
    stem: str
    takes: Operands
    rule: Callable[[Node, Features], str]
    shape: Callable[[Node, Features], tuple[int, Constants]]
    flags: Callable[[Node, Features], tuple[str, ...]] = lambda node, features: ()
    all_flags: tuple[tuple[str, ...], ...] = ((),)

    def kernel(self) -> Kernel:
        takes = self.takes | ({"ids": INTS} if self.op == "mul_mat_id" else {})
        return Kernel(self.op, takes, {"y": FLOATS}, self.lower, [(self.stem, d) for d in self._defines()], self.rule)

    def lower(self, node: Node, features: Features) -> KernelCall:
        n_groups, constants = self.shape(node, features)
        return lower_product(node, self.stem, self.flags(node, features), n_groups, constants)

    def _defines(self) -> list[Defines]:
        every = ((t, flags) for t in WEIGHTS.dtypes for flags in self.all_flags)
        return [defines_of(t, self.op, *flags) for t, flags in every if has_form(flags, t)]


def _tile(local: int, rows: int, cols: int) -> Constants:
    return {"local_size_x": local, "ROWS": rows, "COLS": cols}


def _for_all(_node: Node, _features: Features) -> str:
    return ""


def _plain_shape(node: Node, features: Features) -> tuple[int, Constants]:
    p, local = operands_of(node), LANES if features.software else 64
    return ceil_div(p.n_rows, local) * p.n_cols * p.n_batch, {"local_size_x": local}


def _for_cpus(_node: Node, features: Features) -> str:
    fits = features.software and features.subgroup_size >= LANES
    return "" if fits else f"lanes: for CPUs with subgroups of {LANES}"


def _lanes_shape(node: Node, features: Features) -> tuple[int, Constants]:
    p = operands_of(node)
    rows, cols = lanes_tile(p.n_cols, node.inputs[0].dtype)
    return ceil_div(p.n_rows, LANES * rows) * ceil_div(p.n_cols, cols) * p.n_batch, _tile(LANES, rows, cols)


def _grouped(node: Node, features: Features) -> str:
    return "" if is_grouped(node) else "grouped: few columns an expert"


def _grouped_for_cpus(node: Node, features: Features) -> str:
    return _for_cpus(node, features) or _grouped(node, features)


def _grouped_lanes_shape(node: Node, features: Features) -> tuple[int, Constants]:
    p, n_experts = operands_of(node), node.inputs[0].shape[0]
    rows, cols = lanes_tile(4, node.inputs[0].dtype)
    return ceil_div(p.n_rows, LANES * rows) * n_experts, _tile(LANES, rows, cols)


def _for_gpus(_node: Node, features: Features) -> str:
    return "for GPUs" if features.software else ""


def _few_cols(node: Node, features: Features) -> str:
    p = operands_of(node)
    many = p.n_cols > VECTOR_COLS and p.n_rows > VECTOR_ROWS
    return f"vector: {p.n_rows} rows, {p.n_cols} columns" if many else _for_gpus(node, features)


def _vector_shape(node: Node, features: Features) -> tuple[int, Constants]:
    p, w = operands_of(node), node.inputs[0]
    flags = _vector_flags(node, features)
    if "WIDE" in flags and node.op == "mul_mat_id":
        return _wide_experts_shape(node, features)
    if "WIDE" in flags:
        tile = wide_tile(p.n_rows, p.n_cols, p.n_inner, features, w.dtype)
        groups, run = tile.runs(ceil_div(p.n_rows, tile.tile_rows))
        return groups * ceil_div(p.n_cols, tile.cols) * p.n_batch, tile.spec((w,), (node.inputs[1],), features, run)
    rows, cols = vec_tile(p.n_cols, bool(flags))
    local = local_of(p.n_inner, features)
    return ceil_div(p.n_rows, rows) * ceil_div(p.n_cols, cols) * p.n_batch, _tile(local, rows, cols)


def _wide_experts_shape(node: Node, features: Features) -> tuple[int, Constants]:
    """Runs of tiles of each of a token's experts."""
    p, (w, x, _ids) = operands_of(node), node.inputs
    tile, (n_tokens, n_slots) = wide_experts(p.n_inner, features, w.dtype), p.batch
    n_tiles = ceil_div(p.n_rows, tile.tile_rows)
    run = min(n_tiles, tile.run_of_experts(n_tiles * n_slots, n_tokens))
    return ceil_div(n_tiles, run) * p.n_batch, tile.spec((w,), (x,), features, run)


def _vector_flags(node: Node, features: Features) -> tuple[str, ...]:
    return form_of(features, node.inputs[0], n_cols=operands_of(node).n_cols)


def _tile_shape(node: Node, features: Features) -> tuple[int, Constants]:
    p = operands_of(node)
    quads = 2 if p.n_cols > 32 else 1
    return ceil_div(p.n_rows, TILE_ROWS) * ceil_div(p.n_cols, 32 * quads) * p.n_batch, {"ROW_QUADS": quads}


def _grouped_for_gpus(node: Node, features: Features) -> str:
    n, most = operands_of(node).batch[0], most_tokens(features)
    if n <= most and "WIDE" in _vector_flags(node, features):
        return f"grouped: {n} tokens, at least {most + 1}"
    return _for_gpus(node, features) or _grouped(node, features)


def _grouped_tile_shape(node: Node, features: Features) -> tuple[int, Constants]:
    return ceil_div(operands_of(node).n_rows, TILE_ROWS) * node.inputs[0].shape[0], {"ROW_QUADS": 1}


_FORMS = FORMS[1:]  # dots.glsl's for GPUs

_ANY: Operands = {"w": WEIGHTS, "x": FLOATS}
_ROWS: Operands = {"w": WEIGHTS.rows, "x": FLOATS.rows}

WAYS = (
    Way("mul_mat", "mul_mat_lanes", _ROWS, _for_cpus, _lanes_shape),
    Way("mul_mat", "mul_mat_vec", _ROWS, _few_cols, _vector_shape, _vector_flags, _FORMS),
    Way("mul_mat", "mul_mat_tile", _ROWS, _for_gpus, _tile_shape),
    Way("mul_mat", "mul_mat", _ANY, _for_all, _plain_shape),
    Way("mul_mat_id", "mul_mat_id_lanes", _ROWS, _grouped_for_cpus, _grouped_lanes_shape),
    Way("mul_mat_id", "mul_mat_lanes", _ROWS, _for_cpus, _lanes_shape),
    Way("mul_mat_id", "mul_mat_id_tile", _ROWS, _grouped_for_gpus, _grouped_tile_shape),
    Way("mul_mat_id", "mul_mat_vec", _ROWS, _few_cols, _vector_shape, _vector_flags, _FORMS),
    Way("mul_mat_id", "mul_mat", _ANY, _for_all, _plain_shape),
)


def _lower_add(node: Node, features: Features) -> KernelCall:
    """mul_mat_vec of the product, which adds the residual."""
    w, x, residual = node.inputs
    call = _VECTOR.lower(replace(node, op="mul_mat", inputs=(w, x)), features)
    return replace(
        call,
        defines=(*call.defines, ("ADD", "")),
        buffers={**call.buffers, "residual": residual},
        arguments={**call.arguments, **placed("residual", residual, "col")},
    )


def _add_rule(node: Node, features: Features) -> str:
    w, x, _ = node.inputs
    if (n := x.shape[0]) > VECTOR_COLS or matrices.takes_few((w,), n, features):
        return f"{n} columns, better with the residual apart"
    return mul_mats.for_subgroups(features, w.dtype)


_VECTOR = next(way for way in WAYS if way.stem == "mul_mat_vec").kernel()
_FOR_SUBGROUPS = tuple(v for v in _VECTOR.variants if v[1][1:])
GLU = glu_mul_mat.kernel(_VECTOR.lower, _FOR_SUBGROUPS)
ADD = Kernel(
    "mul_mat_add",
    {"w": WEIGHTS.rows, "x": FLOATS.rows, "residual": FLOATS.rows},
    {"y": FLOATS.rows},
    _lower_add,
    [(stem, (*d, ("ADD", ""))) for stem, d in _FOR_SUBGROUPS],
    _add_rule,
)

KERNELS: tuple[Kernel, ...] = (
    *(*matrices.KERNELS, *(way.kernel() for way in WAYS)),
    *(*mul_mats.KERNELS, mul_mat_conv.KERNEL, ADD, GLU),
)
