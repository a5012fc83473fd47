"""Gemma 1 to 3: embeddings times sqrt(width), a gelu gate; from 2 on four norms and windows."""

from dataclasses import replace

from .hyper import Hyper
from .transformer import Transformer, TransformerParams


class Gemma(Transformer):
    name = "gemma"
    called = "Gemma 1"
    glu = "gelu"

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.embedding_scale = p.width**0.5
        return p


class Gemma2(Gemma):
    """Logits of attention and of tokens are capped."""

    name = "gemma2"
    called = "Gemma 2"
    attention_norms = "attn_norm", "post_attention_norm"
    ffn_norms = "ffn_norm", "post_ffw_norm"
    window_period, window_default = 2, 4096
    attention_cap, logit_cap = 50.0, 30.0
    largest = 46  # layers of the size whose attention is scaled by width / heads

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        by_width = p.n_layers == self.largest and not p.scale
        return replace(p, scale=(p.width / p.heads[0].n) ** -0.5) if by_width else p


class Gemma3(Gemma2):
    """Norms of heads, and a rotary embedding of its own in layers with a window."""

    name = "gemma3"
    called = "Gemma 3, as text"
    head_norms = True
    window_period, window_default = 6, 0
    sliding_scaled, sliding_base = False, 10000.0
    attention_cap = logit_cap = 0.0
    largest = 62
