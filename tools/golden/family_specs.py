"""The small models of tests/models/families: as transformers is told of them, and as a GGUF file says the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]
N_CTX = 256


@dataclass(frozen=True)
class Spec:
    """config: transformers'. more: keys beside the usual ones, in their place, or None for none. given: tensors whose
    values are no drawn ones. permuted: rows of q and k stand as neighbours; absorbed: kv_b in two; fused_experts: gate
    and up in one; encodes: a text's rows come out, and no logits."""

    name: str
    model_type: str
    architecture: str
    config: Config
    more: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, list[float]] = field(default_factory=dict)
    permuted: bool = False
    norms_plus_one: bool = False
    absorbed: bool = True
    fused_experts: bool = False
    encodes: bool = False
    n_ids: int = 24

    @property
    def n_layers(self) -> int:
        return self.config.get("num_hidden_layers") or self.config["n_layer"]

    def keys(self) -> dict[str, Any]:
        c = self.config
        made = {
            "block_count": self.n_layers,
            "context_length": N_CTX,
            "embedding_length": c["hidden_size"],
            "feed_forward_length": c.get("intermediate_size"),
            "attention.head_count": c["num_attention_heads"],
            "attention.head_count_kv": c["num_key_value_heads"],
            "attention.key_length": c.get("head_dim"),
            "attention.value_length": c.get("head_dim"),
            "attention.layer_norm_rms_epsilon": c.get("rms_norm_eps"),
            "rope.freq_base": c.get("rope_parameters", {}).get("rope_theta"),
        }
        return {key: value for key, value in (made | dict(self.more)).items() if value is not None}


def config(vocab: int, width: int, hidden: int, layers: int, eps: float = 1e-5, **more: Any) -> Config:
    sizes = {"vocab_size": vocab, "hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": layers}
    return {**sizes, "rms_norm_eps": eps, "max_position_embeddings": N_CTX, "tie_word_embeddings": False, **more}


def heads(n: int, n_kv: int, dim: int, base: float = 1e4, **rope: Any) -> Config:
    turned = {"rope_type": "default", "rope_theta": base, **rope}
    return {"num_attention_heads": n, "num_key_value_heads": n_kv, "head_dim": dim, "rope_parameters": turned}


def _yarn(factor: float, original: int, **more: float) -> Config:
    return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, **more}


def _yarn_keys(factor: float, original: int, **more: float) -> Config:
    made = {"type": "yarn", "factor": factor, "original_context_length": original, **more}
    return {f"rope.scaling.{key}": value for key, value in made.items()}


def _llama3_factors(dim: int, base: float, factor: float, low: float, high: float, original: int) -> list[float]:
    """What Llama 3.1's scaling divides each frequency by."""
    made = []
    for j in range(dim // 2):
        turns = original * base ** (-2 * j / dim) / 6.283185307179586
        smooth = min(max((turns - low) / (high - low), 0), 1)
        made.append(1 / ((1 - smooth) / factor + smooth))
    return made


_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
_SHORT, _LONG = [1.0, 1.1, 1.3, 1.9], [1.2, 2.0, 4.5, 9.0]

LLAMA = (
    Spec(
        "llama",
        "llama",
        "llama",
        config(60, 40, 56, 2, attention_bias=True, mlp_bias=True) | heads(5, 1, 12, 5e3, rope_type="llama3", **_LLAMA3),
        given={"rope_freqs.weight": _llama3_factors(12, 5e3, 8.0, 1.0, 4.0, 64)},
        permuted=True,
    ),
    Spec(
        "llama-linear",
        "llama",
        "llama",
        config(52, 32, 40, 2) | heads(4, 4, 8, rope_type="linear", factor=2.5),
        {"attention.head_count_kv": None, "rope.scaling.type": "linear", "rope.scaling.factor": 2.5},
        permuted=True,
    ),
    Spec(
        "mixtral",
        "mixtral",
        "llama",
        config(60, 32, 24, 2, num_local_experts=4, num_experts_per_tok=3) | heads(4, 2, 8),
        {"expert_count": 4, "expert_used_count": 3, "attention.key_length": None},
        permuted=True,
    ),
    Spec(
        "mistral3",
        "ministral3",
        "mistral3",
        config(60, 32, 48, 2)
        | heads(
            4,
            1,
            12,
            1e5,
            **_yarn(6.0, 8, beta_fast=8.0, beta_slow=2.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.2),
        )
        | {"sliding_window": None},
        _yarn_keys(6.0, 8, yarn_beta_fast=8.0, yarn_beta_slow=2.0, yarn_log_multiplier=1.0)
        | {"attention.temperature_scale": 0.2},
        permuted=True,
    ),
    Spec(
        "smollm3",
        "smollm3",
        "smollm3",
        config(60, 32, 40, 5, tie_word_embeddings=True) | heads(4, 2, 8, 2e6),
        {"attention.key_length": None, "attention.value_length": None},
        permuted=True,
    ),
    Spec(
        "granite",
        "granite",
        "granite",
        config(60, 32, 40, 2)
        | heads(4, 2, 8)
        | {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.6, "logits_scaling": 2.0},
        {"embedding_scale": 3.0, "attention.scale": 0.2, "residual_scale": 0.6, "logit_scale": 2.0},
        permuted=True,
    ),
    Spec(
        "granitemoe",
        "granitemoe",
        "granitemoe",
        config(60, 32, 24, 2, num_local_experts=5, num_experts_per_tok=2)
        | heads(4, 2, 8)
        | {"embedding_multiplier": 2.0, "attention_multiplier": 0.4, "residual_multiplier": 0.5, "logits_scaling": 3.0},
        {"embedding_scale": 2.0, "attention.scale": 0.4, "residual_scale": 0.5, "logit_scale": 3.0}
        | {"expert_count": 5, "expert_used_count": 2},
        permuted=True,
    ),
)

_QWEN_MOE = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1}
_QWEN_MOE_KEYS = {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 24}

