"""Kernels of mul_mat and mul_mat_id: fast ones first, the plain one that takes everything last.

A stem of shaders, the devices and shapes it is for, and its tile; each takes the arguments of mul_mat_args.glsl.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ...runtime.ir.graph import Node
from ..kernel import Defines, Features, Kernel, KernelCall
from . import mul_mats
from .mul_mat_args import (
    WEIGHT_TYPES,
    ceil_div,
    defines_of,
    is_grouped,
    lanes_tile,
    lower_product,
    operands_of,
    takes_rows,
    takes_type,
    vec_tile,
)

LANES = 8  # of a subgroup that lanes.glsl asks for
VECTOR_COLS = 32  # columns up to which a GPU computes by rows, at most 8 of them at a time
TILE_ROWS = 64


@dataclass(frozen=True)
class Way:
    """One way to run a product. `groups` and `spec` follow from the operands."""

    op: str
    stem: str
    refuses: Callable[[Node, Features], str]
    shape: Callable[[Node, Features], tuple[int, tuple[int, ...]]]
    flags: Callable[[Features], tuple[str, ...]] = lambda features: ()
    all_flags: tuple[tuple[str, ...], ...] = ((),)

    def kernel(self) -> Kernel:
        return Kernel(self.op, self.refuses, self.lower, tuple((self.stem, d) for d in self._defines()))

    def lower(self, node: Node, features: Features) -> KernelCall:
        n_groups, spec = self.shape(node, features)
        return lower_product(node, self.stem, self.flags(features), n_groups, spec)

    def _defines(self) -> list[Defines]:
        return [defines_of(t, self.op, *flags) for t in WEIGHT_TYPES for flags in self.all_flags]


def _plain_shape(node: Node, features: Features) -> tuple[int, tuple[int, ...]]:
    p, local = operands_of(node), LANES if features.software else 64
    return ceil_div(p.n_rows, local) * p.n_cols * p.n_batch, (local,)


def _lanes_refuses(node: Node, features: Features) -> str:
    if not features.software or features.subgroup_size < LANES:
        return f"lanes: for CPUs with subgroups of {LANES}"
    return takes_rows(node)


def _lanes_shape(node: Node, features: Features) -> tuple[int, tuple[int, ...]]:
    p = operands_of(node)
    rows, cols = lanes_tile(p.n_cols, node.inputs[0].dtype)
    return ceil_div(p.n_rows, LANES * rows) * ceil_div(p.n_cols, cols) * p.n_batch, (LANES, rows, cols)


def _grouped_refuses(node: Node, features: Features) -> str:
    return "" if is_grouped(node) else "grouped: few columns an expert"


def _grouped_lanes_refuses(node: Node, features: Features) -> str:
    return _lanes_refuses(node, features) or _grouped_refuses(node, features)


def _grouped_lanes_shape(node: Node, features: Features) -> tuple[int, tuple[int, ...]]:
    p, n_experts = operands_of(node), node.inputs[0].shape[0]
    rows, cols = lanes_tile(4, node.inputs[0].dtype)
    return ceil_div(p.n_rows, LANES * rows) * n_experts, (LANES, rows, cols)


def _gpu_refuses(node: Node, features: Features) -> str:
    return "for GPUs" if features.software else takes_rows(node)


def _vector_refuses(node: Node, features: Features) -> str:
    n_cols = operands_of(node).n_cols
    return f"vector: {n_cols} columns" if n_cols > VECTOR_COLS else _gpu_refuses(node, features)


def _vector_shape(node: Node, features: Features) -> tuple[int, tuple[int, ...]]:
    """A workgroup of one or two subgroups takes an octet of each of its rows an invocation and step."""
    p = operands_of(node)
    local = 32 if features.subgroup_size == 32 and p.n_inner <= 1024 else 64
    rows, cols = vec_tile(p.n_cols, features)
    return ceil_div(p.n_rows, rows) * ceil_div(p.n_cols, cols) * p.n_batch, (local, rows, cols)


def _subgroups(features: Features) -> tuple[str, ...]:
    return ("SUBGROUPS",) if features.subgroup_size else ()


def _tile_shape(node: Node, features: Features) -> tuple[int, tuple[int, ...]]:
    p = operands_of(node)
    quads = 2 if p.n_cols > 32 else 1
    return ceil_div(p.n_rows, TILE_ROWS) * ceil_div(p.n_cols, 32 * quads) * p.n_batch, (quads,)


def _grouped_tile_refuses(node: Node, features: Features) -> str:
    return _gpu_refuses(node, features) or _grouped_refuses(node, features)


def _grouped_tile_shape(node: Node, features: Features) -> tuple[int, tuple[int, ...]]:
    return ceil_div(operands_of(node).n_rows, TILE_ROWS) * node.inputs[0].shape[0], (1,)


_SUMS = ((), ("SUBGROUPS",))

WAYS = (
    Way("mul_mat", "mul_mat_lanes", _lanes_refuses, _lanes_shape),
    Way("mul_mat", "mul_mat_vec", _vector_refuses, _vector_shape, _subgroups, _SUMS),
    Way("mul_mat", "mul_mat_tile", _gpu_refuses, _tile_shape),
    Way("mul_mat", "mul_mat", lambda node, features: takes_type(node), _plain_shape),
    Way("mul_mat_id", "mul_mat_id_lanes", _grouped_lanes_refuses, _grouped_lanes_shape),
    Way("mul_mat_id", "mul_mat_lanes", _lanes_refuses, _lanes_shape),
    Way("mul_mat_id", "mul_mat_id_tile", _grouped_tile_refuses, _grouped_tile_shape),
    Way("mul_mat_id", "mul_mat_vec", _vector_refuses, _vector_shape, _subgroups, _SUMS),
    Way("mul_mat_id", "mul_mat", lambda node, features: takes_type(node), _plain_shape),
)

KERNELS: tuple[Kernel, ...] = (*(way.kernel() for way in WAYS), *mul_mats.KERNELS)
