"""A gated short convolution in the place of attention."""

from dataclasses import dataclass

from ...ir.composites import causal_conv
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from .linear import Linear
from .views import join, split


@dataclass(frozen=True)
class ShortConv:
    """out(c * conv(b * x)), with b, c and x the thirds of what `into` makes.

    into [3*width, width]; out [width, width]; conv [width, c]; bias [width]; state as causal_conv's.
    """

    into: Linear
    out: Linear
    conv: Tensor
    state: Tensor
    bias: Tensor | None = None

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        b, c, x = split(self.into(g, x), *[self.into.n_out // 3] * 3)
        gated = g.mul(b, x)
        made = [
            causal_conv(
                g, group.rows(gated), self.conv, self.state, group.state_slots, group.tails, self.bias, linear=True
            )
            for group in step.groups
        ]
        return self.out(g, g.mul(c, join(g, made)))
