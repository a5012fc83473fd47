"""Dense feed-forward."""

from collections.abc import Callable
from dataclasses import dataclass

from ...ir.composites import GLUS
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from .linear import Linear

Activation = Callable[[Graph, Tensor], Tensor]


def gelu(g: Graph, x: Tensor) -> Tensor:
    return g.one("gelu", x)


def gelu_erf(g: Graph, x: Tensor) -> Tensor:
    return g.one("gelu_erf", x)


def relu_squared(g: Graph, x: Tensor) -> Tensor:
    return g.one("sqr", g.one("relu", x))


@dataclass(frozen=True)
class FeedForward:
    """down(glu(gate x, up x)), glu one of GLUS, or down(act(up x)) without a gate."""

    gate: Linear | None
    up: Linear
    down: Linear
    glu: str = "silu"
    activation: Activation = gelu

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        if self.gate is None:
            return self.down(g, self.activation(g, self.up(g, x)))
        return self.down(g, GLUS[self.glu].parts(g, self.gate(g, x), self.up(g, x)))
