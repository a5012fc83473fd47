"""Qwen3-Next: gated delta-net layers with full attention at every fourth, and a mixture of experts in each layer."""

import numpy as np

from ..gguf.file import GGUFFile
from ..ir.tensor import Tensor
from .architecture import Capacity
from .blocks.attention import Attention
from .blocks.delta_net import DeltaNet
from .blocks.experts import Experts, expert_matrices
from .blocks.residual import Chain, Residual
from .decoder import Decoder
from .hyper import Hyper
from .qwen3next_params import ARCHITECTURE, Qwen3NextParams
from .rotary import read_rope


class Qwen3Next(Decoder):
    name = ARCHITECTURE
    called = "Qwen3-Next"
    params: Qwen3NextParams

    def __init__(self, f: GGUFFile, capacity: Capacity) -> None:
        super().__init__(f, capacity)
        self.tail = self.params.conv_width - 1

    def read(self, h: Hyper) -> Qwen3NextParams:
        p = Qwen3NextParams.from_gguf(h)
        self.rope = read_rope(h, self.weights, self.capacity.n_ctx, p.rope_dims, neighbours=False)
        return p

    def layer(self, i: int) -> Chain:
        p, at = self.params, f"blk.{i}."
        mixer = self._delta_net(at) if p.recurrent[i] else self._attention(at)
        norms = (self.norm_of(at + name, p.width) for name in ("attn_norm", "post_attention_norm"))
        return Chain((Residual(mixer, next(norms)), Residual(self._experts(at), next(norms))))

    def _experts(self, at: str) -> Experts:
        p, weights = self.params, self.weights
        shared = {
            "shared_gate": weights.matrix(at + "ffn_gate_shexp.weight", (p.shared_width, p.width)),
            "shared_up": weights.matrix(at + "ffn_up_shexp.weight", (p.shared_width, p.width)),
            "shared_down": weights.matrix(at + "ffn_down_shexp.weight", (p.width, p.shared_width)),
            "shared_in": weights.vector(at + "ffn_gate_inp_shexp.weight", (1, p.width)),
        }
        router = self.linear(at + "ffn_gate_inp", p.n_experts, p.width)
        experts = expert_matrices(weights, at, p.n_experts, p.width, p.expert_width)
        return Experts(router, experts, p.n_experts_used, shared)

    def _delta_net(self, at: str) -> DeltaNet:
        p, weights, n_values = self.params, self.weights, self.params.n_delta_values
        qkv, z = self._delta_inputs(at)
        return DeltaNet(
            qkv=qkv,
            z=z,
            ba=weights.matrix(at + "ssm_ba.weight", (2 * n_values, p.width)),
            conv=weights.vector(at + "ssm_conv1d.weight", (p.n_channels, p.conv_width)),
            dt=weights.vector(at + "ssm_dt.bias", (n_values,)),
            a=weights.vector(at + "ssm_a", (n_values,)),
            norm=weights.vector(at + "ssm_norm.weight", (p.delta_dim,)),
            out=weights.matrix(at + "ssm_out.weight", (p.width, n_values * p.delta_dim)),
            conv_state=self.state(at + "conv_state", (p.conv_width - 1) * p.n_channels),
            state=self.state(at + "delta_state", n_values * p.delta_dim**2),
            n_keys=p.n_delta_keys,
            eps=p.eps,
        )

    def _delta_inputs(self, at: str) -> tuple[Tensor, Tensor]:
        """The projections to q, k, v and to z; older files hold both in one, interleaved by key head."""
        p, weights = self.params, self.weights
        n_z = p.n_delta_values * p.delta_dim
        legacy = at + "ssm_in.weight"
        if not weights.has(legacy) or weights.has(at + "attn_qkv.weight"):
            qkv = weights.matrix(at + "attn_qkv.weight", (p.n_channels, p.width))
            return qkv, weights.matrix(at + "attn_gate.weight", (n_z, p.width))
        d, share = p.delta_dim, p.delta_share * p.delta_dim
        rows = np.arange(p.n_channels + n_z).reshape(p.n_delta_keys, 2 * d + 2 * share)
        q, k, v, z = (part.reshape(-1) for part in np.split(rows, np.cumsum([d, d, share]), 1))
        shape = (p.n_channels + n_z, p.width)
        return weights.rows(legacy, shape, np.concatenate([q, k, v]), "qkv"), weights.rows(legacy, shape, z, "z")

    def _attention(self, at: str) -> Attention:
        p = self.params
        n_q, n_kv = p.n_heads * p.head_dim, p.n_heads_kv * p.head_dim
        return Attention(
            q=self.linear(at + "attn_q", 2 * n_q, p.width),
            k=self.linear(at + "attn_k", n_kv, p.width),
            v=self.linear(at + "attn_v", n_kv, p.width),
            out=self.linear(at + "attn_output", p.width, n_q),
            q_norm=self.norm_of(at + "attn_q_norm", p.head_dim),
            k_norm=self.norm_of(at + "attn_k_norm", p.head_dim),
            rope=self.rope,
            k_cache=self.cache(at + "k_cache", n_kv),
            v_cache=self.cache(at + "v_cache", n_kv),
            dim=p.head_dim,
            scale=p.head_dim**-0.5,
            gated=True,
        )
