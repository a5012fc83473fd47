"""Gated linear units (Shazeer, 2020): what becomes of a gate and what it opens."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...graph import Graph
from ...ops.elementwise import UNARY, sigmoid
from ...tensor import Tensor

Array = np.ndarray
LIMIT, SLOPE, LARGEST = 7.0, 1.702, 3.4e38


@dataclass(frozen=True)
class Glu:
    """Its meaning on float64, and its parts."""

    compute: Callable[[Array, Array], Array]
    parts: Callable[[Graph, Tensor, Tensor], Tensor]


def _clamped(gate: Array, up: Array) -> Array:
    gate = np.minimum(gate, LIMIT)
    return gate * sigmoid(SLOPE * gate) * (np.clip(up, -LIMIT, LIMIT) + 1)


def _clamped_parts(g: Graph, gate: Tensor, up: Tensor) -> Tensor:
    gate = g.clamp(gate, -LARGEST, LIMIT)
    opened = g.mul(gate, g.sigmoid(g.scale(gate, SLOPE)))
    return g.mul(opened, g.scale(g.clamp(up, -LIMIT, LIMIT), 1.0, 1.0))


GLUS: dict[str, Glu] = {
    "silu": Glu(lambda gate, up: UNARY["silu"](gate) * up, lambda g, gate, up: g.swiglu(gate, up)),
    "gelu": Glu(lambda gate, up: UNARY["gelu"](gate) * up, lambda g, gate, up: g.one("geglu", gate, up)),
    "clamped": Glu(_clamped, _clamped_parts),
}
