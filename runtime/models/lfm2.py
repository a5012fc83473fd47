"""LFM2: gated short convolutions in the place of attention in most layers."""

from .blocks.residual import Block
from .blocks.short_conv import ShortConv
from .heads import read_attends
from .hyper import Hyper
from .transformer import Transformer, TransformerParams


class Lfm2(Transformer):
    name = "lfm2"
    called = "LFM2, LFM2.5"
    final_norm = "token_embd_norm"
    head_norms = True
    score = "sigmoid"
    normalises = True

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.attends, self.tail = read_attends(h, len(p.heads)), h.get_int("shortconv.l_cache", lo=2, hi=64) - 1
        return p

    def attention(self, i: int, at: str) -> Block:
        return self.usual_attention(i, at) if self.attends[i] else self._convolution(at + "shortconv.")

    def _convolution(self, at: str) -> ShortConv:
        width, bias = self.params.width, at + "conv.bias"
        return ShortConv(
            into=self.linear(at + "in_proj", 3 * width, width),
            out=self.linear(at + "out_proj", width, width),
            conv=self.weights.vector(at + "conv.weight", (width, self.tail + 1)),
            state=self.state(at + "conv_state", self.tail * width),
            bias=self.weights.vector(bias, (width,)) if self.weights.has(bias) else None,
        )


class Lfm2Moe(Lfm2):
    name = "lfm2moe"
    called = "LFM2 with experts"
