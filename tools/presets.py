"""Sizes of well-known models, one for each family that runs: what tools/synthesize.py fills with random weights.

Keys stand without the architecture's name in front, as their files have them. `optional`: tensors that the family can
do without and these files have. `given`: shapes that a family looks up before it asks for them, {i} being the layer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Number = int | float | bool | str | list[int] | list[bool]
HEAD = r"^output\.weight$"
QKV_BIAS = r"attn_[qkv]\.bias"


@dataclass(frozen=True)
class Preset:
    architecture: str
    n_vocab: int
    keys: Mapping[str, Number]
    optional: str = HEAD
    given: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return bool(re.search(self.optional, name))


def _dense(
    layers: int, width: int, hidden: int, heads: tuple[int, int], head_dim: int, base: float, **more: Number
) -> dict[str, Number]:
    """Keys that nearly all families have; _ stands for the dot in `more`, __ for _."""
    named = {key.replace("_", ".").replace("..", "_"): value for key, value in more.items()}
    return {
        "block_count": layers,
        "context_length": 131072,
        "embedding_length": width,
        "feed_forward_length": hidden,
        "attention.head_count": heads[0],
        "attention.head_count_kv": heads[1],
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": head_dim,
        "rope.freq_base": base,
        **named,
    }


def _experts(n: int, used: int, width: int, **more: Number) -> dict[str, Number]:
    named = {f"expert_{key}": value for key, value in more.items()}
    return {"expert_count": n, "expert_used_count": used, "expert_feed_forward_length": width, **named}


def _yarn(factor: float, original: int) -> dict[str, Number]:
    names = {"type": "yarn", "factor": factor, "original_context_length": original}
    return {f"rope.scaling.{key}": value for key, value in names.items()}


_QWEN3_8B = _dense(36, 4096, 12288, (32, 8), 128, 1e6)
_QWEN3_30B = {**_dense(48, 2048, 6144, (32, 4), 128, 1e6), **_experts(128, 8, 768)}
_QWEN2_7B = _dense(28, 3584, 18944, (28, 4), 128, 1e6)
_SECTIONS: dict[str, Number] = {"rope.dimension_sections": [16, 24, 24, 0]}
_DELTA_NET: dict[str, Number] = {
    "ssm.conv_kernel": 4,
    "ssm.state_size": 128,
    "ssm.group_count": 16,
    "ssm.time_step_rank": 32,
    "ssm.inner_size": 4096,
    "full_attention_interval": 4,
}
_LATENT: dict[str, Number] = {
    "attention.kv_lora_rank": 512,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "rope.dimension_count": 64,
    "leading_dense_block_count": 1,
}
_WINDOWS = {"attention.key_length_swa": 256, "attention.value_length_swa": 256, "rope.dimension_count_swa": 256}

PRESETS: dict[str, Preset] = {
    "llama-8b": Preset("llama", 128256, _dense(32, 4096, 14336, (32, 8), 128, 5e5)),
    "mixtral-8x7b": Preset(
        "llama", 32000, {**_dense(32, 4096, 14336, (32, 8), 128, 1e6), "expert_count": 8, "expert_used_count": 2}
    ),
    "ministral-8b": Preset(
        "mistral3",
        131072,
        {
            **_dense(34, 4096, 14336, (32, 8), 128, 1e6),
            **_yarn(16.0, 16384),
            "rope.scaling.yarn_log_multiplier": 1.0,
            "attention.temperature_scale": 0.1,
        },
    ),
    "smollm3-3b": Preset("smollm3", 128256, _dense(36, 2048, 11008, (16, 4), 128, 5e6), "^$"),
    "granite-8b": Preset(
        "granite",
        49159,
        {
            **_dense(40, 4096, 12800, (32, 8), 128, 1e7),
            "embedding_scale": 12.0,
            "residual_scale": 0.22,
            "logit_scale": 16.0,
            "attention.scale": 0.0078125,
        },
        "^$",
    ),
    "granite-3b-a800m": Preset(
        "granitemoe",
        49155,
        {**_dense(32, 1536, 512, (24, 8), 64, 1e4), **_experts(40, 8, 512), "attention.scale": 0.015625},
        "^$",
    ),
    "qwen2-7b": Preset("qwen2", 152064, _QWEN2_7B, f"{HEAD}|{QKV_BIAS}"),
    "qwen2-vl-7b": Preset("qwen2vl", 152064, {**_QWEN2_7B, **_SECTIONS}, f"{HEAD}|{QKV_BIAS}"),
    "qwen2-14b-a2.7b": Preset(
        "qwen2moe",
        151936,
        {
            **_dense(24, 2048, 5632, (16, 16), 128, 1e6),
            **_experts(60, 4, 1408, shared_feed_forward_length=5632),
        },
        f"{HEAD}|{QKV_BIAS}|ffn_gate_inp_shexp",
    ),
    "qwen3-8b": Preset("qwen3", 151936, _QWEN3_8B),
    "qwen3-vl-8b": Preset("qwen3vl", 151936, {**_QWEN3_8B, **_SECTIONS}),
    "qwen3-30b-a3b": Preset("qwen3moe", 151936, _QWEN3_30B),
    "qwen3-vl-30b-a3b": Preset("qwen3vlmoe", 151936, {**_QWEN3_30B, **_SECTIONS}),
    "qwen3-next-80b-a3b": Preset(
        "qwen3next",
        151936,
        {
            **_dense(48, 2048, 5120, (16, 2), 256, 1e7, rope_dimension__count=64),
            **_experts(512, 10, 512, shared_feed_forward_length=512),
            **_DELTA_NET,
        },
    ),
    "gemma-7b": Preset("gemma", 256000, _dense(28, 3072, 24576, (16, 16), 256, 1e4), "^$"),
    "gemma2-9b": Preset(
        "gemma2",
        256000,
        {
            **_dense(42, 3584, 14336, (16, 8), 256, 1e4),
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "attention.sliding_window": 4096,
        },
        "^$",
    ),
    "gemma3-12b": Preset(
        "gemma3",
        262208,
        {
            **_dense(48, 3840, 15360, (16, 8), 256, 1e6),
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            "attention.sliding_window": 1024,
        },
        "^$",
    ),
    "gemma4-12b": Preset(
        "gemma4",
        262144,
        {
            **_dense(48, 3840, 15360, (16, 8), 512, 1e6),
            **_WINDOWS,
            "attention.sliding_window": 1024,
            "attention.sliding_window_pattern": 6,
            "rope.freq_base_swa": 1e4,
            "attention.shared_kv_layers": 0,
            "embedding_length_per_layer_input": 0,
            "final_logit_softcapping": 30.0,
        },
        "rope_freqs|layer_output_scale",
    ),
    "gpt-oss-20b": Preset(
        "gpt-oss",
        201088,
        {
            **_dense(24, 2880, 2880, (64, 8), 64, 1.5e5),
            **_experts(32, 4, 2880),
            **_yarn(32.0, 4096),
            "attention.sliding_window": 128,
        },
        HEAD + r"|(attn_(q|k|v|output)|ffn_(gate|up|down)_exps|ffn_gate_inp)\.bias",
    ),
    "phi3-mini": Preset(
        "phi3",
        32064,
        {**_dense(32, 3072, 8192, (32, 32), 96, 1e4), "context_length": 4096, "attention.sliding_window": 0},
        f"{HEAD}|attn_qkv",
        {"blk.{i}.ffn_up.weight": (16384, 3072)},
    ),
    "glm4-9b": Preset(
        "glm4",
        151552,
        _dense(40, 4096, 13696, (32, 2), 128, 1e4, rope_dimension__count=64),
        f"{HEAD}|{QKV_BIAS}",
        {"blk.{i}.ffn_up.weight": (27392, 4096)},
    ),
    "glm4-air-106b": Preset(
        "glm4moe",
        151552,
        {
            **_dense(46, 4096, 10944, (96, 8), 128, 1e6, rope_dimension__count=64),
            **_experts(128, 8, 1408, shared_count=1, gating_func=2, weights_scale=1.0, weights_norm=True),
            "leading_dense_block_count": 1,
        },
        f"{HEAD}|{QKV_BIAS}|exp_probs_b",
    ),
    "deepseek2-lite-16b": Preset(
        "deepseek2",
        102400,
        {
            **_dense(27, 2048, 10944, (16, 1), 128, 1e4),
            **_experts(64, 6, 1408, shared_count=2, weights_scale=1.0),
            **_LATENT,
        },
        f"{HEAD}|attn_q\\.weight|attn_[kv]_b\\.weight",
    ),
    "olmo2-7b": Preset("olmo2", 100352, _dense(32, 4096, 11008, (32, 32), 128, 5e5)),
    "starcoder2-7b": Preset("starcoder2", 49152, _dense(32, 4608, 18432, (36, 4), 128, 1e6), r"\.bias$"),
    "gpt2-xl": Preset(
        "gpt2",
        50257,
        {**_dense(48, 1600, 6400, (25, 25), 64, 1e4), "context_length": 1024},
        r"\.bias$|attn_qkv",
    ),
}
