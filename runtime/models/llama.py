"""Llama and its kin: attention and a gated feed-forward or experts, each behind an RMSNorm. Mistral, Mixtral and most
finetunes are Llama; Qwen 2 has biases, Qwen 3 norms of heads, and both turn halves where Llama turns neighbours."""

from dataclasses import dataclass

from .architecture import Params
from .blocks.attention import Attention
from .blocks.experts import Experts, expert_matrices
from .blocks.feed_forward import FeedForward
from .blocks.linear import Linear
from .blocks.residual import Chain, Residual
from .decoder import Decoder
from .hyper import Hyper
from .rotary import read_rope


@dataclass(frozen=True)
class LlamaParams(Params):
    """Sizes: H heads on Hkv of `head_dim`; hidden width of each layer's feed-forward; of X experts (0: none)."""

    n_heads: int
    n_heads_kv: int
    head_dim: int
    scale: float
    hidden: tuple[int, ...]
    n_experts: int
    n_experts_used: int
    expert_width: int


class Llama(Decoder):
    name = "llama"
    neighbours = True
    params: LlamaParams

    def read(self, h: Hyper) -> LlamaParams:
        n_layers, width = h.get_int("block_count", hi=4096), h.get_int("embedding_length")
        n_heads, n_heads_kv, head_dim = _heads(h, width)
        n_experts, n_used = _experts(h)
        hidden = h.get_ints("feed_forward_length", n_layers, 0 if n_experts else None)
        n_dims = h.get_int("rope.dimension_count", head_dim, hi=4096)
        even = n_dims % 2 == 0 and n_dims <= head_dim
        h.require(even, "rope.dimension_count", n_dims, f"even, at most {head_dim}")
        self.rope = read_rope(h, self.weights, self.capacity.n_ctx, n_dims, self.neighbours)
        return LlamaParams(
            n_layers=n_layers,
            n_vocab=h.file.tensor("token_embd.weight").shape[0],
            n_ctx_train=h.get_int("context_length", hi=1 << 30),
            width=width,
            eps=h.get_float("attention.layer_norm_rms_epsilon", lo=1e-12, hi=1.0),
            n_heads=n_heads,
            n_heads_kv=n_heads_kv,
            head_dim=head_dim,
            scale=h.get_float("attention.scale", 0.0) or head_dim**-0.5,
            hidden=hidden,
            n_experts=n_experts,
            n_experts_used=n_used,
            expert_width=h.get_int("expert_feed_forward_length", hidden[0] or None),
        )

    def layer(self, i: int) -> Chain:
        p, at = self.params, f"blk.{i}."
        attention = Residual(self.attention(at), self.norm_of(at + "attn_norm", p.width))
        ffn = self._experts(at) if p.n_experts else self.feed_forward(at, p.hidden[i])
        return Chain((attention, Residual(ffn, self.norm_of(at + "ffn_norm", p.width))))

    def attention(self, at: str) -> Attention:
        p, n_kv = self.params, self.params.n_heads_kv * self.params.head_dim
        q, k, v = self._projections(at, p.n_heads * p.head_dim, n_kv)
        norms = (f"{at}attn_{name}_norm" for name in "qk")
        q_norm, k_norm = (
            self.norm_of(name, p.head_dim) if self.weights.has(name + ".weight") else None for name in norms
        )
        return Attention(
            q=q,
            k=k,
            v=v,
            out=self.linear(at + "attn_output", p.width, p.n_heads * p.head_dim),
            q_norm=q_norm,
            k_norm=k_norm,
            rope=self.rope,
            k_cache=self.cache(at + "k_cache", n_kv),
            v_cache=self.cache(at + "v_cache", n_kv),
            dim=p.head_dim,
            scale=p.scale,
        )

    def _projections(self, at: str, n_q: int, n_kv: int) -> tuple[Linear, Linear, Linear]:
        """To q, k and v, of one matrix or of three."""
        if self.weights.has(at + "attn_qkv.weight"):
            whole = self.linear(at + "attn_qkv", n_q + 2 * n_kv, self.params.width)
            return whole.rows(0, n_q), whole.rows(n_q, n_q + n_kv), whole.rows(n_q + n_kv, n_q + 2 * n_kv)
        q = self.linear(at + "attn_q", n_q, self.params.width)
        k, v = (self.linear(f"{at}attn_{name}", n_kv, self.params.width) for name in "kv")
        return q, k, v

    def _experts(self, at: str) -> Experts:
        p = self.params
        router = self.linear(at + "ffn_gate_inp", p.n_experts, p.width)
        return Experts(
            router, expert_matrices(self.weights, at, p.n_experts, p.width, p.expert_width), p.n_experts_used
        )

    def feed_forward(self, at: str, hidden: int) -> FeedForward:
        width = self.params.width
        gate, up = (self.linear(at + name, hidden, width) for name in ("ffn_gate", "ffn_up"))
        return FeedForward(gate, up, self.linear(at + "ffn_down", width, hidden))


def _heads(h: Hyper, width: int) -> tuple[int, int, int]:
    """Heads, heads of keys and values, and their size."""
    n_heads = h.get_int("attention.head_count", hi=4096)
    n_heads_kv = h.get_int("attention.head_count_kv", n_heads, hi=4096)
    h.require(n_heads % n_heads_kv == 0, "attention.head_count_kv", n_heads_kv, f"a divisor of {n_heads}")
    head_dim = h.get_int("attention.key_length", width // n_heads, hi=4096)
    values = h.get_int("attention.value_length", head_dim, hi=4096)
    h.require(values == head_dim, "attention.value_length", values, f"{head_dim}, as attention.key_length")
    return n_heads, n_heads_kv, head_dim


def _experts(h: Hyper) -> tuple[int, int]:
    """Experts, and how many of them a token goes to; 0 and 0 of a dense model."""
    n_experts = h.get_int("expert_count", 0, lo=0, hi=65536)
    if not n_experts:
        return 0, 0
    n_used = h.get_int("expert_used_count", hi=256)
    h.require(n_used <= n_experts, "expert_used_count", n_used, f"at most {n_experts}")
    return n_experts, n_used


class Qwen2(Llama):
    name = "qwen2"
    neighbours = False


class Qwen3(Qwen2):
    name = "qwen3"


class Qwen3Moe(Qwen3):
    name = "qwen3moe"
