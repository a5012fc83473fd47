"""From the tensors of a GGUF file to transformers' parameters of recurrent layers."""

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from family_tensors import Maker, Rule

Array = np.ndarray
Shape = tuple[int, ...]


def _tiled(make: "Maker", at: str, match: re.Match, shape: Shape) -> Array | None:
    """The delta net of Qwen 3.5: value heads stand by key head in transformers, and tiled over key heads in a file."""
    name = {**_TILED, "out_proj.weight": "ssm_out.weight"}[match[1]]
    made = make.draw(at + name, _squeezed(shape))
    if name == "ssm_a":
        made = np.log(-made)
    if name == "ssm_norm.weight":
        return made
    if name == "ssm_out.weight":
        return _by_key(make, made.T).T
    n_keys = 2 * make.spec.config["linear_num_key_heads"] * make.spec.config["linear_key_head_dim"]
    first = n_keys if name in ("attn_qkv.weight", "ssm_conv1d.weight") else 0
    return np.concatenate([made[:first], _by_key(make, made[first:])]).reshape(shape)


def _by_key(make: "Maker", rows: Array) -> Array:
    """Rows of value heads j*Hk + k, in the order k*share + j."""
    c = make.spec.config
    n_keys, n_values = c["linear_num_key_heads"], c["linear_num_value_heads"]
    return rows.reshape(n_values // n_keys, n_keys, -1, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)


def _squeezed(shape: Shape) -> Shape:
    """A depthwise convolution's [C, 1, taps] as [C, taps]."""
    return tuple(n for i, n in enumerate(shape) if n > 1 or i != 1)


_TILED = {
    "in_proj_qkv.weight": "attn_qkv.weight",
    "in_proj_z.weight": "attn_gate.weight",
    "in_proj_b.weight": "ssm_beta.weight",
    "in_proj_a.weight": "ssm_alpha.weight",
    "conv1d.weight": "ssm_conv1d.weight",
    "dt_bias": "ssm_dt.bias",
    "A_log": "ssm_a",
    "norm.weight": "ssm_norm.weight",
}


def _named(make: "Maker", at: str, match: re.Match, shape: Shape) -> Array | None:
    """Tensors that differ in name alone, or in axes of 1."""
    name = NAMED.get(make.spec.architecture, {}).get(match[1])
    if name is None:
        return None
    if name in ("ssm_a", "ssm_d"):
        made = make.draw(at + name, (max(shape), 1)).reshape(shape)
        return np.log(-made) if name == "ssm_a" else made
    stored = _squeezed(shape)
    if name == "ssm_norm.weight" and make.spec.architecture != "kimi-linear":
        c = make.spec.config
        n_groups = c.get("mamba_n_groups") or c["n_groups"]
        stored = n_groups, shape[0] // n_groups
    return make.draw(name if name.startswith("token_embd") else at + name, stored).reshape(shape)


def _input_linear(make: "Maker", at: str, match: re.Match, shape: Shape) -> Array:
    """Granite: gate and up in one."""
    end = "_shexp" if make.spec.config["num_local_experts"] else ""
    if match[1] == "output":
        return make.draw(f"{at}ffn_down{end}.weight", shape)
    half = shape[0] // 2, shape[1]
    return np.concatenate([make.draw(f"{at}ffn_{x}{end}.weight", half) for x in ("gate", "up")])


def _one_of_three(make: "Maker", at: str, match: re.Match, shape: Shape) -> Array | None:
    """Nomic BERT: q, k and v in one matrix."""
    if make.spec.architecture != "nomic-bert":
        return None
    whole = make.draw(at + "attn_qkv.weight", (3 * shape[0], shape[1]))
    return np.split(whole, 3)["qkv".index(match[1])]


def _three_convolutions(make: "Maker", at: str, _match: re.Match, shape: Shape) -> Array | None:
    """Kimi: one for each of q, k and v."""
    if make.spec.architecture != "kimi-linear":
        return None
    third = shape[0] // 3, shape[2]
    return np.concatenate([make.draw(f"{at}ssm_conv1d_{x}.weight", third) for x in "qkv"])[:, None]


_KIMI = {
    **{f"self_attn.{x}_proj.weight": f"attn_{x}.weight" for x in "qkv"},
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.b_proj.weight": "ssm_beta.weight",
    **{f"self_attn.g_{x}_proj.weight": f"ssm_g_{x}.weight" for x in "ab"},
    **{f"self_attn.forget_gate.f_{x}_proj.weight": f"ssm_f_{x}.weight" for x in "ab"},
    "self_attn.forget_gate.dt_bias": "ssm_dt.bias",
    "self_attn.forget_gate.A_log": "ssm_a",
    "self_attn.o_norm.weight": "ssm_norm.weight",
}
_MAMBA = {
    "in_proj.weight": "ssm_in.weight",
    "conv1d.weight": "ssm_conv1d.weight",
    "conv1d.bias": "ssm_conv1d.bias",
    "dt_bias": "ssm_dt.bias",
    "A_log": "ssm_a",
    "D": "ssm_d",
    "norm.weight": "ssm_norm.weight",
    "out_proj.weight": "ssm_out.weight",
}
_LFM2 = {
    **{f"conv.{name}.weight": f"shortconv.{name}.weight" for name in ("in_proj", "conv", "out_proj")},
    **{f"feed_forward.w{i}.weight": f"ffn_{name}.weight" for i, name in ((1, "gate"), (2, "down"), (3, "up"))},
    "feed_forward.gate.weight": "ffn_gate_inp.weight",
    "feed_forward.expert_bias": "exp_probs_b.bias",
    "self_attn.out_proj.weight": "attn_output.weight",
    "self_attn.q_layernorm.weight": "attn_q_norm.weight",
    "self_attn.k_layernorm.weight": "attn_k_norm.weight",
    "operator_norm.weight": "attn_norm.weight",
}
_NEMOTRON = {
    **{f"mixer.{name}": stored for name, stored in _MAMBA.items()},
    **{f"mixer.{x}_proj.weight": f"attn_{x}.weight" for x in "qkv"},
    "mixer.o_proj.weight": "attn_output.weight",
    **{f"mixer.{x}_proj.weight": f"ffn_{x}.weight" for x in ("up", "down")},
    **{f"mixer.experts.{x}_proj": f"ffn_{x}_exps.weight" for x in ("up", "down")},
    **{f"mixer.shared_experts.{x}_proj.weight": f"ffn_{x}_shexp.weight" for x in ("up", "down")},
    "mixer.gate.weight": "ffn_gate_inp.weight",
    "mixer.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mixer.fc1_latent_proj.weight": "ffn_latent_down.weight",
    "mixer.fc2_latent_proj.weight": "ffn_latent_up.weight",
    "norm.weight": "attn_norm.weight",
}
_OF_MAMBA = {f"mamba.{name}": stored for name, stored in _MAMBA.items()}
NAMED = {
    "lfm2": _LFM2,
    "lfm2moe": _LFM2,
    "granitehybrid": _OF_MAMBA,
    "falcon-h1": {**_OF_MAMBA, "pre_ff_layernorm.weight": "ffn_norm"},
    "kimi-linear": _KIMI,
    "nomic-bert": {
        f"post_{name}_layernorm.{part}": f"{stored}_output_norm.{part}"
        for name, stored in (("attention", "attn"), ("mlp", "layer"))
        for part in ("weight", "bias")
    },
    "nemotron_h": _NEMOTRON,
    "nemotron_h_moe": _NEMOTRON,
}

HYBRID_RULES: "dict[str, Rule]" = {
    r"layers\.\d+\.(.+)$": _named,
    r"\.([qkv])_proj\.weight$": _one_of_three,
    r"self_attn\.conv1d\.weight$": _three_convolutions,
    r"linear_attn\.(.+)$": _tiled,
    r"shared_mlp\.(input|output)_linear\.weight$": _input_linear,
}
