"""Kimi Linear: Kimi delta attention, and latent attention that turns nothing at every fourth layer or so."""

from .blocks.kimi_delta import KimiDelta
from .blocks.latent import LowRank
from .blocks.residual import Block
from .deepseek2 import DeepSeek2
from .heads import read_attends
from .hyper import Hyper
from .transformer import TransformerParams


class KimiLinear(DeepSeek2):
    name = "kimi-linear"
    called = "Kimi Linear"
    score = "sigmoid"
    normalises = True
    turns = False

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.attends, self.tail = read_attends(h, len(p.heads)), h.get_int("ssm.conv_kernel", lo=2, hi=64) - 1
        self.delta_dim = h.get_int("kda.head_dim", hi=1024)
        return p

    def attention(self, i: int, at: str) -> Block:
        if not self.attends[i]:
            return self._delta(at, self.params.heads[i].n)
        return super().attention(i, at)

    def _delta(self, at: str, n_heads: int) -> KimiDelta:
        weights, width, dim, n = self.weights, self.params.width, self.delta_dim, n_heads * self.delta_dim
        return KimiDelta(
            parts=tuple(self.linear(f"{at}attn_{x}", n, width) for x in "qkv"),
            convs=tuple(weights.vector(f"{at}ssm_conv1d_{x}.weight", (n, self.tail + 1)) for x in "qkv"),
            conv_states=tuple(self.state(f"{at}conv_state_{x}", self.tail * n) for x in "qkv"),
            beta=self.linear(at + "ssm_beta", n_heads, width),
            forget=self._low_rank(at + "ssm_f", n),
            gate=self._low_rank(at + "ssm_g", n),
            dt=weights.vector(at + "ssm_dt.bias", (n,)),
            a=weights.vector(at + "ssm_a", (n_heads,)),
            norm=self.norm_of(at + "ssm_norm", dim),
            out=self.linear(at + "attn_output", width, n),
            state=self.state(at + "delta_state", n * dim),
        )

    def _low_rank(self, name: str, n: int) -> LowRank:
        first = self.linear(name + "_a", self.delta_dim, self.params.width)
        return LowRank(first, None, self.linear(name + "_b", n, self.delta_dim))
