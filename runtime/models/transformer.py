"""Transformer: families whose layers are attention and a feed-forward, and what of these a file's keys say."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ir.tensor import Tensor
from .architecture import POOLINGS, Params
from .blocks.attention import Attention
from .blocks.experts import Experts, expert_biases, expert_matrices
from .blocks.feed_forward import FeedForward
from .blocks.linear import Linear
from .blocks.norm import Norm
from .blocks.residual import Block, Chain, Residual
from .blocks.rope import Rope, no_rope
from .decoder import Decoder
from .heads import Heads, read_heads, read_windows
from .hyper import Hyper
from .rotary import n_ctx_original, read_rope, read_sliding_rope
from .routing import ExpertParams, read_experts

Names = tuple[str, str]  # of the norms before and after a block, "" for none


@dataclass(frozen=True)
class TransformerParams(Params):
    """By layer: heads, the window (0: none), the hidden width of a dense feed-forward. experts: None of a dense model.

    scale: of attention's logits, 0 for 1/sqrt(head's size).
    """

    heads: tuple[Heads, ...]
    windows: tuple[int, ...]
    hidden: tuple[int, ...]
    experts: ExpertParams | None
    scale: float


class Transformer(Decoder):
    """A family is what it says otherwise than here; see FAMILIES of each attribute in its own file."""

    params: TransformerParams
    neighbours: ClassVar[bool] = False  # rotary embedding turns neighbours, else halves
    attention_norms: ClassVar[Names] = ("attn_norm", "")
    ffn_norms: ClassVar[Names] = ("ffn_norm", "")
    head_norms: ClassVar[bool] = False  # q and k are always normed, else where the file has norms
    whole_norms: ClassVar[bool] = False  # over all heads at once
    gated: ClassVar[bool] = True  # the feed-forward has a gate
    glu: ClassVar[str] = "silu"  # one of GLUS, of a dense feed-forward and of experts
    score: ClassVar[str] = "softmax"  # of experts, where no key says it
    normalises: ClassVar[bool | None] = None  # weights of the chosen experts; None: as a key says
    shared_gated: ClassVar[bool] = False  # experts for all tokens always are, else where the file has their gate
    window_period: ClassVar[int] = 0  # every so manieth layer sees all keys; 0: none does where there is a window
    window_default: ClassVar[int] = 0
    sliding_base: ClassVar[float | None] = None  # of rotary embedding where there is a window; None: as elsewhere
    sliding_scaled: ClassVar[bool] = True  # rotary embedding is scaled there too
    turns: bool = True  # attention turns q and k by their positions
    attention_cap: float = 0.0

    def read(self, h: Hyper) -> TransformerParams:
        n_blocks, width = h.get_int("block_count", hi=4096), h.get_int("embedding_length")
        n_drafting = h.get_int("nextn_predict_layers", 0, lo=0, hi=n_blocks - 1)
        hidden = h.get_ints("feed_forward_length", n_blocks, 0 if h.has("expert_count") else None)
        windows = read_windows(h, n_blocks, self.window_period, self.window_default)
        p = TransformerParams(
            n_layers=n_blocks - n_drafting,
            n_vocab=h.file.tensor("token_embd.weight").n_rows,
            n_ctx_train=h.get_int("context_length", hi=1 << 30),
            width=width,
            eps=h.eps(),
            heads=read_heads(h, n_blocks, width, windows),
            windows=windows,
            hidden=hidden,
            experts=read_experts(h, hidden[0], self.score, self.normalises),
            scale=h.get_float("attention.scale", 0.0),
        )
        self.window = max(windows)
        self.causal, self.pooling = h.get_bool("attention.causal", self.causal), read_pooling(h)
        self.q_scales = self._temperatures(h)
        self.attention_cap = h.get_float("attn_logit_softcapping", self.attention_cap, lo=0)
        self.logit_cap = h.get_float("final_logit_softcapping", self.logit_cap, lo=0)
        self.ropes = self.read_ropes(h, p) if self.turns else dict.fromkeys((False, True), no_rope(self.weights))
        return p

    def read_ropes(self, h: Hyper, p: TransformerParams) -> dict[bool, Rope]:
        """By whether a layer has a window."""
        made, n_ctx = {}, self.capacity.n_ctx
        dims = {window > 0: heads.dim for heads, window in zip(p.heads, p.windows, strict=True)}
        if False in dims or self.sliding_scaled:
            n_dims = rope_dims(h, "rope.dimension_count", dims.get(False, dims.get(True, 0)))
            made[False] = read_rope(h, self.weights, n_ctx, n_dims, self.neighbours)
        if True in dims and self.sliding_scaled:
            made[True] = made[False]
        elif True in dims:
            own = "rope.dimension_count_swa"
            n_dims = rope_dims(h, own if h.has(own) else "rope.dimension_count", dims[True])
            made[True] = read_sliding_rope(h, self.weights, n_ctx, n_dims, self.neighbours, self.sliding_base)
        return made

    def rope(self, i: int) -> Rope:
        return self.ropes[self.params.windows[i] > 0]

    def layer(self, i: int) -> Block:
        at = f"blk.{i}."
        attention = self.residual(at, self.attention(i, at), self.attention_norms)
        return Chain((attention, self.residual(at, self.feed(i, at), self.ffn_norms)))

    def residual(self, at: str, block: Block, norms: Names) -> Residual:
        first, last = norms
        before = self.stream_norm(at + first) if first else None
        return Residual(block, before, self.norm_of(at + last, self.params.width) if last else None)

    def attention(self, i: int, at: str) -> Block:
        return self.usual_attention(i, at)

    def usual_attention(self, i: int, at: str) -> Attention:
        return self.attend(i, at, *self.projections(i, at), *self.new_caches(i, at))

    def attend(
        self, i: int, at: str, q: Linear, k: Linear | None, v: Linear | None, k_cache: Tensor, v_cache: Tensor
    ) -> Attention:
        """Over caches of its own, or without k over those of another layer."""
        p, heads = self.params, self.params.heads[i]
        return Attention(
            q=q,
            k=k,
            v=v,
            out=self.linear(at + "attn_output", p.width, heads.n * heads.dim_v),
            q_norm=self._head_norm(at + "attn_q_norm", heads.n * heads.dim, heads.dim),
            k_norm=self._head_norm(at + "attn_k_norm", heads.n_kv * heads.dim, heads.dim) if k else None,
            whole_norms=self.whole_norms,
            rope=self.rope(i),
            q_scales=self.q_scales,
            k_cache=k_cache,
            v_cache=v_cache,
            dim=heads.dim,
            scale=p.scale or heads.dim**-0.5,
            window=p.windows[i],
            cap=self.attention_cap,
        )

    def projections(self, i: int, at: str) -> tuple[Linear, Linear, Linear | None]:
        """To q, k and v, of one matrix or of three."""
        heads = self.params.heads[i]
        sizes = heads.n * heads.dim, heads.n_kv * heads.dim, heads.n_kv * heads.dim_v
        if self.weights.has(at + "attn_qkv.weight"):
            q, k, v = self.linear(at + "attn_qkv", sum(sizes), self.params.width).split(*sizes)
        else:
            names = (f"{at}attn_{name}" for name in "qkv")
            q, k, v = (self.linear(name, n, self.params.width) for name, n in zip(names, sizes, strict=True))
        return q, k, v

    def new_caches(self, i: int, at: str) -> tuple[Tensor, Tensor]:
        """Of keys and of values."""
        heads, window = self.params.heads[i], self.params.windows[i]
        k = self.cache(at + "k_cache", (heads.dim,) * heads.n_kv, window=window)
        return k, self.cache(at + "v_cache", (heads.dim_v,) * heads.n_kv, window=window, values=True)

    def _head_norm(self, name: str, n: int, dim: int) -> Norm | None:
        """A norm of the whole projection or of each head; where the family need not have it, None without a weight."""
        needed = self.head_norms or self.weights.has(f"{name}.weight")
        return self.norm_of(name, n if self.whole_norms else dim) if needed else None

    def feed(self, i: int, at: str) -> Block:
        """What stands after attention."""
        experts = self.params.experts
        if experts and i >= experts.first:
            return self.experts(at, experts)
        return self.feed_forward(at, self.params.hidden[i])

    def feed_forward(self, at: str, hidden: int) -> FeedForward:
        width = self.params.width
        gate, up = self._gate_up(at, hidden) if self.gated else (None, self.linear(at + "ffn_up", hidden, width))
        return FeedForward(gate, up, self.linear(at + "ffn_down", width, hidden), self.glu)

    def _gate_up(self, at: str, hidden: int) -> tuple[Linear, Linear]:
        """Of two matrices, or of one with the gate's rows first."""
        width = self.params.width
        if not self.weights.has(at + "ffn_gate.weight") and self.weights.n_rows(at + "ffn_up.weight") == 2 * hidden:
            gate, up = self.linear(at + "ffn_up", 2 * hidden, width).split(hidden, hidden)
            return gate, up
        return self.linear(at + "ffn_gate", hidden, width), self.linear(at + "ffn_up", hidden, width)

    def experts(self, at: str, e: ExpertParams) -> Experts:
        """The chosen ones, and those for all tokens where there are any."""
        weights, width = self.weights, self.params.width
        more = expert_biases(weights, at, e.n, width, e.width)
        if (factors := weights.factor(at + "ffn_down_exps", e.n)) and "down_bias" not in more:
            more["factors"] = factors
        if weights.has(at + "exp_probs_b.bias"):
            more["bias"] = weights.vector(at + "exp_probs_b.bias", (e.n,))
        if e.shared_width:
            more |= self._shared_experts(at, e.shared_width)
        matrices = expert_matrices(weights, at, e.n, width, e.width)
        router = self.linear(at + "ffn_gate_inp", e.n, width)
        return Experts(router, matrices, e.n_used, more, {"activation": self.glu, **e.options})

    def _shared_experts(self, at: str, hidden: int) -> dict[str, Tensor]:
        weights, width = self.weights, self.params.width
        made = {f"shared_{n}": weights.matrix(f"{at}ffn_{n}_shexp.weight", (hidden, width)) for n in ("gate", "up")}
        made["shared_down"] = weights.matrix(at + "ffn_down_shexp.weight", (width, hidden))
        if self.shared_gated or weights.has(at + "ffn_gate_inp_shexp.weight"):
            made["shared_in"] = weights.vector(at + "ffn_gate_inp_shexp.weight", (1, width))
        return made

    def _temperatures(self, h: Hyper) -> Tensor | None:
        """Factors of queries by position p, [n_ctx, 1]: 1 + b ln(1 + floor(p / L)), where the file has a b."""
        b = h.get_float("attention.temperature_scale", 0.0)
        if not b:
            return None
        length = h.get_int("attention.temperature_length", n_ctx_original(h), hi=1 << 30)

        def rows(first: int, stop: int) -> np.ndarray:
            return 1 + b * np.log(1 + np.arange(first, stop) // length)[:, None]

        return self.weights.constant("q_scales", (self.capacity.n_ctx, 1), rows)


def read_pooling(h: Hyper) -> str:
    kind = h.get_int("pooling_type", 0, lo=-1, hi=255)
    h.require(kind in (-1, 0, *POOLINGS), "pooling_type", kind, f"one of {', '.join(map(str, (0, *POOLINGS)))}")
    return POOLINGS.get(kind, "")


def rope_dims(h: Hyper, key: str, dim: int) -> int:
    """How many values of a head of `dim` are turned."""
    n = h.get_int(key, dim, hi=4096)
    h.require(n % 2 == 0 and n <= dim, key, n, f"even, at most {dim}")
    return n
