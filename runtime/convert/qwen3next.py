"""Qwen3-Next: from a Hugging Face config and its tensors to GGUF's keys and tensors (architecture `qwen3next`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConvertError
from .checkpoint import Checkpoint

ARCH = "qwen3next"
PIECE = 1 << 23  # elements converted at a time

Part = np.ndarray
Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Spec:
    """One tensor to be written. `parts` gives its float32 values in pieces along the first axis.

    quantised: whether --outtype applies; otherwise the tensor is float32.
    """

    name: str
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[Part]]
    quantised: bool = True


@dataclass(frozen=True)
class Shape:
    """The sizes of config.json under the names used here."""

    layers: int
    width: int
    vocab: int
    heads: int
    heads_kv: int
    head: int
    rotated: int
    delta_k: int
    delta_v: int
    delta_head: int
    conv: int
    experts: int
    used: int
    ffn: int
    ffn_shared: int
    full: tuple[bool, ...]

    @property
    def key_rows(self) -> int:
        return self.delta_k * self.delta_head

    @property
    def value_rows(self) -> int:
        return self.delta_v * self.delta_head

    @property
    def channels(self) -> int:
        return 2 * self.key_rows + self.value_rows


def _number(config: dict[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 31:
        raise ConvertError(f"config.json: {key} is {value!r}, expected a positive whole number")
    return value


def _full_layers(config: dict[str, Any], layers: int) -> tuple[bool, ...]:
    types = config.get("layer_types")
    if types is None:
        interval = _number(config, "full_attention_interval", 4)
        return tuple((i + 1) % interval == 0 for i in range(layers))
    known = {"full_attention": True, "linear_attention": False}
    if not isinstance(types, list) or len(types) < layers or not set(types) <= set(known):
        raise ConvertError(f"config.json: layer_types is {types!r:.80}, expected {layers} of {sorted(known)}")
    return tuple(known[kind] for kind in types[:layers])


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ConvertError(f"config.json: rope type {kind!r}, expected 'default'")
    base = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    factor = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 0.25))
    return {"base": float(base), "factor": float(factor)}


def _check_supported(config: dict[str, Any]) -> None:
    if config.get("model_type") != "qwen3_next":
        raise ConvertError(f"config.json: model_type is {config.get('model_type')!r}, expected 'qwen3_next'")
    fixed = {"attention_bias": False, "decoder_sparse_step": 1, "norm_topk_prob": True, "hidden_act": "silu"}
    for key, expected in fixed.items():
        if config.get(key, expected) != expected:
            raise ConvertError(f"config.json: {key} is {config[key]!r}, expected {expected!r}")
    if config.get("mlp_only_layers"):
        raise ConvertError(f"config.json: mlp_only_layers is {config['mlp_only_layers']}, expected none")
    key_head, value_head = _number(config, "linear_key_head_dim"), _number(config, "linear_value_head_dim")
    if key_head != value_head:
        raise ConvertError(
            f"config.json: linear_key_head_dim {key_head} differs from linear_value_head_dim {value_head}"
        )


def read_shape(config: dict[str, Any]) -> Shape:
    """The sizes, checked. ConvertError names the key that GGUF's qwen3next cannot express."""
    _check_supported(config)
    layers, head = _number(config, "num_hidden_layers"), _number(config, "head_dim", 256)
    delta_k, delta_v = _number(config, "linear_num_key_heads"), _number(config, "linear_num_value_heads")
    if delta_v % delta_k:
        raise ConvertError(f"config.json: linear_num_value_heads {delta_v} is no multiple of {delta_k} key heads")
    return Shape(
        layers=layers,
        width=_number(config, "hidden_size"),
        vocab=_number(config, "vocab_size"),
        heads=_number(config, "num_attention_heads"),
        heads_kv=_number(config, "num_key_value_heads"),
        head=head,
        rotated=int(head * _rope(config)["factor"]),
        delta_k=delta_k,
        delta_v=delta_v,
        delta_head=_number(config, "linear_key_head_dim"),
        conv=_number(config, "linear_conv_kernel_dim", 4),
        experts=_number(config, "num_experts"),
        used=_number(config, "num_experts_per_tok"),
        ffn=_number(config, "moe_intermediate_size"),
        ffn_shared=_number(config, "shared_expert_intermediate_size"),
        full=_full_layers(config, layers),
    )


