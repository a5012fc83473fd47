"""Attention over a cache of keys and values."""

from dataclasses import dataclass

from ...ir.composites import attention, cache_write
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import StepTensors
from .norm import Norm
from .rope import Rope
from .views import join, split


@dataclass(frozen=True)
class Attention:
    """sigmoid(gate) * softmax(q k^T / sqrt(D)) v, q and k normed by head and turned; q and its gate of one matrix, by
    head.

    q [H*2D, width]; k, v [Hkv*D, width]; out [width, H*D]; caches [n_caches, n_ctx, Hkv*D].
    """

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    q_norm: Norm
    k_norm: Norm
    rope: Rope
    k_cache: Tensor
    v_cache: Tensor
    head_dim: int

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        d, pos = self.head_dim, step.pos.unsqueeze(0)
        q, gate = split(self._heads(g, self.q, x, 2 * d), d, d)
        k, v = (self._heads(g, w, x, d) for w in (self.k, self.v))
        q = self.rope(g, self.q_norm(g, q), pos)
        k = self.rope(g, self.k_norm(g, k), pos)
        cache_write(g, self.k_cache, step.cache_rows, k)
        cache_write(g, self.v_cache, step.cache_rows, v)
        made = []
        for group in step.groups:
            mine, opened = (group.rows(t.select(0, 0)) for t in (q, gate))
            places = self.k_cache, self.v_cache, group.cache_slots, group.pos
            made.append(attention(g, mine, *places, opened, d**-0.5, step.shape.n_kv))
        return g.mul_mat(self.out, join(g, made))

    def _heads(self, g: Graph, w: Tensor, x: Tensor, dim: int) -> Tensor:
        """[1, n_rows, heads, dim]."""
        return g.mul_mat(w, x).reshape(1, x.shape[0], w.shape[0] // dim, dim)
