"""Mamba-2 in the place of attention: a short convolution, a scan over the state, a gate and its norm."""

from dataclasses import dataclass

from ...ir.composites import causal_conv, mamba2
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import GroupTensors, StepTensors
from .linear import Linear
from .views import join, split


@dataclass(frozen=True)
class Mamba2:
    """H heads of P, whose states have N columns; G groups of heads share b and c.

    into [2*H*P + 2*G*N + H, width]: the gate z, then x, b and c, then each head's step; conv [H*P + 2*G*N, c], its bias
    of as many; dt (a bias), a, d [H]; norm [G, H*P/G] or None; out [width, H*P]; conv_state, state: as causal_conv and
    mamba2.
    """

    into: Linear
    conv: Tensor
    conv_bias: Tensor | None
    dt: Tensor
    a: Tensor
    d: Tensor
    norm: Tensor | None
    out: Linear
    conv_state: Tensor
    state: Tensor
    n_groups: int
    eps: float

    @property
    def n_inner(self) -> int:
        return self.out.weight.shape[1]

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        n_heads, n_inner = self.dt.shape[0], self.n_inner
        z, xbc, dt = split(self.into(g, x), n_inner, self.conv.shape[0], n_heads)
        y = g.swiglu(z, join(g, [self._group(g, group, xbc, dt) for group in step.groups]))
        return self.out(g, y if self.norm is None else self._normed(g, y, self.norm))

    def _group(self, g: Graph, group: GroupTensors, xbc: Tensor, dt: Tensor) -> Tensor:
        """[B, T, H, P]."""
        rows, n_heads, n_inner = (group.n_seqs, group.n_tokens), self.dt.shape[0], self.n_inner
        tails, slots = group.tails, group.state_slots
        xbc = causal_conv(g, group.rows(xbc), self.conv, self.conv_state, slots, tails, self.conv_bias)
        n_columns = (self.conv.shape[0] - n_inner) // 2
        x, b, c = split(xbc, n_inner, n_columns, n_columns)
        x = x.reshape(*rows, n_heads, n_inner // n_heads)
        b, c = (t.reshape(*rows, self.n_groups, n_columns // self.n_groups) for t in (b, c))
        dt = group.rows(dt)
        return mamba2(g, x, b, c, dt, self.dt, self.a, self.d, self.state, slots, group.n_valid)

    def _normed(self, g: Graph, y: Tensor, norm: Tensor) -> Tensor:
        """By group."""
        if self.n_groups == 1:
            return g.rms_norm_scale(y, norm.reshape(self.n_inner), self.eps)
        parts = y.reshape(y.shape[0], self.n_groups, self.n_inner // self.n_groups)
        return g.mul(g.rms_norm(parts, self.eps), norm).reshape(*y.shape)
