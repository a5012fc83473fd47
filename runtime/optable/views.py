"""Views of a wanted shape over larger or reordered storages: what every op's cases are made of."""

from math import prod
from typing import Protocol

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from .case import Fill, Operand, normal


class Make(Protocol):
    """A way to view: an operand of a wanted shape."""

    def __call__(self, shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand: ...


def plain(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    return Operand(shape, dtype, fill=fill)


def permuted(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    """The last two axes stand in the storage the other way round, so that columns have a stride."""
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    return Operand(tuple(shape[a] for a in order), dtype, lambda t: t.permute(*order), fill)


def rows_apart(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    """Columns 3 to 3 + n of longer rows: an offset, and rows that do not follow each other."""
    n = shape[-1]
    return Operand((*shape[:-1], n + 5), dtype, lambda t: t.slice(-1, 3, 3 + n), fill)


def stepped(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    """Every second column, from the second on."""
    n = shape[-1]
    return Operand((*shape[:-1], 2 * n + 1), dtype, lambda t: t.slice(-1, 1, 2 * n + 1, 2), fill)


def outer_cut(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    """Entries 1, 3, 5, ... of the first axis: an offset, and a gap between the outermost parts."""
    n = shape[0]
    return Operand((2 * n + 1, *shape[1:]), dtype, lambda t: t.slice(0, 1, 2 * n + 1, 2), fill)


def outer_permuted(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    """The first and the last but one axis stand the other way round: heads and tokens. Of two axes: transposed."""
    last = len(shape) - 2
    if last < 1:
        return permuted(shape, dtype, fill)
    order = (last, *range(1, last), 0, len(shape) - 1)
    return Operand(tuple(shape[a] for a in order), dtype, lambda t: t.permute(*order), fill)


def broadcast(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    """One entry of the first axis, repeated with stride 0."""
    return Operand((1, *shape[1:]), dtype, lambda t: t.broadcast_to(*shape), fill)


def flat_offset(shape: Shape, dtype: DType = DType.F32, fill: Fill = normal) -> Operand:
    """Contiguous, but starting at the storage's eighth element."""
    n = prod(shape)
    return Operand((n + 9,), dtype, lambda t: t.slice(0, 7, 7 + n).reshape(*shape), fill)


VIEWS: dict[str, Make] = {
    "plain": plain,
    "offset": flat_offset,
    "rows apart": rows_apart,
    "stepped": stepped,
    "permuted": permuted,
    "outer cut": outer_cut,
    "outer permuted": outer_permuted,
    "broadcast": broadcast,
}
STRIDED = {name: make for name, make in VIEWS.items() if name != "plain"}


def named(shape: Shape) -> str:
    return "x".join(map(str, shape))


def one_inf(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ones with an infinity in the second row and a NaN in the last."""
    made = np.ones(shape, np.float32)
    made.reshape(-1, shape[-1])[1, 3], made.reshape(-1, shape[-1])[-1, 0] = np.inf, np.nan
    return made


def transpose(t):
    return t.permute(1, 0)


def swapped(*shape: int) -> Operand:
    """A tensor of `shape` whose last two axes stand transposed in memory."""
    axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    return Operand((*shape[:-2], shape[-1], shape[-2]), view=lambda t: t.permute(*axes))
