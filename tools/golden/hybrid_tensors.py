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

HYBRID_RULES: "dict[str, Rule]" = {
    r"linear_attn\.(.+)$": _tiled,
}
