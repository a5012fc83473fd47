"""Norms over rows."""

from dataclasses import dataclass
from typing import Protocol

from ...ir.graph import Graph
from ...ir.tensor import Tensor


class Norm(Protocol):
    """Rows of any shape [..., n] made alike in size."""

    def __call__(self, g: Graph, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class RMSNorm:
    """w * x / sqrt(mean(x^2) + eps); Zhang & Sennrich, 2019. weight [n], or None for 1."""

    weight: Tensor | None
    eps: float

    def __call__(self, g: Graph, x: Tensor) -> Tensor:
        return g.rms_norm(x, self.eps) if self.weight is None else g.rms_norm_scale(x, self.weight, self.eps)


@dataclass(frozen=True)
class LayerNorm:
    """Of weight and bias [n]."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, g: Graph, x: Tensor) -> Tensor:
        return g.one("layer_norm", x, self.weight, self.bias, eps=self.eps)
