"""Views of rows that go apart and come together again."""

from collections.abc import Sequence

import numpy as np

from ...ir.graph import Graph
from ...ir.tensor import Tensor


def split(x: Tensor, *sizes: int) -> list[Tensor]:
    """Views of the last axis, one after the other."""
    stops = np.cumsum(sizes).tolist()
    return [x.slice(x.ndim - 1, stop - n, stop) for n, stop in zip(sizes, stops, strict=True)]


def join(g: Graph, parts: Sequence[Tensor]) -> Tensor:
    """What groups made, [B, T, ...] each, as [n_rows, n]; each writes into its rows of it."""
    first, *rest = (p.reshape(p.shape[0] * p.shape[1], p.layout.n_elements // (p.shape[0] * p.shape[1])) for p in parts)
    for part in rest:
        first = g.concat(first, part, 0)
    return first
