"""DeepSeek 2 and 3 and their kin (Kimi K2, GLM 4.7 Flash, Moonlight): latent attention, experts behind dense layers."""

from dataclasses import dataclass, replace

import numpy as np

from ..ir.tensor import Tensor
from .blocks.latent import LatentAttention, LowRank
from .blocks.linear import Linear
from .blocks.norm import Norm, RMSNorm
from .blocks.residual import Block
from .blocks.rope import Rope, yarn_logarithm
from .hyper import Hyper
from .rotary import LOG_MULTIPLIER, read_rope, read_scaling
from .transformer import Transformer, TransformerParams, rope_dims

INNER_EPS = 1e-6  # of the norms of latents, whatever the model's
MULTIPLIER_UNIT = 0.1  # the key holds the multiplier of yarn's logarithm times this


@dataclass(frozen=True)
class LatentParams:
    """Values of a head's queries that meet latents, of those that are turned, and of what a head gives; a latent's
    length, and that of queries' (0: none)."""

    n_plain: int
    n_turned: int
    n_values: int
    n_latent: int
    n_latent_q: int


class DeepSeek2(Transformer):
    name = "deepseek2"
    called = "DeepSeek 2, 3 and R1, Kimi K2, GLM 4.7 Flash, Moonlight"
    neighbours = True

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.latent = read_latent(h, p)
        q = h.get_float(LOG_MULTIPLIER, 0.0) / MULTIPLIER_UNIT
        kind, factor = read_scaling(h)
        stretched = yarn_logarithm(factor, q) if kind == "yarn" else 1.0
        size = self.latent.n_plain + self.latent.n_turned
        return replace(p, scale=p.scale or stretched**2 * size**-0.5)

    def read_ropes(self, h: Hyper, p: TransformerParams) -> dict[bool, Rope]:
        n_dims = rope_dims(h, "rope.dimension_count", p.heads[0].dim)
        magnitude = 1.0 if h.get_float(LOG_MULTIPLIER, 0.0) else None
        return {False: read_rope(h, self.weights, self.capacity.n_ctx, n_dims, self.neighbours, magnitude)}

    def attention(self, i: int, at: str) -> Block:
        p, s, n_heads = self.params, self.latent, self.params.heads[i].n
        k_b, v_b = self._absorbed(at, n_heads)
        return LatentAttention(
            q=self._queries(at, n_heads * (s.n_plain + s.n_turned)),
            kv=self.linear(at + "attn_kv_a_mqa", s.n_latent + s.n_turned, p.width),
            kv_norm=self.weights.vector(at + "attn_kv_a_norm.weight", (s.n_latent,)),
            k_b=k_b,
            v_b=v_b,
            out=self.linear(at + "attn_output", p.width, n_heads * s.n_values),
            cache=self.cache(at + "latent_cache", (s.n_latent, s.n_turned)),
            scale=p.scale,
            rope=self.rope(i),
            eps=INNER_EPS,
            q_scales=self.q_scales,
        )

    def _queries(self, at: str, n: int) -> Linear | LowRank:
        rank, width = self.latent.n_latent_q, self.params.width
        if not rank or self.weights.has(at + "attn_q.weight"):
            return self.linear(at + "attn_q", n, width)
        norm = self._inner_norm(at + "attn_q_a_norm", rank)
        return LowRank(self.linear(at + "attn_q_a", rank, width), norm, self.linear(at + "attn_q_b", n, rank))

    def _inner_norm(self, name: str, n: int) -> Norm:
        return RMSNorm(self.weights.vector(f"{name}.weight", (n,)), INNER_EPS)

    def _absorbed(self, at: str, n_heads: int) -> tuple[Tensor, Tensor]:
        """k_b and v_b; older files hold both in one, by head the rows of k, then those of v."""
        s, weights, both = self.latent, self.weights, at + "attn_kv_b.weight"
        if weights.has(both) and not weights.has(at + "attn_k_b.weight"):
            rows = n_heads, s.n_plain + s.n_values, s.n_latent
            v = np.arange(n_heads * rows[1]).reshape(rows[:2])[:, s.n_plain :].reshape(-1)
            v_b = weights.rows(both, (n_heads * rows[1], s.n_latent), v, "v").reshape(n_heads, s.n_values, s.n_latent)
            return weights.swapped(both, rows, slice(s.n_plain)), v_b
        weights.do_without(both)
        k_b = weights.matrix(at + "attn_k_b.weight", (n_heads, s.n_latent, s.n_plain))
        return k_b, weights.matrix(at + "attn_v_b.weight", (n_heads, s.n_values, s.n_latent))


def read_latent(h: Hyper, p: TransformerParams) -> LatentParams:
    """Older files have the sizes of whole heads where newer ones have those of latents."""
    heads, n_turned = p.heads[0], h.get_int("rope.dimension_count", hi=4096)
    dim = h.get_int("attention.key_length_mla", heads.dim, hi=4096)
    ok = n_turned < dim and n_turned % 2 == 0
    h.require(ok, "rope.dimension_count", n_turned, f"even and less than {dim}")
    return LatentParams(
        n_plain=dim - n_turned,
        n_turned=n_turned,
        n_values=h.get_int("attention.value_length_mla", heads.dim_v, hi=4096),
        n_latent=h.get_int("attention.kv_lora_rank", hi=1 << 16),
        n_latent_q=h.get_int("attention.q_lora_rank", 0, lo=0, hi=1 << 16),
    )
