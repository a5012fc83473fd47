"""Feed-forward by a mixture of experts."""

from dataclasses import dataclass

from ...ir.composites import moe_ffn
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from ..weights import Weights


@dataclass(frozen=True)
class Experts:
    """The n_used likeliest of X experts and a gated shared one; see moe_ffn."""

    router: Tensor
    experts: tuple[Tensor, Tensor, Tensor]  # gate, up, down
    shared: tuple[Tensor, Tensor, Tensor, Tensor]  # gate, up, down, and its own gate
    n_used: int

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        return moe_ffn(g, x, self.router, self.experts, self.shared, self.n_used)


def expert_matrices(weights: Weights, at: str, n: int, width: int, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    """gate, up [n, hidden, width] and down [n, width, hidden], gate and up in one tensor or in two."""
    down = weights.matrix(at + "ffn_down_exps.weight", (n, width, hidden))
    if weights.has(at + "ffn_gate_up_exps.weight"):
        both = weights.matrix(at + "ffn_gate_up_exps.weight", (n, 2 * hidden, width))
        return both.slice(1, 0, hidden), both.slice(1, hidden, 2 * hidden), down
    gate = weights.matrix(at + "ffn_gate_exps.weight", (n, hidden, width))
    return gate, weights.matrix(at + "ffn_up_exps.weight", (n, hidden, width)), down
