"""Blocks: rows of a block type that are dequantised and quantised only where indexed, for the numpy reference."""

from math import prod

import numpy as np

from ..dtypes import DType
from ..layout import Shape
from ..quants import dequantise, rounded


class Blocks:
    """Rows of a block type as bytes [..., row_nbytes], read as float32 [..., n]."""

    def __init__(self, raw: np.ndarray, dtype: DType, n: int) -> None:
        self.raw, self.dtype, self.n = raw, dtype, n

    @property
    def shape(self) -> Shape:
        return (*self.raw.shape[:-1], self.n)

    @property
    def ndim(self) -> int:
        return self.raw.ndim

    def __getitem__(self, index) -> np.ndarray:
        """Index by leading axes only."""
        rows = self.raw[index]
        flat = np.ascontiguousarray(rows).reshape(-1)
        return dequantise(flat, self.dtype, prod(rows.shape[:-1]) * self.n).reshape(*rows.shape[:-1], self.n)

    def __setitem__(self, index, values: np.ndarray) -> None:
        """Rows by leading axes, quantised."""
        self.raw[index] = rounded(values, self.dtype)

    def copy(self) -> "Blocks":
        return Blocks(self.raw.copy(), self.dtype, self.n)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[...]
