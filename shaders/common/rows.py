"""The host's side of rows.glsl: a workgroup a row, its lanes, and what they hold of it.

A kernel along rows has a variant that reduces with subgroup arithmetic and a plain one that reduces in shared memory.
"""

from math import prod

from ...runtime.ir.layout import Layout
from ...runtime.ir.tensor import Tensor
from ..kernel import Argument, Arguments, Buffers, Constants, Defines, Features, KernelCall, Variant, grid_of, strides
from .walk import four

N_SUBGROUPS, PLAIN_LANES = 64, 256
HELD, HELD_SOFTWARE = 16, 64  # columns a lane
NOT_HELD: Constants = {"HELD_COLS": 0, "KNOWN_COLS": 0}
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


def _held(n_cols: int, lanes: int, features: Features) -> Constants:
    """Rows that fit into so many registers a lane are read once. On a CPU one pipeline serves all short rows."""
    if features.software:
        return {"HELD_COLS": HELD_SOFTWARE * lanes, "KNOWN_COLS": 0} if n_cols <= HELD_SOFTWARE * lanes else NOT_HELD
    return {"HELD_COLS": n_cols, "KNOWN_COLS": n_cols} if n_cols <= HELD * lanes else NOT_HELD


def uses_subgroups(features: Features) -> bool:
    """So many lanes at least that the subgroups of a usual workgroup have room in rows.glsl."""
    return features.subgroup_size >= 4


def both_reductions(*variants: Variant) -> tuple[Variant, ...]:
    return tuple((stem, (*defines, *more)) for stem, defines in variants for more in ((), SUBGROUPS))


def rows(tensors: Buffers) -> Arguments:
    """ROWS of the first tensor, then ROW_STRIDES of each."""
    _, size1, size2, n_cols = shape = four(next(iter(tensors.values())).shape, 1)
    arguments: dict[str, Argument] = {"n_rows": prod(shape[:3]), "n_cols": n_cols, "rows1": size1, "rows2": size2}
    for name, t in tensors.items():
        arguments |= row_strides(name, t)
    return arguments


def row_strides(name: str, t: Tensor, layout: Layout | None = None) -> Arguments:
    """ROW_STRIDES of a tensor, seen through another layout that starts where it does."""
    return strides(name, (t, *four((layout or t.layout).strides, 0)), "at 0 1 2 col")


def n_rows_of(x: Tensor) -> int:
    return prod(x.shape[:-1])


def row_call(variant: Variant, buffers: Buffers, features: Features, arguments: Arguments) -> KernelCall:
    """A dispatch of a workgroup a row of the first tensor."""
    x, (stem, defines) = next(iter(buffers.values())), variant
    defines = (*defines, *(SUBGROUPS if uses_subgroups(features) else ()))
    lanes = lanes_of_row(x.shape[-1], features)
    constants = {"local_size_x": lanes, **_held(x.shape[-1], lanes, features)}
    return KernelCall(stem, defines, buffers, arguments, grid_of(n_rows_of(x)), constants)
