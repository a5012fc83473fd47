"""Qwen3-Next: gated delta-net layers with full attention at every fourth, and a mixture of experts in each layer."""

from dataclasses import dataclass

import numpy as np

from ..gguf.file import GGUFFile
from ..ir.composites import attention, cache_write, causal_conv, gated_delta_net, moe_ffn
from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.tensor import Kind, Storage, Tensor
from .qwen3next_params import ARCHITECTURE, Qwen3NextParams
from .step import StepInputs, StepShape
from .weights import Weights

Step = dict[str, Tensor]


@dataclass(frozen=True)
class DeltaNet:
    """Weights and states of a delta-net layer."""

    qkv: Tensor
    z: Tensor
    ba: Tensor
    conv: Tensor
    dt: Tensor
    a: Tensor
    norm: Tensor
    out: Tensor
    conv_state: Tensor
    state: Tensor


@dataclass(frozen=True)
class Attention:
    """Weights and caches of an attention layer."""

    q: Tensor
    k: Tensor
    v: Tensor
    q_norm: Tensor
    k_norm: Tensor
    out: Tensor
    k_cache: Tensor
    v_cache: Tensor


@dataclass(frozen=True)
class Layer:
    norm: Tensor
    mixer: DeltaNet | Attention
    ffn_norm: Tensor
    router: Tensor
    experts: tuple[Tensor, Tensor, Tensor]
    shared: tuple[Tensor, Tensor, Tensor, Tensor]


