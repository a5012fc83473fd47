"""Weights for make.py: random blocks of every type, other layouts, and GGUF's tensors back in transformers."""

import re
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from vkrun.runtime.convert.qwen3next import Shape

Tensors = dict[str, np.ndarray]

# Types that gguf's package cannot quantise to: where a block holds its fp16 scale and its fp16 minimum, and how many
# scales the minimum is worth for values centred on 0.
_RANDOM = {
    Type.Q2_K: (80, 82, 1.5),
    Type.Q3_K: (108, None, 0.0),
    Type.Q4_K: (0, 2, 7.5),
    Type.Q5_K: (0, 2, 15.5),
    Type.Q6_K: (208, None, 0.0),
    Type.IQ4_NL: (0, None, 0.0),
}


def type_of(name: str, rules: dict[str, str]) -> Type:
    return Type[next(kind for pattern, kind in rules.items() if re.search(pattern, name))]


def random_blocks(shape: tuple[int, ...], kind: Type, std: float, rng: np.random.Generator) -> np.ndarray:
    """Random bytes [..., row bytes] of a block type whose scales give values of that standard deviation."""
    at, at_min, centre = _RANDOM[kind]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (*shape[:-1], shape[-1] // block, size), dtype=np.uint8)

    def set_scales(scale: np.ndarray) -> np.ndarray:
        raw[..., at : at + 2] = scale.astype(np.float16)[..., None].view(np.uint8)
        if at_min is not None:
            raw[..., at_min : at_min + 2] = (scale * centre).astype(np.float16)[..., None].view(np.uint8)
        return raw.reshape(*shape[:-1], -1)

    ones = np.full(raw.shape[:-1], 2.0**-7, dtype=np.float32)
    measured = gguf.dequantize(set_scales(ones), kind).std()
    return set_scales(ones * (std / measured) * rng.uniform(0.7, 1.3, ones.shape).astype(np.float32))


def encoded(x: np.ndarray, kind: Type, rng: np.random.Generator) -> np.ndarray:
    """float32 values -> what GGUFWriter takes for the type; random values of the same spread for _RANDOM's types."""
    if kind in _RANDOM:
        return random_blocks(x.shape, kind, float(x.std()), rng)
    return x if kind == Type.F32 else gguf.quantize(x, kind)


def decoded(data: np.ndarray, kind: Type, shape: tuple[int, ...]) -> np.ndarray:
    return gguf.dequantize(data, kind).astype(np.float32).reshape(shape)


def _per_head(x: np.ndarray, heads: int) -> np.ndarray:
    return x.reshape(heads, -1, *x.shape[1:])


def joined_qkvz(qkv: np.ndarray, z: np.ndarray, s: Shape) -> np.ndarray:
    """attn_qkv and attn_gate -> the rows per k head as q, k, its v heads, their z."""
    q, k, v = np.split(qkv, [s.key_rows, 2 * s.key_rows])
    parts = [_per_head(part, s.delta_k) for part in (q, k, v, z)]
    return np.concatenate(parts, axis=1).reshape(-1, qkv.shape[-1])


def with_layout(tensors: Tensors, layout: str, s: Shape) -> Tensors:
    """The same weights as older ("ssm_in") or newer ("gate_up") files store them."""
    result: Tensors = {}
    for name, x in tensors.items():
        if layout == "ssm_in" and name.endswith("attn_qkv.weight"):
            gate = tensors[name.replace("attn_qkv", "attn_gate")]
            result[name.replace("attn_qkv", "ssm_in")] = joined_qkvz(x, gate, s)
        elif layout == "gate_up" and name.endswith("ffn_gate_exps.weight"):
            up = tensors[name.replace("gate_exps", "up_exps")]
            result[name.replace("gate_exps", "gate_up_exps")] = np.concatenate([x, up], axis=1)
        elif not _replaced(name, layout):
            result[name] = x
    return result


def _replaced(name: str, layout: str) -> bool:
    gone = {"ssm_in": "attn_gate.weight", "gate_up": "ffn_up_exps.weight"}.get(layout)
    return gone is not None and name.endswith(gone)


_RENAMED = {
    "attn_norm.weight": "input_layernorm.weight",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
    "ssm_in.weight": "linear_attn.in_proj_qkvz.weight",
    "ssm_ba.weight": "linear_attn.in_proj_ba.weight",
    "ssm_conv1d.weight": "linear_attn.conv1d.weight",
    "ssm_dt.bias": "linear_attn.dt_bias",
    "ssm_a": "linear_attn.A_log",
    "ssm_norm.weight": "linear_attn.norm.weight",
    "ssm_out.weight": "linear_attn.out_proj.weight",
    "ffn_gate_inp.weight": "mlp.gate.weight",
    "ffn_gate_up_exps.weight": "mlp.experts.gate_up_proj",
    "ffn_down_exps.weight": "mlp.experts.down_proj",
    "ffn_gate_inp_shexp.weight": "mlp.shared_expert_gate.weight",
    "ffn_gate_shexp.weight": "mlp.shared_expert.gate_proj.weight",
    "ffn_up_shexp.weight": "mlp.shared_expert.up_proj.weight",
    "ffn_down_shexp.weight": "mlp.shared_expert.down_proj.weight",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def _restored(name: str, x: np.ndarray) -> np.ndarray:
    """The converter's changes undone."""
    if name.endswith("norm.weight") and not name.endswith("ssm_norm.weight"):
        return x - np.float32(1)
    if name.endswith("ssm_a"):
        return np.log(-x)
    if name.endswith("ssm_conv1d.weight"):
        return x[:, None]
    return x[None] if name.endswith("ffn_gate_inp_shexp.weight") else x


def to_transformers(tensors: Tensors, s: Shape) -> dict[str, Any]:
    """GGUF's float32 tensors, in any layout, under transformers' in-memory names."""
    for layout in ("ssm_in", "gate_up"):
        tensors = with_layout(tensors, layout, s)
    state = {}
    for name, x in tensors.items():
        if name.startswith("blk."):
            _, block, rest = name.split(".", 2)
            target = f"model.layers.{block}.{_RENAMED[rest]}"
        else:
            target = _TOP[name.removesuffix(".weight")] + ".weight"
        state[target] = _restored(name, x)
    if "lm_head.weight" not in state:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state
