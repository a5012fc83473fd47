"""The gated delta net: a short convolution, the gated delta rule, a gated norm."""

from dataclasses import dataclass

from ...ir.composites import causal_conv, gated_delta_net
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import GroupTensors, StepTensors
from .views import join, split


@dataclass(frozen=True)
class DeltaNet:
    """Hk key and Hv value heads of D.

    qkv [(2Hk + Hv)*D, width]; z [Hv*D, width]; ba [2Hv, width], by key head its values' beta, then their alpha; conv
    [(2Hk + Hv)*D, c]; dt, a [Hv]; norm [D]; out [width, Hv*D]; conv_state, state: as causal_conv and gated_delta_net.
    """

    qkv: Tensor
    z: Tensor
    ba: Tensor
    conv: Tensor
    dt: Tensor
    a: Tensor
    norm: Tensor
    out: Tensor
    conv_state: Tensor
    state: Tensor
    n_keys: int
    eps: float
    tiled: bool = False  # value head j of key head j % Hk, and ba all betas, then all alphas

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        qkv, z, ba = (g.mul_mat(w, x) for w in (self.qkv, self.z, self.ba))
        return g.mul_mat(self.out, join(g, [self._group(g, group, qkv, z, ba) for group in step.groups]))

    def _group(self, g: Graph, group: GroupTensors, qkv: Tensor, z: Tensor, ba: Tensor) -> Tensor:
        """[B, T, Hv, D]."""
        n_keys, n_values, dim = self.n_keys, self.a.shape[0], self.norm.shape[0]
        rows = (group.n_seqs, group.n_tokens)
        qkv = causal_conv(g, group.rows(qkv), self.conv, self.conv_state, group.state_slots, group.tails)
        q, k, v = split(qkv, n_keys * dim, n_keys * dim, n_values * dim)
        q, k = (t.reshape(*rows, n_keys, dim) for t in (q, k))
        v = v.reshape(*rows, n_values, dim)
        share = n_values // n_keys
        if self.tiled:
            halves = split(group.rows(ba), n_values, n_values)
            beta, alpha = (t.reshape(*rows, share, n_keys).permute(0, 1, 3, 2) for t in halves)
        else:
            beta, alpha = split(group.rows(ba).reshape(*rows, n_keys, 2 * share), share, share)
        gates = beta, alpha, self.a, self.dt
        o = gated_delta_net(g, q, k, v, *gates, self.state, group.state_slots, group.n_valid, self.tiled)
        return g.gated_norm(o, self.norm, group.rows(z).reshape(*rows, n_values, dim), self.eps)
