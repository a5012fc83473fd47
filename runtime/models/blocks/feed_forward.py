"""Dense feed-forward."""

from collections.abc import Callable
from dataclasses import dataclass

from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from .linear import Linear

Activation = Callable[[Graph, Tensor], Tensor]
silu: Activation = Graph.silu


def gelu(g: Graph, x: Tensor) -> Tensor:
    return g.one("gelu", x)


def relu_squared(g: Graph, x: Tensor) -> Tensor:
    return g.one("sqr", g.one("relu", x))


@dataclass(frozen=True)
class FeedForward:
    """down(act(gate x) * up x), or down(act(up x)) without a gate."""

    gate: Linear | None
    up: Linear
    down: Linear
    activation: Activation = silu

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        if self.gate is None:
            return self.down(g, self.activation(g, self.up(g, x)))
        gate, up = self.gate(g, x), self.up(g, x)
        glu = g.swiglu(gate, up) if self.activation is silu else g.mul(self.activation(g, gate), up)
        return self.down(g, glu)
