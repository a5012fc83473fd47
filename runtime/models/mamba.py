"""Families with Mamba-2: Granite 4, Falcon-H1, Nemotron-H. What of it their keys say is read alike."""

from dataclasses import dataclass
from typing import ClassVar

from .blocks.experts import PlainExperts
from .blocks.feed_forward import FeedForward, relu_squared
from .blocks.linear import Linear
from .blocks.mamba import Mamba2
from .blocks.norm import Norm, RMSNorm
from .blocks.residual import Beside, Block, Chain
from .heads import read_attends
from .hyper import Hyper
from .llama import GraniteMoe
from .routing import ExpertParams
from .transformer import Transformer, TransformerParams


@dataclass(frozen=True)
class MambaParams:
    """H heads in G groups, n_inner values in all, N columns of a state, a convolution of `taps`."""

    n_heads: int
    n_groups: int
    n_inner: int
    n_state: int
    taps: int

    @property
    def n_channels(self) -> int:
        """Of the convolution: x, b and c side by side."""
        return self.n_inner + 2 * self.n_groups * self.n_state


class WithMamba(Transformer):
    """A transformer some of whose layers have Mamba-2 in the place of attention, those that say 0 heads of keys."""

    mamba_normed: ClassVar[bool] = True  # always, else where the file has the norm

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.mamba, self.attends = read_mamba(h), read_attends(h, len(p.heads))
        self.tail = self.mamba.taps - 1
        return p

    def attention(self, i: int, at: str) -> Block:
        return self.usual_attention(i, at) if self.attends[i] else self.mamba2(at)

    def mamba2(self, at: str) -> Mamba2:
        s, weights, width = self.mamba, self.weights, self.params.width
        bias, norm = at + "ssm_conv1d.bias", at + "ssm_norm.weight"
        parts = (s.n_groups, s.n_inner // s.n_groups)
        return Mamba2(
            into=self.linear(at + "ssm_in", 2 * s.n_inner + 2 * s.n_groups * s.n_state + s.n_heads, width),
            conv=weights.vector(at + "ssm_conv1d.weight", (s.n_channels, s.taps)),
            conv_bias=weights.vector(bias, (s.n_channels,)) if weights.has(bias) else None,
            dt=weights.vector(at + "ssm_dt.bias", (s.n_heads,)),
            a=weights.vector(at + "ssm_a", (s.n_heads,)),
            d=weights.vector(at + "ssm_d", (s.n_heads,)),
            norm=weights.vector(norm, parts) if self.mamba_normed or weights.has(norm) else None,
            out=self.linear(at + "ssm_out", width, s.n_inner),
            conv_state=self.state(at + "conv_state", (s.taps - 1) * s.n_channels),
            state=self.state(at + "mamba_state", s.n_inner * s.n_state),
            n_groups=s.n_groups,
            eps=self.params.eps,
        )


class GraniteHybrid(WithMamba, GraniteMoe):
    name = "granitehybrid"
    called = "Granite 4 with Mamba-2"


class FalconH1(WithMamba):
    """Attention and Mamba-2 side by side in each layer."""

    name = "falcon-h1"
    called = "Falcon-H1"
    mamba_normed = False

    def attention(self, i: int, at: str) -> Block:
        return Beside(self.usual_attention(i, at), self.mamba2(at))

    def norm_of(self, name: str, n: int, scale: float = 1.0) -> Norm:
        """Some files leave `.weight` out of a norm's name."""
        if self.weights.has(name) and not self.weights.has(f"{name}.weight"):
            return RMSNorm(self.weights.vector(name, (n,)), self.params.eps)
        return super().norm_of(name, n, scale)


class NemotronH(WithMamba):
    """One mixer a layer: attention that turns nothing, a feed-forward, or Mamba-2."""

    name = "nemotron_h"
    called = "Nemotron-H, Nemotron Nano 2"
    gated = False
    score = "sigmoid"
    turns = False

    def layer(self, i: int) -> Block:
        at = f"blk.{i}."
        return Chain((self.residual(at, self._mixer(i, at), self.attention_norms),))

    def _mixer(self, i: int, at: str) -> Block:
        if self.attends[i]:
            return self.usual_attention(i, at)
        return self.feed(i, at) if self.params.hidden[i] else self.mamba2(at)

    def feed(self, i: int, at: str) -> Block:
        experts = self.params.experts
        return self._experts(at, experts) if experts else self.feed_forward(at, self.params.hidden[i])

    def feed_forward(self, at: str, hidden: int) -> FeedForward:
        width = self.params.width
        up, down = self.linear(at + "ffn_up", hidden, width), self.linear(at + "ffn_down", width, hidden)
        return FeedForward(None, up, down, activation=relu_squared)

    def _experts(self, at: str, e: ExpertParams) -> Block:
        """Those of larger models work on fewer values than a row has."""
        weights, width = self.weights, self.params.width
        inner, into, back = width, None, None
        if any(weights.has(f"{at}ffn_latent_{name}.weight") for name in ("down", "up")):
            inner = max(1, weights.n_rows(at + "ffn_latent_down.weight"))
            into = self.linear(at + "ffn_latent_down", inner, width)
            back = self.linear(at + "ffn_latent_up", width, inner)
        bias = at + "exp_probs_b.bias"
        plain = PlainExperts(
            router=self.linear(at + "ffn_gate_inp", e.n, width),
            up=weights.matrix(at + "ffn_up_exps.weight", (e.n, e.width, inner)),
            down=weights.matrix(at + "ffn_down_exps.weight", (e.n, inner, e.width)),
            n_used=e.n_used,
            bias=weights.vector(bias, (e.n,)) if weights.has(bias) else None,
            options=e.options,
            into=into,
            back=back,
        )
        return Beside(plain, self._shared(at, e.shared_width)) if e.shared_width else plain

    def _shared(self, at: str, hidden: int) -> FeedForward:
        width = self.params.width
        up: Linear = self.linear(at + "ffn_up_shexp", hidden, width)
        return FeedForward(None, up, self.linear(at + "ffn_down_shexp", width, hidden), activation=relu_squared)


class NemotronHMoe(NemotronH):
    name = "nemotron_h_moe"
    called = "Nemotron 3 Nano and Super"


def read_mamba(h: Hyper) -> MambaParams:
    n_inner, n_heads = h.get_int("ssm.inner_size", hi=1 << 20), h.get_int("ssm.time_step_rank", hi=4096)
    h.require(n_inner % n_heads == 0, "ssm.time_step_rank", n_heads, f"a divisor of {n_inner}")
    n_groups = h.get_int("ssm.group_count", 1, lo=0, hi=4096) or 1
    h.require(n_heads % n_groups == 0, "ssm.group_count", n_groups, f"a divisor of {n_heads}")
    n_state = h.get_int("ssm.state_size", hi=1024)
    return MambaParams(n_heads, n_groups, n_inner, n_state, h.get_int("ssm.conv_kernel", lo=2, hi=64))
