"""The host's side of rows.glsl: a workgroup a row, its lanes, and what they hold of it.

A kernel along rows has a variant that reduces with subgroup arithmetic and a plain one that reduces in shared memory.
"""

from collections.abc import Sequence
from math import prod

from ...runtime.ir.layout import Layout
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, At, Defines, Features, KernelCall, Variant, grid_of
from .walk import four

N_SUBGROUPS, PLAIN_LANES = 64, 256
HELD, HELD_SOFTWARE = 16, 64  # columns a lane
SUBGROUPS: Defines = (("SUBGROUPS", ""),)


def lanes_of_row(n_cols: int, features: Features) -> int:
    """Invocations for a row: a power of two that leaves each about eight columns; a subgroup at least, if there is one.

    On a CPU all lanes are one thread's, and what is no wider than its subgroup needs no barrier.
    """
    if features.software:
        return features.subgroup_size or 8
    subgroups = uses_subgroups(features)
    most = min(1024, N_SUBGROUPS * features.subgroup_size) if subgroups else PLAIN_LANES
    most = 1 << min(most, features.max_workgroup).bit_length() - 1
    return min(most, max(features.subgroup_size or 32, 1 << (n_cols // 8).bit_length()))


def _held(n_cols: int, lanes: int, features: Features) -> tuple[int, int]:
    """HELD_COLS and KNOWN_COLS: rows that fit into so many registers a lane are read once.

    On a CPU one pipeline serves all short rows.
    """
    if features.software:
        return (HELD_SOFTWARE * lanes, 0) if n_cols <= HELD_SOFTWARE * lanes else (0, 0)
    return (n_cols, n_cols) if n_cols <= HELD * lanes else (0, 0)


def uses_subgroups(features: Features) -> bool:
    """So many lanes at least that the subgroups of a usual workgroup have room in rows.glsl."""
    return features.subgroup_size >= 4


def both_reductions(*variants: Variant) -> tuple[Variant, ...]:
    return tuple((stem, (*defines, *more)) for stem, defines in variants for more in ((), SUBGROUPS))


def rows_words(*layouts: Layout) -> tuple[Argument, ...]:
    """ROWS of the first layout, then ROW_STRIDES of each."""
    shape = four(layouts[0].shape, 1)
    n_rows = shape[0] * shape[1] * shape[2]
    strides = (w for i, a in enumerate(layouts) for w in row_strides(a, i))
    return n_rows, shape[3], shape[1], shape[2], *strides


def row_strides(layout: Layout, buffer: int) -> tuple[Argument, ...]:
    """ROW_STRIDES of the tensor in a buffer."""
    return (*four(layout.strides, 0), At(buffer))


def n_rows_of(x: Tensor) -> int:
    return prod(x.shape[:-1])


def row_call(
    variant: Variant, tensors: Sequence[Tensor], features: Features, arguments: tuple[Argument, ...]
) -> KernelCall:
    """A dispatch of a workgroup a row of the first tensor; the arguments begin with ROWS."""
    n_cols, (stem, defines) = tensors[0].shape[-1], variant
    defines = (*defines, *(SUBGROUPS if uses_subgroups(features) else ()))
    lanes = lanes_of_row(n_cols, features)
    constants = lanes, *_held(n_cols, lanes, features)
    return KernelCall(stem, defines, tuple(tensors), arguments, grid_of(n_rows_of(tensors[0])), constants)
