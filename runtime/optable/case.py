"""Case: one op on given dtypes, shapes, views and values. The table of cases feeds tests, `vkrun test-ops` and docs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..ir.dtypes import DType, to_bf16
from ..ir.layout import Shape
from ..ir.ops import OPS
from ..ir.quants import random_blocks
from ..ir.tensor import Tensor

Fill = Callable[[np.random.Generator, Shape], np.ndarray]
View = Callable[[Tensor], Tensor]


def normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def uniform(low: float, high: float) -> Fill:
    return lambda rng, shape: rng.uniform(low, high, shape).astype(np.float32)


def integers(low: int, high: int) -> Fill:
    """Ids in [low, high)."""
    return lambda rng, shape: rng.integers(low, high, shape, np.int32)


def values(*those: float) -> Fill:
    """The given values over and over: for edge values."""
    return lambda _rng, shape: np.resize(np.array(those, np.float32), shape)


def masked(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Zeros with about half -inf, and one row of -inf alone."""
    mask = np.where(rng.random(shape) < 0.5, 0, -np.inf).astype(np.float32)
    mask.reshape(-1, shape[-1])[0] = -np.inf
    return mask


def whole(t: Tensor) -> Tensor:
    return t


@dataclass(frozen=True)
class Operand:
    """An input: the storage's shape and dtype, the view that the op gets, and the storage's content, of block types
    random up to the amplitude. cached: of a block type, but no weight."""

    shape: Shape
    dtype: DType = DType.F32
    view: View = whole
    fill: Fill = normal
    cached: bool = False
    amplitude: float = 1.0

    def data(self, rng: np.random.Generator) -> np.ndarray:
        if self.dtype.is_quantised:
            rows = int(np.prod(self.shape[:-1]))
            return random_blocks(self.dtype, rows, self.shape[-1], rng, self.amplitude)
        made = self.fill(rng, self.shape)
        return to_bf16(made) if self.dtype is DType.BF16 else made.astype(self.dtype.numpy)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    what: what is special about it ("permuted", "offset", "2 x 7 broadcast"), printed when it fails.
    plain: every operand is whole and contiguous and so is the output; at least half the table is not.
    strided_out: the output's rows stand apart, as in a slice of a larger tensor.
    in_parts: the decomposition of a composite means the same here; not so for some edge values.
    in_one: a kernel takes it on every device; else some run it in parts.
    kept: operands, by index, that are made from each other, so that none is tried with other values alone.
    n_spare: operands, the last ones, that a device does without if it has no kernel for them: they change no meaning.
    guard: elements around an output that must keep their bits; where it starts, too.
    nmse, row: limits of sum((a-b)^2)/sum(b^2), and of each row's largest |a-b| against its largest |b|.
    """

    op: str
    what: str
    operands: tuple[Operand, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    strided_out: bool = False
    nmse: float = 1e-10
    row: float = 1e-4
    in_parts: bool = True
    in_one: bool = True
    n_spare: int = 0
    kept: frozenset[int] = frozenset()
    guard: int = 67

    def in_halves(self) -> "Case":
        """With the limits of kernels that round operands to halves, by 2^-11 of each number."""
        return replace(self, nmse=1e-6, row=3e-3)

    def in_bytes(self) -> "Case":
        """With the limits of integer dots (shaders/matmul/wide_dot.glsl), which round by up to the largest of 32
        numbers over 65,278: 2.5e-9 of their squares where that one is all there is, and more where products cancel:
        a row may be a single such number."""
        return replace(self, nmse=max(self.nmse, 5e-8), row=max(self.row, 2e-3))

    def in_blocks(self) -> "Case":
        """With the limits of kernels that round to Q8_0: a few codes by one, of 127 at most."""
        return replace(self, nmse=2e-5, row=9e-3)

    @property
    def plain(self) -> bool:
        return not self.strided_out and all(o.view is whole for o in self.operands) and not self._broadcasts

    @property
    def _broadcasts(self) -> bool:
        shapes = [o.shape for o in self.operands if o.dtype is DType.F32]
        return OPS[self.op].elementwise and len(set(shapes)) > 1
