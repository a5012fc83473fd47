"""Feed-forward by a mixture of experts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir.composites import moe_ffn
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from ..weights import Weights
from .feed_forward import Activation, relu_squared
from .linear import Linear
from .norm import Norm


@dataclass(frozen=True)
class Experts:
    """The n_used of X experts that the router picks, and whatever moe_ffn takes more: `more` are tensors, `options`
    numbers and names. Norms of what experts read and of what the router reads, where these differ from x."""

    router: Linear
    experts: tuple[Tensor, Tensor, Tensor]  # gate, up, down
    n_used: int
    more: Mapping[str, Tensor | None] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    before: Norm | None = None
    router_before: Norm | None = None

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        logits = self.router(g, self.router_before(g, x) if self.router_before else x)
        x = self.before(g, x) if self.before else x
        return moe_ffn(g, x, logits, self.experts, self.n_used, self.more, **self.options)


@dataclass(frozen=True)
class PlainExperts:
    """Experts without gates: sum_e w_e down_e(act(up_e x)). bias, options: as route's. into, back: to and from
    the rows that experts work on, where these have another width."""

    router: Linear
    up: Tensor
    down: Tensor
    n_used: int
    activation: Activation = relu_squared
    bias: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    into: Linear | None = None
    back: Linear | None = None

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        bias = () if self.bias is None else (self.bias,)
        named = {"extra": ("bias",)} if bias else {}
        ids, weights = g.emit("route", self.router(g, x), *bias, k=self.n_used, **named, **self.options)
        x = self.into(g, x) if self.into else x
        hidden = self.activation(g, g.mul_mat_id(self.up, x.unsqueeze(1), ids))
        y = g.one("experts_sum", g.mul_mat_id(self.down, hidden, ids), weights, extra=())
        return self.back(g, y) if self.back else y


def expert_matrices(weights: Weights, at: str, n: int, width: int, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    """gate, up [n, hidden, width] and down [n, width, hidden], gate and up in one tensor or in two; down's factors stay
    apart where no bias comes before them."""
    apart = not weights.has(at + "ffn_down_exps.bias")
    down = weights.matrix(at + "ffn_down_exps.weight", (n, width, hidden), apart)
    if weights.has(at + "ffn_gate_up_exps.weight"):
        both = weights.matrix(at + "ffn_gate_up_exps.weight", (n, 2 * hidden, width))
        return both.slice(1, 0, hidden), both.slice(1, hidden, 2 * hidden), down
    gate = weights.matrix(at + "ffn_gate_exps.weight", (n, hidden, width))
    return gate, weights.matrix(at + "ffn_up_exps.weight", (n, hidden, width)), down


def expert_biases(weights: Weights, at: str, n: int, width: int, hidden: int) -> dict[str, Tensor]:
    """Those that the file has, as moe_ffn names them."""
    made, both = {}, at + "ffn_gate_up_exps.bias"
    for name, size in (("gate", hidden), ("up", hidden), ("down", width)):
        if weights.has(f"{at}ffn_{name}_exps.bias"):
            made[f"{name}_bias"] = weights.vector(f"{at}ffn_{name}_exps.bias", (n, size))
    if weights.has(both):
        whole = weights.vector(both, (n, 2 * hidden))
        made = {"gate_bias": whole.slice(1, 0, hidden), "up_bias": whole.slice(1, hidden, 2 * hidden), **made}
    return made