class Qwen3Next:
    """A qwen3next file as graphs: `weights` to upload, `states` to allocate, `graph(shape)` to plan."""

    architecture = ARCHITECTURE

    def __init__(self, f: GGUFFile, n_ctx: int, n_slots: int) -> None:
        self.params = p = Qwen3NextParams.from_gguf(f)
        self.n_ctx, self.n_slots, self.n_vocab = n_ctx, n_slots, p.n_vocab
        self.weights = Weights(f)
        self.states: list[Storage] = []
        self._embedding = self.weights.matrix("token_embd.weight", (p.n_vocab, p.width))
        self._rope = self.weights.constant(
            "rope", (n_ctx, p.rope_dims), lambda first, stop: rope_rows(first, stop, p.rope_dims, p.rope_base)
        )
        self._layers = [self._layer(i) for i in range(p.n_layers)]
        self._norm = self.weights.vector("output_norm.weight", (p.width,))
        tied = not self.weights.has("output.weight")
        self._head = self._embedding if tied else self.weights.matrix("output.weight", (p.n_vocab, p.width))

    @property
    def recurrent_states(self) -> list[Storage]:
        """The states that a new sequence must find zeroed, [n_slots, ...]; caches need not be."""
        mixers = (layer.mixer for layer in self._layers)
        return [t.storage for m in mixers if isinstance(m, DeltaNet) for t in (m.conv_state, m.state)]

    def inputs(self, shape: StepShape) -> StepInputs:
        return StepInputs(shape, self.params.conv_width - 1)

    def graph(self, inputs: StepInputs) -> Graph:
        """The whole model for one step. Its output is "logits" [n_out, n_vocab], or "ring" where tokens are drawn."""
        g, step, shape = Graph(), inputs.tensors(), inputs.shape
        g.inputs["step"] = inputs.storage.tensor()
        x = g.get_rows(self._embedding, step["ids"].reshape(shape.n_rows))
        x = g.select("input", step["source"], x, g.input("embeddings", (shape.n_rows, self.params.width)))
        if not shape.embeddings:
            g.choices["input"] = 0
        for i, layer in enumerate(self._layers):
            with g.scope(f"blk.{i}"):
                x = self._run_layer(g, layer, x, step, shape)
        with g.scope("output"):
            if shape.n_out != shape.n_rows:
                x = g.get_rows(x, step["out_rows"])
            logits = g.mul_mat(self._head, g.rms_norm_scale(x, self._norm, self.params.eps))
            if shape.n_drawn:
                draw(g, logits, step, shape.n_drawn)
            else:
                g.output("logits", logits)
        return g

    def _run_layer(self, g: Graph, layer: Layer, x: Tensor, step: Step, shape: StepShape) -> Tensor:
        h = g.rms_norm_scale(x, layer.norm, self.params.eps)
        mix = self._attention if isinstance(layer.mixer, Attention) else self._delta_net
        x = g.add(x, mix(g, layer.mixer, h, step, shape))  # pyright: ignore[reportArgumentType]
        h = g.rms_norm_scale(x, layer.ffn_norm, self.params.eps)
        return g.add(x, moe_ffn(g, h, layer.router, layer.experts, layer.shared, self.params.n_experts_used))

    def _delta_net(self, g: Graph, w: DeltaNet, h: Tensor, step: Step, shape: StepShape) -> Tensor:
        p, (n_seqs, n_tokens) = self.params, (shape.n_seqs, shape.n_tokens)
        n_keys, n_values, dim = p.n_delta_keys, p.n_delta_values, p.delta_dim
        qkv = g.mul_mat(w.qkv, h).reshape(n_seqs, n_tokens, p.n_channels)
        z = g.mul_mat(w.z, h).reshape(n_seqs, n_tokens, n_values, dim)
        ba = g.mul_mat(w.ba, h).reshape(n_seqs, n_tokens, n_keys, 2 * p.delta_share)
        qkv = causal_conv(g, qkv, w.conv, w.conv_state, step["slots"], step["tails"])
        q, k, v = _split(qkv, n_keys * dim, n_keys * dim, n_values * dim)
        beta, alpha = _split(ba, p.delta_share, p.delta_share)
        q, k = (t.reshape(n_seqs, n_tokens, n_keys, dim) for t in (q, k))
        v = v.reshape(n_seqs, n_tokens, n_values, dim)
        o = gated_delta_net(g, q, k, v, beta, alpha, w.a, w.dt, w.state, step["slots"], step["n_valid"])
        y = g.gated_norm(o, w.norm, z, p.eps)
        return g.mul_mat(w.out, y.reshape(shape.n_rows, n_values * dim))

    def _attention(self, g: Graph, w: Attention, h: Tensor, step: Step, shape: StepShape) -> Tensor:
        p, (n_seqs, n_tokens) = self.params, (shape.n_seqs, shape.n_tokens)
        q_gate = g.mul_mat(w.q, h).reshape(n_seqs, n_tokens, p.n_heads, 2 * p.head_dim)
        q, gate = _split(q_gate, p.head_dim, p.head_dim)
        k = g.mul_mat(w.k, h).reshape(n_seqs, n_tokens, p.n_heads_kv, p.head_dim)
        v = g.mul_mat(w.v, h).reshape(n_seqs, n_tokens, p.n_heads_kv, p.head_dim)
        q = g.rope(g.rms_norm_scale(q, w.q_norm, p.eps), step["pos"], self._rope)
        k = g.rope(g.rms_norm_scale(k, w.k_norm, p.eps), step["pos"], self._rope)
        cache_write(g, w.k_cache, step["cache_rows"], k)
        cache_write(g, w.v_cache, step["cache_rows"], v)
        scale = p.head_dim**-0.5
        o = attention(g, q, w.k_cache, w.v_cache, step["slots"], step["pos"], gate, scale, shape.n_kv)
        return g.mul_mat(w.out, o.reshape(shape.n_rows, p.n_heads * p.head_dim))

    def _layer(self, i: int) -> Layer:
        p, weights, at = self.params, self.weights, f"blk.{i}."
        return Layer(
            norm=weights.vector(at + "attn_norm.weight", (p.width,)),
            mixer=self._delta_net_weights(i) if p.recurrent[i] else self._attention_weights(i),
            ffn_norm=weights.vector(at + "post_attention_norm.weight", (p.width,)),
            router=weights.matrix(at + "ffn_gate_inp.weight", (p.n_experts, p.width)),
            experts=self._experts(at),
            shared=(
                weights.matrix(at + "ffn_gate_shexp.weight", (p.shared_width, p.width)),
                weights.matrix(at + "ffn_up_shexp.weight", (p.shared_width, p.width)),
                weights.matrix(at + "ffn_down_shexp.weight", (p.width, p.shared_width)),
                weights.vector(at + "ffn_gate_inp_shexp.weight", (1, p.width)),
            ),
        )

    def _experts(self, at: str) -> tuple[Tensor, Tensor, Tensor]:
        p, weights = self.params, self.weights
        n, f = p.n_experts, p.expert_width
        down = weights.matrix(at + "ffn_down_exps.weight", (n, p.width, f))
        if weights.has(at + "ffn_gate_up_exps.weight"):
            both = weights.matrix(at + "ffn_gate_up_exps.weight", (n, 2 * f, p.width))
            return both.slice(1, 0, f), both.slice(1, f, 2 * f), down
        gate = weights.matrix(at + "ffn_gate_exps.weight", (n, f, p.width))
        return gate, weights.matrix(at + "ffn_up_exps.weight", (n, f, p.width)), down

    def _delta_net_weights(self, i: int) -> DeltaNet:
        p, weights, at = self.params, self.weights, f"blk.{i}."
        n_values = p.n_delta_values
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
            conv_state=self._state(f"blk.{i}.conv_state", (p.conv_width - 1) * p.n_channels),
            state=self._state(f"blk.{i}.delta_state", n_values * p.delta_dim**2),
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

    def _attention_weights(self, i: int) -> Attention:
        p, weights, at = self.params, self.weights, f"blk.{i}."
        n_q, n_kv = p.n_heads * p.head_dim, p.n_heads_kv * p.head_dim
        return Attention(
            q=weights.matrix(at + "attn_q.weight", (2 * n_q, p.width)),
            k=weights.matrix(at + "attn_k.weight", (n_kv, p.width)),
            v=weights.matrix(at + "attn_v.weight", (n_kv, p.width)),
            q_norm=weights.vector(at + "attn_q_norm.weight", (p.head_dim,)),
            k_norm=weights.vector(at + "attn_k_norm.weight", (p.head_dim,)),
            out=weights.matrix(at + "attn_output.weight", (p.width, n_q)),
            k_cache=self._state(f"blk.{i}.k_cache", self.n_ctx, n_kv),
            v_cache=self._state(f"blk.{i}.v_cache", self.n_ctx, n_kv),
        )

    def _state(self, name: str, *shape: int) -> Tensor:
        storage = Storage(name, Kind.STATE, DType.F32, (self.n_slots, *shape))
        self.states.append(storage)
        return storage.tensor()


def draw(g: Graph, logits: Tensor, step: Step, n_drawn: int) -> None:
    """Draw the next tokens from the n_drawn largest logits (1: take the largest), and move the step buffer on."""
    ids = g.top_k(logits, n_drawn)
    token = ids if n_drawn == 1 else g.one("draw", logits, ids, step["settings"], step["pos"])
    g.emit("advance", logits, token, step["ids"], step["pos"], step["cache_rows"], step["ring"])
    g.output("ring", step["ring"])


def _split(x: Tensor, *sizes: int) -> list[Tensor]:
    """Views of the last axis, one after the other."""
    stops = np.cumsum(sizes).tolist()
    return [x.slice(x.ndim - 1, stop - n, stop) for n, stop in zip(sizes, stops, strict=True)]


def rope_rows(first: int, stop: int, n_dims: int, base: float) -> np.ndarray:
    """cos (n/2), then sin (n/2) of pos * base^(-2i/n), rows first to stop: [stop - first, n].

    In fp64, since far positions lose bits in fp32.
    """
    angles = np.arange(first, stop)[:, None] * base ** (-np.arange(0, n_dims, 2, dtype=np.float64) / n_dims)
    return np.concatenate([np.cos(angles), np.sin(angles)], 1)
