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
CONV_BIAS = r"ssm_conv1d\.bias"


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


def _at(n: int, chosen: tuple[int, ...], value: int) -> list[int]:
    """A number for each of n layers: the value in the chosen ones, else 0."""
    return [value if i in chosen else 0 for i in range(n)]


def _mamba(heads: int, head_dim: int, groups: int, state: int) -> dict[str, Number]:
    sizes = {"time_step_rank": heads, "inner_size": heads * head_dim, "group_count": groups, "state_size": state}
    return {"ssm.conv_kernel": 4, **{f"ssm.{key}": value for key, value in sizes.items()}}


def _mixers(pattern: str, n_kv: int, hidden: int) -> dict[str, Number]:
    """What each layer of Nemotron-H is: *, attention; E or -, a feed-forward; M, Mamba-2."""
    return {
        "attention.head_count_kv": [n_kv if c == "*" else 0 for c in pattern],
        "feed_forward_length": [hidden if c in "E-" else 0 for c in pattern],
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.scaling.finetuned": False,
    }


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
_GATED_35: dict[str, Number] = {**_DELTA_NET, "rope.dimension_count": 64, "rope.dimension_sections": [11, 11, 10, 0]}
_READS: dict[str, Number] = {"attention.layer_norm_rms_epsilon": 1e-12, "attention.causal": False}
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
    "qwen3.5-9b": Preset("qwen35", 248320, {**_dense(32, 4096, 12288, (16, 4), 256, 1e7), **_GATED_35}),
    "qwen3.5-35b-a3b": Preset(
        "qwen35moe",
        248320,
        {
            **_dense(40, 2048, 512, (16, 2), 256, 1e7),
            **_experts(256, 8, 512, shared_feed_forward_length=512),
            **_GATED_35,
        },
    ),
    "lfm2-1.2b": Preset(
        "lfm2",
        65536,
        {
            **_dense(16, 2048, 8192, (32, 8), 64, 1e6),
            "attention.head_count_kv": _at(16, (2, 5, 8, 10, 12, 14), 8),
            "shortconv.l_cache": 3,
        },
        "^$",
    ),
    "lfm2-8b-a1b": Preset(
        "lfm2moe",
        65536,
        {
            **_dense(24, 2048, 7168, (32, 8), 64, 1e6),
            **_experts(32, 4, 1792, gating_func=2),
            "leading_dense_block_count": 2,
            "attention.head_count_kv": _at(24, (2, 6, 10, 14, 18, 21), 8),
            "shortconv.l_cache": 3,
        },
        "exp_probs_b",
    ),
    "granite4-h-tiny-7b": Preset(
        "granitehybrid",
        100352,
        {
            **_dense(40, 1536, 512, (12, 4), 128, 1e4),
            **_experts(64, 6, 512, shared_feed_forward_length=1024),
            **_mamba(48, 64, 1, 128),
            "attention.head_count_kv": _at(40, (5, 15, 25, 35), 4),
            "rope.scaling.finetuned": False,
            "embedding_scale": 12.0,
            "residual_scale": 0.22,
            "logit_scale": 6.0,
            "attention.scale": 0.0078125,
        },
        CONV_BIAS,
    ),
    "falcon-h1-1.5b": Preset(
        "falcon-h1",
        65537,
        {**_dense(24, 2048, 4608, (8, 2), 128, 1e11), **_mamba(48, 64, 1, 256)},
        f"{HEAD}|{CONV_BIAS}",
    ),
    "nemotron-h-8b": Preset(
        "nemotron_h",
        131072,
        {
            **_dense(52, 4096, 21504, (32, 8), 128, 1e4),
            **_mamba(128, 64, 8, 128),
            **_mixers("M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-", 8, 21504),
        },
        f"{HEAD}|{CONV_BIAS}",
    ),
    "nemotron3-nano-30b-a3b": Preset(
        "nemotron_h_moe",
        131072,
        {
            **_dense(52, 2688, 1856, (32, 2), 128, 1e4),
            **_experts(128, 6, 1856, shared_feed_forward_length=3712, shared_count=1),
            "expert_weights_norm": True,
            "expert_weights_scale": 2.5,
            **_mamba(64, 64, 8, 128),
            **_mixers("MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", 2, 1856),
        },
        f"{HEAD}|{CONV_BIAS}|exp_probs_b",
    ),
    "kimi-linear-48b-a3b": Preset(
        "kimi-linear",
        163840,
        {
            **_dense(27, 2304, 9216, (32, 1), 128, 1e4),
            **_experts(256, 8, 1024, shared_count=1, gating_func=2, weights_scale=2.446),
            **_LATENT,
            "attention.head_count_kv": _at(27, (3, 7, 11, 15, 19, 23, 26), 1),
            "ssm.conv_kernel": 4,
            "kda.head_dim": 128,
        },
        f"{HEAD}|exp_probs_b",
    ),
    "bert-base": Preset(
        "bert",
        30522,
        {**_dense(12, 768, 3072, (12, 12), 64, 1e4), **_READS, "context_length": 512, "pooling_type": 2},
        r"\.bias$",
        {"token_types.weight": (2, 768)},
    ),
    "nomic-embed-text-1.5": Preset(
        "nomic-bert",
        30522,
        {**_dense(12, 768, 3072, (12, 12), 64, 1e3), **_READS, "context_length": 2048, "pooling_type": 1},
        "attn_qkv",
        {"token_types.weight": (2, 768)},
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
