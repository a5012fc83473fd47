"""Attention over a cache of latent vectors (multi-head latent attention; DeepSeek-V2, 2024), in its absorbed form."""

from dataclasses import dataclass

from ...ir.composites import attention, latent_cache
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import GroupTensors, StepTensors
from .linear import Linear
from .norm import Norm
from .rope import Rope
from .views import join, split


@dataclass(frozen=True)
class LowRank:
    """second(norm(first x)), or without a norm."""

    first: Linear
    norm: Norm | None
    second: Linear

    def __call__(self, g: Graph, x: Tensor) -> Tensor:
        y = self.first(g, x)
        return self.second(g, self.norm(g, y) if self.norm else y)


@dataclass(frozen=True)
class LatentAttention:
    """H heads share one row of the cache: a latent c [L], normed, and r values that are turned.

    q [H*(n + r), width], by head n values that meet what k_b makes of c, then r turned ones; kv [L + r, width]; kv_norm
    [L], and its eps; out [width, H*V]; cache [n_slots, n_ctx, L + r]. Absorbed: k_b [H, L, n] is applied to queries and
    v_b [H, V, L] to the weighted sum of latents, so that keys are rows of the cache and values their first L.
    """

    q: Linear | LowRank
    kv: Linear
    kv_norm: Tensor
    k_b: Tensor
    v_b: Tensor
    out: Linear
    cache: Tensor
    scale: float
    rope: Rope
    eps: float
    q_scales: Tensor | None = None

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        q = self._queries(g, x, step)
        made = join(g, [self._group(g, group, q, step) for group in step.groups])
        n_heads, n_values, n_latent = self.v_b.shape
        latents = made.reshape(x.shape[0], n_heads, n_latent).permute(1, 0, 2)
        values = g.mul_mat(self.v_b, latents).permute(1, 0, 2)
        return self.out(g, g.reshape(values, x.shape[0], n_heads * n_values))

    def _queries(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        """[1, n_rows, H, L + r]."""
        n_heads, n_latent, n_plain = self.k_b.shape
        n_turned = self.cache.shape[2] - n_latent
        q = self.q(g, x).reshape(x.shape[0], n_heads, n_plain + n_turned)
        plain, turned = split(q, n_plain, n_turned)
        absorbed = g.mul_mat(self.k_b, plain.permute(1, 0, 2)).permute(1, 0, 2).unsqueeze(0)
        q = g.concat(absorbed, self._write(g, x, turned.unsqueeze(0), step), 3)
        if self.q_scales is None:
            return q
        return g.mul(q, g.get_rows(self.q_scales, step.pos).reshape(1, x.shape[0], 1, 1))

    def _write(self, g: Graph, x: Tensor, q: Tensor, step: StepTensors) -> Tensor:
        """The cache's rows; and what is turned of queries, [1, n_rows, H, r]."""
        n_slots, n_ctx, width = self.cache.shape
        kv, flat, pos = self.kv(g, x).unsqueeze(0), self.cache.reshape(n_slots * n_ctx, width), step.pos.unsqueeze(0)
        turn = (pos, self.rope.table, step.cache_rows, flat, self.eps, self.rope.neighbours)
        return latent_cache(g, q, kv, self.kv_norm, *turn)

    def _group(self, g: Graph, group: GroupTensors, q: Tensor, step: StepTensors) -> Tensor:
        """[B, T, H, L]."""
        q, values = group.rows(q.select(0, 0)), self.cache.slice(2, 0, self.k_b.shape[1])
        return attention(g, q, self.cache, values, group.cache_slots, group.pos, self.scale, step.shape.n_kv)