QWEN = (
    Spec(
        "qwen2",
        "qwen2",
        "qwen2",
        config(60, 48, 40, 2, tie_word_embeddings=True) | heads(6, 3, 8, 1e5, **_yarn(4.0, 32)),
        _yarn_keys(4.0, 32) | {"attention.key_length": None, "attention.value_length": None},
    ),
    Spec(
        "qwen2moe",
        "qwen2_moe",
        "qwen2moe",
        config(60, 32, 48, 2, shared_expert_intermediate_size=40, norm_topk_prob=False, **_QWEN_MOE) | heads(4, 2, 8),
        _QWEN_MOE_KEYS | {"expert_shared_feed_forward_length": 40},
    ),
    Spec("qwen3", "qwen3", "qwen3", config(60, 32, 40, 2) | heads(4, 2, 12, 1e6)),
    Spec(
        "qwen3moe",
        "qwen3_moe",
        "qwen3moe",
        config(60, 32, 48, 2, norm_topk_prob=True, **_QWEN_MOE) | heads(3, 1, 16, 1e6),
        _QWEN_MOE_KEYS,
        fused_experts=True,
    ),
)


def _bases(full: Config, sliding: float) -> Config:
    both = {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": sliding}}
    return {"rope_parameters": both}


def _kinds(pattern: str) -> list[str]:
    return [{"s": "sliding_attention", "f": "full_attention"}[c] for c in pattern]


def _swa_keys(pattern: str, window: int) -> Config:
    return {"attention.sliding_window": window, "attention.sliding_window_pattern": [c == "s" for c in pattern]}


_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
_FULL4 = {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e5}

GEMMA = (
    Spec("gemma", "gemma", "gemma", config(60, 32, 40, 2, 1e-6, **_GEMMA) | heads(4, 1, 12), norms_plus_one=True),
    Spec(
        "gemma2",
        "gemma2",
        "gemma2",
        config(60, 32, 40, 3, 1e-6, **_GEMMA)
        | heads(4, 2, 12)
        | {"query_pre_attn_scalar": 12, "sliding_window": 7, "layer_types": _kinds("sfs")}
        | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 6.0},
        {"attention.sliding_window": 7, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 6.0},
        norms_plus_one=True,
    ),
    Spec(
        "gemma3",
        "gemma3_text",
        "gemma3",
        config(60, 32, 24, 4, 1e-6, **_GEMMA)
        | heads(4, 2, 12)
        | {"query_pre_attn_scalar": 12, "sliding_window": 5, "layer_types": _kinds("ssfs")}
        | _bases({"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}, 500.0),
        {"attention.sliding_window": 5, "attention.sliding_window_pattern": 3, "rope.freq_base": 1e5}
        | {"rope.freq_base_swa": 500.0, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
        norms_plus_one=True,
    ),
    Spec(
        "gemma4",
        "gemma4_text",
        "gemma4",
        config(60, 32, 24, 5, 1e-6, **_GEMMA)
        | heads(4, 2, 8)
        | {"global_head_dim": 16, "sliding_window": 6, "layer_types": _kinds("sfssf"), "num_kv_shared_layers": 2}
        | {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 60, "final_logit_softcapping": 4.0}
        | {"use_double_wide_mlp": True}
        | _bases(_FULL4, 2e3),
        _swa_keys("sfssf", 6)
        | {"attention.key_length": 16, "attention.value_length": 16, "attention.key_length_swa": 8}
        | {"attention.value_length_swa": 8, "rope.dimension_count": 16, "rope.dimension_count_swa": 8}
        | {"rope.freq_base": 1e5, "rope.freq_base_swa": 2e3, "final_logit_softcapping": 4.0}
        | {"attention.shared_kv_layers": 2, "embedding_length_per_layer_input": 8}
        | {"feed_forward_length": [24, 24, 24, 48, 48]},
        given={"rope_freqs.weight": [1.0, 1.0, *[1e30] * 6]},
    ),
    Spec(
        "gemma4-moe",
        "gemma4_text",
        "gemma4",
        config(60, 32, 24, 3, 1e-6, **_GEMMA)
        | heads(4, 2, 8)
        | {"global_head_dim": 16, "sliding_window": 6, "layer_types": _kinds("ssf"), "hidden_size_per_layer_input": 0}
        | {"enable_moe_block": True, "num_experts": 5, "top_k_experts": 2, "moe_intermediate_size": 16}
        | {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
        | _bases(_FULL4, 1e4),
        _swa_keys("ssf", 6)
        | {"attention.key_length": 16, "attention.value_length": 16, "attention.key_length_swa": 8}
        | {"attention.value_length_swa": 8, "rope.dimension_count": 16, "rope.dimension_count_swa": 8}
        | {"rope.freq_base": 1e5, "attention.head_count_kv": [2, 2, 1]}
        | {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 16},
        given={"rope_freqs.weight": [1.0, 1.0, *[1e30] * 6]},
    ),
)

_MLA = {"qk_nope_head_dim": 12, "qk_rope_head_dim": 4, "v_head_dim": 10, "kv_lora_rank": 16, "first_k_dense_replace": 1}
_MLA_KEYS = {"attention.kv_lora_rank": 16, "rope.dimension_count": 4, "leading_dense_block_count": 1}
_ABSORBED = {"attention.head_count_kv": 1, "attention.key_length": 20, "attention.value_length": 16}
_ABSORBED |= {"attention.key_length_mla": 16, "attention.value_length_mla": 10}
_DEEP_MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_DEEP_MOE_KEYS = {"expert_used_count": 2, "expert_feed_forward_length": 16}
_GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 2.0}
_GROUPS_KEYS = {"expert_count": 8, "expert_group_count": 4, "expert_group_used_count": 2, "expert_gating_func": 2}
_GROUPS_KEYS |= {"expert_weights_norm": True, "expert_weights_scale": 2.0, "expert_shared_count": 1}
_ROUND = {"num_attention_heads": 3, "num_key_value_heads": 3}

OTHERS = (
    Spec(
        "gpt-oss",
        "gpt_oss",
        "gpt-oss",
        config(60, 32, 24, 3, num_local_experts=5, num_experts_per_tok=2)
        | heads(4, 2, 12, 1e4, **_yarn(8.0, 32, beta_fast=32.0, beta_slow=1.0), truncate=True)
        | {"sliding_window": 6, "layer_types": _kinds("sfs")},
        _yarn_keys(8.0, 32)
        | {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 24}
        | {"attention.sliding_window": 6},
    ),
    Spec(
        "phi3",
        "phi3",
        "phi3",
        config(60, 32, 40, 2)
        | {"num_attention_heads": 4, "num_key_value_heads": 2}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}
        | {"sliding_window": 7},
        {"rope.dimension_count": 4, "attention.sliding_window": 7},
    ),
    Spec(
        "phi3-longrope",
        "phi3",
        "phi3",
        config(60, 32, 40, 2, original_max_position_embeddings=16)
        | {"num_attention_heads": 4, "num_key_value_heads": 4, "sliding_window": None}
        | {
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": _SHORT,
                "long_factor": _LONG,
                "original_max_position_embeddings": 16,
            }
        },
        {"rope.dimension_count": 8, "rope.scaling.type": "longrope", "rope.scaling.original_context_length": 16}
        | {"rope.scaling.attn_factor": 2.0**0.5},
        given={"rope_factors_short.weight": _SHORT, "rope_factors_long.weight": _LONG},
    ),
    Spec(
        "glm4",
        "glm4",
        "glm4",
        config(60, 32, 40, 2, attention_bias=True) | heads(4, 2, 12, 1e4, partial_rotary_factor=0.5),
        {"rope.dimension_count": 6},
    ),
    Spec(
        "glm4moe",
        "glm4_moe",
        "glm4moe",
        config(60, 32, 48, 3, attention_bias=True, use_qk_norm=False)
        | heads(4, 1, 16, 1e4, partial_rotary_factor=0.5)
        | {"first_k_dense_replace": 1, "n_routed_experts": 6, "n_group": 1, "topk_group": 1, "n_shared_experts": 2}
        | {"norm_topk_prob": True, "routed_scaling_factor": 1.7, **_DEEP_MOE},
        {"rope.dimension_count": 8, "leading_dense_block_count": 1, "expert_count": 6, "expert_shared_count": 2}
        | {"expert_weights_norm": True, "expert_weights_scale": 1.7, **_DEEP_MOE_KEYS},
    ),
    Spec(
        "deepseek2",
        "deepseek_v2",
        "deepseek2",
        config(60, 33, 40, 3, 1e-6, q_lora_rank=None, n_routed_experts=5, n_shared_experts=2, **_MLA, **_DEEP_MOE)
        | {**_ROUND, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "topk_method": "greedy"}
        | {"n_group": 1, "topk_group": 1, "norm_topk_prob": False, "routed_scaling_factor": 1.0},
        {**_MLA_KEYS, **_DEEP_MOE_KEYS, "expert_count": 5, "expert_shared_count": 2}
        | {"attention.key_length": 16, "attention.value_length": 10},
        absorbed=False,
    ),
    Spec(
        "deepseek3",
        "deepseek_v3",
        "deepseek2",
        config(60, 40, 40, 3, q_lora_rank=24, n_shared_experts=1, **_MLA, **_DEEP_MOE, **_GROUPS)
        | {**_ROUND, "rope_parameters": {**_yarn(8.0, 16, mscale=0.8, mscale_all_dim=0.8), "rope_theta": 1e4}},
        {**_MLA_KEYS, **_DEEP_MOE_KEYS, **_GROUPS_KEYS, **_ABSORBED, "attention.q_lora_rank": 24}
        | _yarn_keys(8.0, 16, yarn_log_multiplier=0.08),
    ),
    Spec("olmo2", "olmo2", "olmo2", config(60, 32, 40, 2, 1e-6) | heads(4, 2, 8)),
    Spec(
        "olmo3",
        "olmo3",
        "olmo2",
        config(60, 32, 40, 4, 1e-6)
        | {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 6, "layer_types": _kinds("sssf")}
        | _bases({**_yarn(4.0, 16, attention_factor=1.3), "rope_theta": 5e3}, 5e3),
        _yarn_keys(4.0, 16, yarn_attn_factor=1.3) | {"attention.sliding_window": 6, "rope.freq_base": 5e3},
    ),
    Spec(
        "starcoder2",
        "starcoder2",
        "starcoder2",
        config(60, 32, 40, 2, hidden_act="gelu_pytorch_tanh", use_bias=True, norm_epsilon=1e-5, sliding_window=None)
        | {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}},
        {"attention.layer_norm_epsilon": 1e-5, "attention.layer_norm_rms_epsilon": None},
    ),
    Spec(
        "gpt2",
        "gpt2",
        "gpt2",
        {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 40, "n_positions": N_CTX}
        | {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": None, "layer_norm_epsilon": 1e-5},
        {"attention.layer_norm_epsilon": 1e-5, "feed_forward_length": 40},
    ),
)

SPECS: tuple[Spec, ...] = (*LLAMA, *QWEN, *GEMMA, *OTHERS)
