"""gpt-oss: sinks beside the keys, windows in every other layer, experts with biases and a clamped gate."""

from dataclasses import replace

from .blocks.attention import Attention
from .transformer import Transformer


class GptOss(Transformer):
    name = "gpt-oss"
    called = "gpt-oss"
    ffn_norms = "post_attention_norm", ""
    glu = "clamped"
    normalises = True
    window_period = 2

    def attention(self, i: int, at: str) -> Attention:
        sinks = self.weights.vector(at + "attn_sinks.weight", (self.params.heads[i].n,))
        return replace(self.usual_attention(i, at), sinks=sinks)