def keys(config: dict[str, Any]) -> dict[str, int | float | list[bool]]:
    """GGUF's hyper-parameters, `qwen3next.` left off."""
    s = read_shape(config)
    result: dict[str, int | float | list[bool]] = {
        "block_count": s.layers,
        "context_length": _number(config, "max_position_embeddings"),
        "embedding_length": s.width,
        "feed_forward_length": _number(config, "intermediate_size", s.ffn),
        "attention.head_count": s.heads,
        "attention.head_count_kv": s.heads_kv,
        "attention.key_length": s.head,
        "attention.value_length": s.head,
        "attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "rope.freq_base": _rope(config)["base"],
        "rope.dimension_count": s.rotated,
        "expert_count": s.experts,
        "expert_used_count": s.used,
        "expert_feed_forward_length": s.ffn,
        "expert_shared_feed_forward_length": s.ffn_shared,
        "ssm.conv_kernel": s.conv,
        "ssm.state_size": s.delta_head,
        "ssm.group_count": s.delta_k,
        "ssm.time_step_rank": s.delta_v,
        "ssm.inner_size": s.value_rows,
        "vocab_size": s.vocab,
    }
    interval = next((n for n in range(1, s.layers + 2) if s.full == _every(n, s.layers)), None)
    return result | ({"full_attention_interval": interval} if interval else _recurrent(s))


def _every(interval: int, layers: int) -> tuple[bool, ...]:
    return tuple((i + 1) % interval == 0 for i in range(layers))


def _recurrent(s: Shape) -> dict[str, int | float | list[bool]]:
    """For a pattern that no interval describes."""
    return {"attention.recurrent_layers": [not full for full in s.full]}


def _identity(x: np.ndarray) -> np.ndarray:
    return x


def _plus_one(x: np.ndarray) -> np.ndarray:
    return x + np.float32(1)


def _neg_exp(x: np.ndarray) -> np.ndarray:
    return -np.exp(x)


