"""Qwen3-Next and Qwen 3.5: gated delta-net layers with gated full attention at every fourth."""

from dataclasses import dataclass, replace

import numpy as np

from ..gguf.file import GGUFFile
from .architecture import Capacity
from .blocks.delta_net import DeltaNet
from .blocks.linear import Linear
from .blocks.residual import Block
from .hyper import Hyper
from .transformer import Transformer, TransformerParams


@dataclass(frozen=True)
class DeltaParams:
    """Hk key and Hv value heads of D, a convolution of `taps`, and which layers are delta nets."""

    n_keys: int
    n_values: int
    dim: int
    taps: int
    recurrent: tuple[bool, ...]

    @property
    def n_channels(self) -> int:
        """Of the convolution: q, k and v side by side."""
        return (2 * self.n_keys + self.n_values) * self.dim

    @property
    def n_z(self) -> int:
        return self.n_values * self.dim


class Qwen35(Transformer):
    """Value heads are tiled over key heads, and gates' projections stand apart."""

    name = "qwen35"
    called = "Qwen 3.5 and 3.6"
    ffn_norms = "post_attention_norm", ""
    head_norms = True
    normalises = True
    shared_gated = True
    tiled = True

    def __init__(self, f: GGUFFile, capacity: Capacity) -> None:
        super().__init__(f, capacity)
        self.tail = self.delta.taps - 1

    def read(self, h: Hyper) -> TransformerParams:
        p = super().read(h)
        self.delta = read_delta(h)
        n_kv, heads = h.get_ints("attention.head_count_kv", len(p.heads), p.heads[0].n), p.heads[0]
        attends = [n for n, recurrent in zip(n_kv, self.delta.recurrent, strict=True) if not recurrent]
        h.require(0 not in attends, "attention.head_count_kv", 0, "heads in layers that attend")
        fits = heads.dim_v == heads.dim
        h.require(fits, "attention.value_length", heads.dim_v, f"{heads.dim}, as attention.key_length")
        return p

    def attention(self, i: int, at: str) -> Block:
        if self.delta.recurrent[i]:
            return self._delta_net(at)
        heads, width = self.params.heads[i], self.params.width
        q = self.linear(at + "attn_q", 2 * heads.n * heads.dim, width)
        k, v = (self.linear(f"{at}attn_{name}", heads.n_kv * heads.dim, width) for name in "kv")
        return replace(self.attend(i, at, q, k, v, *self.new_caches(i, at)), gated=True)

    def _delta_net(self, at: str) -> DeltaNet:
        s, weights = self.delta, self.weights
        qkv, z = self._delta_inputs(at)
        return DeltaNet(
            qkv=qkv,
            z=z,
            gates=self._gates(at),
            conv=weights.vector(at + "ssm_conv1d.weight", (s.n_channels, s.taps)),
            dt=weights.vector(at + "ssm_dt.bias", (s.n_values,)),
            a=weights.vector(at + "ssm_a", (s.n_values,)),
            norm=weights.vector(at + "ssm_norm.weight", (s.dim,)),
            out=self.linear(at + "ssm_out", self.params.width, s.n_z),
            conv_state=self.state(at + "conv_state", (s.taps - 1) * s.n_channels),
            state=self.state(at + "delta_state", s.n_z * s.dim),
            n_keys=s.n_keys,
            eps=self.params.eps,
            tiled=self.tiled,
        )

    def _delta_inputs(self, at: str) -> tuple[Linear, Linear]:
        """The projections to q, k, v and to z."""
        s, width = self.delta, self.params.width
        return self.linear(at + "attn_qkv", s.n_channels, width), self.linear(at + "attn_gate", s.n_z, width)

    def _gates(self, at: str) -> tuple[Linear, ...]:
        """One product makes both where it can."""
        names, shape = [at + "ssm_beta", at + "ssm_alpha"], (self.delta.n_values, self.params.width)
        plain = not any(self.weights.has(name + ".bias") for name in names)
        if plain and (both := self.weights.stacked([name + ".weight" for name in names], shape)):
            return (Linear(both),)
        beta, alpha = (self.linear(name, *shape) for name in names)
        return beta, alpha


class Qwen35Moe(Qwen35):
    name = "qwen35moe"
    called = "Qwen 3.5 and 3.6 with experts"


class Qwen3Next(Qwen35):
    """Value heads of a key head stand side by side, and so do their gates in one matrix."""

    name = "qwen3next"
    called = "Qwen3-Next"
    tiled = False

    def read(self, h: Hyper) -> TransformerParams:
        h.get_int("expert_count", hi=65536)  # there always are some
        return super().read(h)

    def _gates(self, at: str) -> tuple[Linear, ...]:
        return (self.linear(at + "ssm_ba", 2 * self.delta.n_values, self.params.width),)

    def _delta_inputs(self, at: str) -> tuple[Linear, Linear]:
        """Older files hold both in one, interleaved by key head."""
        s, weights, legacy = self.delta, self.weights, at + "ssm_in.weight"
        if not weights.has(legacy) or weights.has(at + "attn_qkv.weight"):
            return super()._delta_inputs(at)
        share = s.n_values // s.n_keys * s.dim
        rows = np.arange(s.n_channels + s.n_z).reshape(s.n_keys, 2 * s.dim + 2 * share)
        q, k, v, z = (part.reshape(-1) for part in np.split(rows, np.cumsum([s.dim, s.dim, share]), 1))
        shape = (s.n_channels + s.n_z, self.params.width)
        parts = {"qkv": np.concatenate([q, k, v]), "z": z}
        qkv, z = (Linear(weights.rows(legacy, shape, picked, name)) for name, picked in parts.items())
        return qkv, z


def read_delta(h: Hyper) -> DeltaParams:
    n_keys, n_values = (h.get_int(f"ssm.{key}", hi=4096) for key in ("group_count", "time_step_rank"))
    h.require(n_values % n_keys == 0, "ssm.group_count", n_keys, f"a divisor of {n_values}")
    dim = h.get_int("ssm.state_size", hi=1024)
    stored = h.get_int("ssm.inner_size", n_values * dim, hi=1 << 30)
    wanted = f"{n_values * dim}, which is ssm.time_step_rank x ssm.state_size"
    h.require(stored == n_values * dim, "ssm.inner_size", stored, wanted)
    return DeltaParams(n_keys, n_values, dim, h.get_int("ssm.conv_kernel", lo=2, hi=64), _recurrent(h))


def _recurrent(h: Hyper) -> tuple[bool, ...]:
    n_layers, listed = h.get_int("block_count", hi=4096), "attention.recurrent_layers"
    if h.has(listed):
        return tuple(h.file.get_bools(h.key(listed), length=n_layers).tolist())
    interval = h.get_int("full_attention_interval", 4, hi=4096)
    return tuple((i + 1) % interval != 0 for i in range(n_layers))
