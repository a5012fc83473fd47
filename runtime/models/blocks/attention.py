"""Attention over a cache of keys and values."""

from dataclasses import dataclass

from ...ir.composites import attention, cache_write
from ...ir.graph import Graph
from ...ir.tensor import Tensor
from ..step import GroupTensors, StepTensors
from .linear import Linear
from .norm import Norm
from .rope import Rope
from .views import join, split


@dataclass(frozen=True)
class Attention:
    """softmax(scale q k^T) v, grouped queries: heads of `dim`, of which v may have others.

    q [H*dim, width], of a gated one [H*2*dim, width]: by head q, then the gate, whose sigmoid the result is multiplied
    by. Norms are of each head, or of the whole projection where `whole_norms`. Without k the caches are those of
    another layer, which writes them; without v the values are the keys as k makes them. q_scales [n_ctx, 1]: a factor
    for queries by position. See composites/attention.py for window, cap and sinks [H].
    """

    q: Linear
    k: Linear | None
    v: Linear | None
    out: Linear
    k_cache: Tensor
    v_cache: Tensor
    dim: int
    scale: float
    gated: bool = False
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    v_norm: Norm | None = None
    whole_norms: bool = False
    rope: Rope | None = None
    q_scales: Tensor | None = None
    window: int = 0
    cap: float = 0.0
    sinks: Tensor | None = None

    def __call__(self, g: Graph, x: Tensor, step: StepTensors) -> Tensor:
        q, gate = self._queries(g, x, step)
        if self.k is not None:
            self._write(g, self.k, x, step)
        return self.out(g, join(g, [self._group(g, group, q, gate, step) for group in step.groups]))

    def _group(self, g: Graph, group: GroupTensors, q: Tensor, gate: Tensor | None, step: StepTensors) -> Tensor:
        """[B, T, H, dim]."""
        return attention(
            g,
            group.rows(q.select(0, 0)),
            self.k_cache,
            self.v_cache,
            group.cache_slots,
            group.seen,
            self.scale,
            step.shape.n_kv,
            gate and group.rows(gate.select(0, 0)),
            self.sinks,
            self.window,
            self.cap,
        )

    def _queries(self, g: Graph, x: Tensor, step: StepTensors) -> tuple[Tensor, Tensor | None]:
        """[1, n_rows, H, dim] each."""
        q, gate = self.q(g, x), None
        if self.gated:
            q, gate = split(heads(q, 2 * self.dim), self.dim, self.dim)
        q = self._turned(g, q, self.q_norm, step)
        if self.q_scales is not None:
            q = g.mul(q, g.get_rows(self.q_scales, step.pos).reshape(1, x.shape[0], 1, 1))
        return q, gate

    def _write(self, g: Graph, k: Linear, x: Tensor, step: StepTensors) -> None:
        raw = k(g, x)
        n_heads = self.k_cache.shape[2] // self.dim
        v = heads(self.v(g, x) if self.v else raw, self.v_cache.shape[2] // n_heads)
        rows = step.rows_written(self.window)
        cache_write(g, self.k_cache, rows, self._turned(g, raw, self.k_norm, step))
        cache_write(g, self.v_cache, rows, self.v_norm(g, v) if self.v_norm else v)

    def _turned(self, g: Graph, x: Tensor, norm: Norm | None, step: StepTensors) -> Tensor:
        """Normed and turned heads, [1, n_rows, heads, dim], of [n_rows, heads * dim] or of heads."""
        x = norm(g, x) if norm and self.whole_norms else x
        x = heads(x, self.dim) if x.ndim == 2 else x
        x = norm(g, x) if norm and not self.whole_norms else x
        return self.rope(g, x, step.pos.unsqueeze(0)) if self.rope else x


def heads(x: Tensor, dim: int) -> Tensor:
    """[n_rows, heads * dim] -> [1, n_rows, heads, dim]."""
    return x.reshape(1, x.shape[0], x.shape[1] // dim, dim)