@dataclass(frozen=True)
class Mapping:
    """The tensors of one checkpoint, block by block."""

    source: Checkpoint
    s: Shape

    def all(self) -> Iterator[Spec]:
        s = self.s
        yield self._plain("token_embd.weight", "model.embed_tokens.weight", (s.vocab, s.width))
        yield self._vector("output_norm.weight", "model.norm.weight", s.width, _plus_one)
        if self._has_head():
            yield self._plain("output.weight", "lm_head.weight", (s.vocab, s.width))
        for i, full in enumerate(s.full):
            yield from self._block(f"blk.{i}.", f"model.layers.{i}.", full)

    def _has_head(self) -> bool:
        if self.source.config.get("tie_word_embeddings", False):
            return False
        return "lm_head.weight" in self.source or self._missing("lm_head.weight")

    def _missing(self, name: str) -> bool:
        raise ConvertError(f"{name}: missing from the checkpoint, expected shape {(self.s.vocab, self.s.width)}")

    def _plain(self, name: str, origin: str, shape: tuple[int, ...]) -> Spec:
        self.source.stored(origin, shape)
        step = max(1, PIECE // int(np.prod(shape[1:])))

        def parts() -> Iterator[Part]:
            for at in range(0, shape[0], step):
                yield self.source.rows(origin, shape, at, at + step)

        return Spec(name, shape, parts)

    def _vector(self, name: str, origin: str, size: int, change: Change = _identity) -> Spec:
        self.source.stored(origin, (size,))
        return Spec(name, (size,), lambda: iter([change(self.source.rows(origin, (size,)))]), quantised=False)

    def _whole(self, name: str, origin: str, stored: tuple[int, ...], shape: tuple[int, ...], change: Change,
               quantised: bool = True) -> Spec:  # fmt: skip
        """A tensor small enough to be held whole while `change` makes it what GGUF wants."""
        self.source.stored(origin, stored)
        return Spec(name, shape, lambda: iter([change(self.source.rows(origin, stored)).reshape(shape)]), quantised)

    def _block(self, out: str, origin: str, full: bool) -> Iterator[Spec]:
        s = self.s
        yield self._vector(out + "attn_norm.weight", origin + "input_layernorm.weight", s.width, _plus_one)
        yield from self._attention(out, origin + "self_attn.") if full else self._delta(out, origin + "linear_attn.")
        post = origin + "post_attention_layernorm.weight"
        yield self._vector(out + "post_attention_norm.weight", post, s.width, _plus_one)
        yield from self._moe(out, origin + "mlp.")

    def _attention(self, out: str, origin: str) -> Iterator[Spec]:
        s = self.s
        yield self._plain(out + "attn_q.weight", origin + "q_proj.weight", (2 * s.heads * s.head, s.width))
        yield self._plain(out + "attn_k.weight", origin + "k_proj.weight", (s.heads_kv * s.head, s.width))
        yield self._plain(out + "attn_v.weight", origin + "v_proj.weight", (s.heads_kv * s.head, s.width))
        yield self._plain(out + "attn_output.weight", origin + "o_proj.weight", (s.width, s.heads * s.head))
        yield self._vector(out + "attn_q_norm.weight", origin + "q_norm.weight", s.head, _plus_one)
        yield self._vector(out + "attn_k_norm.weight", origin + "k_norm.weight", s.head, _plus_one)

    def _delta(self, out: str, origin: str) -> Iterator[Spec]:
        s = self.s
        stored, qkvz = (s.channels + s.value_rows, s.width), origin + "in_proj_qkvz.weight"
        yield self._whole(out + "attn_qkv.weight", qkvz, stored, (s.channels, s.width), lambda x: split_qkvz(x, s)[0])
        yield self._whole(
            out + "attn_gate.weight", qkvz, stored, (s.value_rows, s.width), lambda x: split_qkvz(x, s)[1]
        )
        yield self._plain(out + "ssm_ba.weight", origin + "in_proj_ba.weight", (2 * s.delta_v, s.width))
        conv = (s.channels, 1, s.conv)
        yield self._whole(
            out + "ssm_conv1d.weight", origin + "conv1d.weight", conv, (s.channels, s.conv), _identity, quantised=False
        )
        yield self._vector(out + "ssm_dt.bias", origin + "dt_bias", s.delta_v)
        yield self._vector(out + "ssm_a", origin + "A_log", s.delta_v, _neg_exp)
        yield self._vector(out + "ssm_norm.weight", origin + "norm.weight", s.delta_head)
        yield self._plain(out + "ssm_out.weight", origin + "out_proj.weight", (s.width, s.value_rows))

    def _moe(self, out: str, origin: str) -> Iterator[Spec]:
        s = self.s
        router = (s.experts, s.width)
        yield self._whole(
            out + "ffn_gate_inp.weight", origin + "gate.weight", router, router, _identity, quantised=False
        )
        merged = origin + "experts.gate_up_proj" in self.source
        yield from self._merged_experts(out, origin) if merged else self._single_experts(out, origin)
        shared = origin + "shared_expert."
        yield self._plain(out + "ffn_gate_shexp.weight", shared + "gate_proj.weight", (s.ffn_shared, s.width))
        yield self._plain(out + "ffn_up_shexp.weight", shared + "up_proj.weight", (s.ffn_shared, s.width))
        yield self._plain(out + "ffn_down_shexp.weight", shared + "down_proj.weight", (s.width, s.ffn_shared))
        gate, size = origin + "shared_expert_gate.weight", (1, s.width)
        yield self._whole(out + "ffn_gate_inp_shexp.weight", gate, size, (s.width,), _identity, quantised=False)

    def _single_experts(self, out: str, origin: str) -> Iterator[Spec]:
        s = self.s
        for kind, shape in (("gate", (s.ffn, s.width)), ("up", (s.ffn, s.width)), ("down", (s.width, s.ffn))):
            names = [f"{origin}experts.{x}.{kind}_proj.weight" for x in range(s.experts)]
            yield self._stacked(f"{out}ffn_{kind}_exps.weight", names, shape)

    def _stacked(self, name: str, origins: list[str], shape: tuple[int, ...]) -> Spec:
        for origin in origins:
            self.source.stored(origin, shape)
        return Spec(name, (len(origins), *shape), lambda: (self.source.rows(o, shape)[None] for o in origins))

    def _merged_experts(self, out: str, origin: str) -> Iterator[Spec]:
        """Newer checkpoints: gate_up_proj [X, 2F, E] with gate rows first, down_proj [X, E, F]."""
        s = self.s
        merged = origin + "experts.gate_up_proj"
        stored = (s.experts, 2 * s.ffn, s.width)
        self.source.stored(merged, stored)
        for kind, rows in (("gate", slice(0, s.ffn)), ("up", slice(s.ffn, None))):

            def parts(rows: slice = rows) -> Iterator[Part]:
                return (self.source.rows(merged, stored, x, x + 1)[:, rows] for x in range(s.experts))

            yield Spec(f"{out}ffn_{kind}_exps.weight", (s.experts, s.ffn, s.width), parts)
        yield self._plain(out + "ffn_down_exps.weight", origin + "experts.down_proj", (s.experts, s.width, s.ffn))


def split_qkvz(x: np.ndarray, s: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Rows stored per k head as q, k, its v heads, their z -> (all q, all k, all v) and all z."""
    per_head = x.reshape(s.delta_k, -1, *x.shape[1:])
    d, v = s.delta_head, s.value_rows // s.delta_k
    q, k, v, z = np.split(per_head, [d, 2 * d, 2 * d + v], axis=1)
    flat = [part.reshape(-1, *x.shape[1:]) for part in (q, k, v, z)]
    return np.concatenate(flat[:3]), flat[3]


def specs(source: Checkpoint) -> list[Spec]:
    """All tensors in the order they are written. ConvertError on the first that is missing or mis-shaped."""
    return list(Mapping(source, read_shape(source.config)).all())


def left_over(source: Checkpoint) -> list[str]:
    """Names in the checkpoint that no spec used: the draft head (mtp.*), a tied lm_head, or something unknown."""
    return sorted(set(source.tensors) - source.used)
