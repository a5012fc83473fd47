"""The gated delta net: a short convolution, the gated delta rule, a gated norm."""

from dataclasses import dataclass

from ...ir.composites import causal_conv, gated_delta_net
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import GroupTensors, StepTensors
from .linear import Linear
from .views import join, split


@dataclass(frozen=True)
class DeltaNet:
    """Hk key and Hv value heads of D; tiled: value head j is of key head j % Hk.

    qkv [(2Hk + Hv)*D, width]; z [Hv*D, width]; gates [Hv, width] twice, beta's and alpha's, or in one [2Hv, width]:
    tiled all betas, then all alphas, else by key head its values' beta, then their alpha; conv [(2Hk + Hv)*D, c]; dt, a
    [Hv]; norm [D]; out [width, Hv*D]; conv_state, state: as causal_conv and gated_delta_net.
    """

    qkv: Linear
    z: Linear
    gates: tuple[Linear, ...]
    conv: Tensor
    dt: Tensor
    a: Tensor
    norm: Tensor
    out: Linear
    conv_state: Tensor
    state: Tensor
    n_keys: int
    eps: float
    tiled: bool = False

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        qkv, z, *gates = (made(g, x) for made in (self.qkv, self.z, *self.gates))
        return self.out(g, join(g, [self._group(g, group, qkv, z, gates) for group in step.groups]))

    def _group(self, g: Graph, group: GroupTensors, qkv: Tensor, z: Tensor, gates: list[Tensor]) -> Tensor:
        """[B, T, Hv, D]."""
        n_keys, n_values, dim = self.n_keys, self.a.shape[0], self.norm.shape[0]
        rows = (group.n_seqs, group.n_tokens)
        qkv = causal_conv(g, group.rows(qkv), self.conv, self.conv_state, group.state_slots, group.tails)
        q, k, v = split(qkv, n_keys * dim, n_keys * dim, n_values * dim)
        q, k = (t.reshape(*rows, n_keys, dim) for t in (q, k))
        v, z = v.reshape(*rows, n_values, dim), group.rows(z).reshape(*rows, n_values, dim)
        beta, alpha = self._by_key([group.rows(t) for t in gates])
        slots, n_valid = group.state_slots, group.n_valid
        o = gated_delta_net(g, q, k, v, beta, alpha, self.a, self.dt, self.state, slots, n_valid, self.tiled)
        return g.gated_norm(o, self.norm, z, self.eps)

    def _by_key(self, gates: list[Tensor]) -> list[Tensor]:
        """beta and alpha, [B, T, Hk, Hv/Hk] each."""
        n_keys, share = self.n_keys, self.a.shape[0] // self.n_keys
        if len(gates) == 1 and not self.tiled:
            return split(gates[0].reshape(*gates[0].shape[:2], n_keys, 2 * share), share, share)
        gates = gates if len(gates) == 2 else split(gates[0], n_keys * share, n_keys * share)
        if self.tiled:
            return [t.reshape(*t.shape[:2], share, n_keys).permute(0, 1, 3, 2) for t in gates]
        return [t.reshape(*t.shape[:2], n_keys, share) for t in gates]
