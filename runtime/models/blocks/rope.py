"""Rotary embedding: the table of angles, made on the host in fp64, since far positions lose bits in fp32."""

from dataclasses import dataclass

import numpy as np

from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..weights import Weights


@dataclass(frozen=True)
class Rope:
    """Turns the first n_dims of each head: table [n_ctx, n_dims]."""

    table: Tensor

    def __call__(self, g: Graph, x: Tensor, pos: Tensor) -> Tensor:
        return g.rope(x, pos, self.table)


def make_rope(weights: Weights, name: str, n_ctx: int, n_dims: int, base: float) -> Rope:
    frequencies = base ** (-np.arange(0, n_dims, 2, dtype=np.float64) / n_dims)
    return Rope(weights.constant(name, (n_ctx, n_dims), lambda first, stop: angle_rows(first, stop, frequencies)))


def angle_rows(first: int, stop: int, frequencies: np.ndarray) -> np.ndarray:
    """cos, then sin of pos * frequencies [n], rows first to stop: [stop - first, 2n]."""
    angles = np.arange(first, stop)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], 1)
