"""Llama and its kin: attention and a gated feed-forward, each behind an RMSNorm. Mistral and most finetunes are Llama;
Qwen 2 has biases, Qwen 3 norms of heads, and both turn halves where Llama turns neighbours."""

from dataclasses import dataclass

from .architecture import Params
from .blocks.attention import Attention
from .blocks.feed_forward import FeedForward
from .blocks.linear import Linear
from .blocks.residual import Chain, Residual
from .decoder import Decoder
from .hyper import Hyper
from .rotary import read_rope


@dataclass(frozen=True)
class LlamaParams(Params):
    """Sizes: H heads on Hkv of `head_dim`; hidden width of each layer's feed-forward."""

    n_heads: int
    n_heads_kv: int
    head_dim: int
    scale: float
    hidden: tuple[int, ...]


class Llama(Decoder):
    name = "llama"
    neighbours = True
    params: LlamaParams

    def read(self, h: Hyper) -> LlamaParams:
        n_layers, n_heads = h.get_int("block_count", hi=4096), h.get_int("attention.head_count", hi=4096)
        width, n_heads_kv = h.get_int("embedding_length"), h.get_int("attention.head_count_kv", n_heads, hi=4096)
        h.require(n_heads % n_heads_kv == 0, "attention.head_count_kv", n_heads_kv, f"a divisor of {n_heads}")
        h.require(not h.has("expert_count"), "expert_count", "experts", "a dense model")
        head_dim = h.get_int("attention.key_length", width // n_heads, hi=4096)
        values = h.get_int("attention.value_length", head_dim, hi=4096)
        h.require(values == head_dim, "attention.value_length", values, f"{head_dim}, as attention.key_length")
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
            hidden=h.get_ints("feed_forward_length", n_layers, lo=1),
        )

    def layer(self, i: int) -> Chain:
        p, at = self.params, f"blk.{i}."
        attention = Residual(self.attention(at), self.norm_of(at + "attn_norm", p.width))
        return Chain((attention, Residual(self.feed_forward(at, p.hidden[i]), self.norm_of(at + "ffn_norm", p.width))))

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

    def feed_forward(self, at: str, hidden: int) -> FeedForward:
        width = self.params.width
        gate, up = (self.linear(at + name, hidden, width) for name in ("ffn_gate", "ffn_up"))
        return FeedForward(gate, up, self.linear(at + "ffn_down", width, hidden))


class Qwen2(Llama):
    name = "qwen2"
    neighbours = False


class Qwen3(Qwen2):
    name = "qwen3"
