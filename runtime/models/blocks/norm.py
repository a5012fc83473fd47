"""Norms over rows."""

from dataclasses import dataclass

from ...ir.graph import Graph
from ...ir.tensor import Tensor


@dataclass(frozen=True)
class Norm:
    """w * x / sqrt(mean(x^2) + eps)."""

    weight: Tensor
    eps: float

    def __call__(self, g: Graph, x: Tensor) -> Tensor:
        return g.rms_norm_scale(x, self.weight, self.eps)
