"""Rotary embedding (Su et al., 2021), and the ways in which it is stretched over longer texts.

The angles are a table made on the host in fp64, since far positions lose bits in fp32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..weights import Weights

Frequencies = Callable[[], np.ndarray]  # [n_dims / 2], asked for when the table is made


@dataclass(frozen=True)
class Rope:
    """Turns the first n_dims of each head; table [n_ctx, n_dims]. Pairs are halves of these, or neighbours."""

    table: Tensor
    neighbours: bool = False
    turns: bool = True  # else every angle is 0

    def __call__(self, g: Graph, x: Tensor, pos: Tensor) -> Tensor:
        return g.rope(x, pos, self.table, self.neighbours)


def make_rope(
    weights: Weights,
    n_ctx: int,
    n_dims: int,
    frequencies: Frequencies,
    neighbours: bool = False,
    magnitude: float = 1.0,
    name: str = "rope",
) -> Rope:
    """magnitude: what cosines and sines are multiplied by."""

    def rows(first: int, stop: int) -> np.ndarray:
        return magnitude * angle_rows(first, stop, frequencies())

    return Rope(weights.constant(name, (n_ctx, n_dims), rows), neighbours)


def no_rope(weights: Weights) -> Rope:
    """Turns nothing, being one over two dimensions whose only angle is 0: so that attention's inputs and their way into
    caches are one dispatch there too. Positions are clamped to the table."""
    table = weights.constant("no_rope", (1, 2), lambda first, stop: np.array([[1.0, 0.0]])[first:stop])
    return Rope(table, turns=False)


def angle_rows(first: int, stop: int, frequencies: np.ndarray) -> np.ndarray:
    """cos, then sin of pos * frequencies [n], rows first to stop: [stop - first, 2n]."""
    angles = np.arange(first, stop)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], 1)


def plain(n_dims: int, base: float, factor: float = 1.0) -> np.ndarray:
    """base^(-2j/n_dims) / factor, j < n_dims / 2."""
    return base ** (-np.arange(0, n_dims, 2, dtype=np.float64) / n_dims) / factor


def yarn(
    n_dims: int,
    base: float,
    factor: float,
    n_ctx_original: int,
    fast: float = 32.0,
    slow: float = 1.0,
    share: float = 1.0,
) -> np.ndarray:
    """Long wave lengths stretched by the factor, short ones as they are, a ramp between; Peng et al., 2023.

    fast, slow: turns within the original context at which the ramp begins and ends. share: how much of the short ones
    stays as it is.
    """

    def bound(turns: float) -> float:
        return n_dims * np.log(n_ctx_original / (turns * 2 * np.pi)) / (2 * np.log(base))

    low, high = (np.clip(at, 0, n_dims - 1) for at in (np.floor(bound(fast)), np.ceil(bound(slow))))
    kept = share * (1 - np.clip((np.arange(n_dims // 2) - low) / max(0.001, high - low), 0, 1))
    whole = plain(n_dims, base)
    return whole / factor * (1 - kept) + whole * kept


def yarn_logarithm(factor: float, multiplier: float = 1.0) -> float:
    """1 + 0.1 multiplier ln(factor), 1 where nothing is stretched."""
    return 0.1 * multiplier * np.log(factor) + 1 if factor > 1 else 1.0


def yarn_magnitude(factor: float, log_multiplier: float = 0.0) -> float:
    """yarn_logarithm, over the same with the logarithm multiplied where there is a multiplier."""
    made = yarn_logarithm(factor)
    return made / yarn_logarithm(factor, log_multiplier) if log_multiplier else made
