"""Kimi delta attention: short convolutions, the delta rule with a decay for each channel, a gated norm."""

from dataclasses import dataclass

from ...ir.composites import causal_conv, kimi_delta
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import GroupTensors, StepTensors
from .latent import LowRank
from .linear import Linear
from .norm import Norm
from .views import join


@dataclass(frozen=True)
class KimiDelta:
    """H heads of D.

    parts: of q, k and v, [H*D, width] each, convs [H*D, c] and conv_states of each; beta [H, width]; forget and gate to
    H*D; dt [H*D]; a [H]; a norm of D; out [width, H*D]; state as kimi_delta's.
    """

    parts: tuple[Linear, ...]
    convs: tuple[Tensor, ...]
    conv_states: tuple[Tensor, ...]
    beta: Linear
    forget: LowRank
    gate: LowRank
    dt: Tensor
    a: Tensor
    norm: Norm
    out: Linear
    state: Tensor

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        parts = [part(g, x) for part in self.parts]
        beta, alpha, gate = (made(g, x) for made in (self.beta, self.forget, self.gate))
        o = join(g, [self._group(g, group, parts, beta, alpha) for group in step.groups])
        heads = (x.shape[0], self.a.shape[0], o.shape[1] // self.a.shape[0])
        y = g.mul(self.norm(g, o.reshape(*heads)), g.sigmoid(gate).reshape(*heads))
        return self.out(g, y.reshape(*o.shape))

    def _group(self, g: Graph, group: GroupTensors, parts: list[Tensor], beta: Tensor, alpha: Tensor) -> Tensor:
        """[B, T, H, D]."""
        n_heads, slots, tails = self.a.shape[0], group.state_slots, group.tails
        q, k, v = (
            causal_conv(g, group.rows(x), conv, state, slots, tails)
            for x, conv, state in zip(parts, self.convs, self.conv_states, strict=True)
        )
        heads = (group.n_seqs, group.n_tokens, n_heads, q.shape[2] // n_heads)
        q, k, v, alpha = (t.reshape(*heads) for t in (q, k, v, group.rows(alpha)))
        gates = group.rows(beta), alpha, self.a, self.dt
        return kimi_delta(g, q, k, v, *gates, self.state, slots, group.n_valid)
