"""The small models of families with recurrent layers: see family_specs.py."""

from family_specs import Config, Spec, config, heads

_DELTA = {"linear_conv_kernel_dim": 3, "linear_key_head_dim": 12, "linear_value_head_dim": 12}
_DELTA |= {"linear_num_key_heads": 2, "linear_num_value_heads": 6}
_DELTA_KEYS = {"ssm.conv_kernel": 3, "ssm.state_size": 12, "ssm.group_count": 2, "ssm.time_step_rank": 6}
_DELTA_KEYS |= {"ssm.inner_size": 72}
_TURNED = {"mrope_section": [2, 1, 1], "mrope_interleaved": True, "partial_rotary_factor": 0.5}

_KINDS = {"a": "full_attention", "c": "conv", "m": "linear_attention", "f": "mlp", "e": "moe"}


def _kinds(pattern: str) -> list[str]:
    return [_KINDS[c] for c in pattern]


def _kv(pattern: str, n: int) -> list[int]:
    return [n if c == "a" else 0 for c in pattern]


_LFM2: Config = {"norm_eps": 1e-5, "conv_L_cache": 4, "conv_bias": False, "block_auto_adjust_ff_dim": False}
_LFM2_KEYS: Config = {"attention.head_count_kv": _kv("ccac", 2), "shortconv.l_cache": 4}
_LFM2_KEYS |= {"attention.key_length": None, "attention.value_length": None}
_MAMBA: Config = {"mamba_n_heads": 6, "mamba_d_state": 12, "mamba_d_conv": 3, "mamba_chunk_size": 8, "mamba_expand": 2}
_MAMBA_KEYS = {"ssm.conv_kernel": 3, "ssm.state_size": 12, "ssm.time_step_rank": 6}
_GRANITE = {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.6, "logits_scaling": 2.0}
_GRANITE_KEYS = {"embedding_scale": 3.0, "attention.scale": 0.2, "residual_scale": 0.6, "logit_scale": 2.0}
_NEMOTRON: Config = {"ssm_state_size": 12, "mamba_num_heads": 4, "mamba_head_dim": 10, "n_groups": 2, "conv_kernel": 4}
_NEMOTRON |= {"chunk_size": 8, "layer_norm_epsilon": 1e-5, "mlp_hidden_act": "relu2"}
_NEMOTRON_KEYS: Config = {"ssm.conv_kernel": 4, "ssm.state_size": 12, "ssm.time_step_rank": 4, "ssm.inner_size": 40}
_NEMOTRON_KEYS |= {"ssm.group_count": 2, "rope.scaling.finetuned": False, "rope.freq_base": None}

_BERT_KEYS: Config = {"attention.head_count_kv": None, "attention.layer_norm_epsilon": 1e-6, "attention.causal": False}
_BERT_KEYS |= {"attention.key_length": None, "attention.value_length": None}

SPECS: tuple[Spec, ...] = (
    Spec(
        "qwen35",
        "qwen3_5_text",
        "qwen35",
        config(60, 32, 40, 3, 1e-6, layer_types=["linear_attention", "full_attention", "linear_attention"], **_DELTA)
        | heads(4, 2, 16, 1e5, **_TURNED),
        {**_DELTA_KEYS, "rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0]}
        | {"attention.recurrent_layers": [True, False, True]},
        norms_plus_one=True,
    ),
    Spec(
        "qwen35moe",
        "qwen3_5_moe_text",
        "qwen35moe",
        config(60, 32, 40, 4, 1e-6, full_attention_interval=2, tie_word_embeddings=True, **_DELTA)
        | {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        | {"shared_expert_intermediate_size": 64}
        | heads(3, 1, 12, 1e5, partial_rotary_factor=1.0),
        {**_DELTA_KEYS, "full_attention_interval": 2, "feed_forward_length": None}
        | {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 32}
        | {"expert_shared_feed_forward_length": 64},
        norms_plus_one=True,
        fused_experts=True,
    ),
    Spec(
        "lfm2",
        "lfm2",
        "lfm2",
        config(60, 32, 40, 4, tie_word_embeddings=True, layer_types=_kinds("ccac"), **_LFM2) | heads(4, 2, 8, 1e5),
        _LFM2_KEYS,
    ),
    Spec(
        "lfm2moe",
        "lfm2_moe",
        "lfm2moe",
        config(60, 32, 40, 4, tie_word_embeddings=True, layer_types=_kinds("ccac"), **_LFM2)
        | heads(4, 2, 8, 1e5)
        | {"num_dense_layers": 2, "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        | {"use_expert_bias": True, "norm_topk_prob": True},
        {**_LFM2_KEYS, "expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 32}
        | {"leading_dense_block_count": 2, "expert_gating_func": 2},
    ),
    Spec(
        "granite-hybrid",
        "granitemoehybrid",
        "granitehybrid",
        config(60, 30, 24, 4, num_local_experts=5, num_experts_per_tok=2, shared_intermediate_size=40)
        | heads(3, 1, 10)
        | {**_MAMBA, "mamba_n_groups": 2, **_GRANITE, "layer_types": _kinds("mmam"), "position_embedding_type": None},
        {**_MAMBA_KEYS, **_GRANITE_KEYS, "ssm.group_count": 2, "ssm.inner_size": 60, "rope.scaling.finetuned": False}
        | {"attention.head_count_kv": _kv("mmam", 1), "expert_count": 5, "expert_used_count": 2}
        | {"expert_shared_feed_forward_length": 40},
    ),
    Spec(
        "granite-hybrid-dense",
        "granitemoehybrid",
        "granitehybrid",
        config(60, 36, 40, 3, num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=40)
        | heads(3, 1, 12)
        | {**_MAMBA, "mamba_n_groups": 1, **_GRANITE, "layer_types": _kinds("mam"), "position_embedding_type": "rope"},
        {**_MAMBA_KEYS, **_GRANITE_KEYS, "ssm.group_count": 1, "ssm.inner_size": 72}
        | {"attention.head_count_kv": _kv("mam", 1)},
        permuted=True,
    ),
    Spec(
        "falcon-h1",
        "falcon_h1",
        "falcon-h1",
        config(60, 32, 40, 2, mamba_d_ssm=48, mamba_n_groups=2, mamba_rms_norm=False, **_MAMBA) | heads(4, 2, 12, 1e6),
        {**_MAMBA_KEYS, "ssm.group_count": 2, "ssm.inner_size": 48},
    ),
    Spec(
        "nemotron-h",
        "nemotron_h",
        "nemotron_h",
        config(60, 32, 40, 5, layers_block_type=_kinds("mfamf"), **_NEMOTRON) | heads(4, 2, 12),
        {**_NEMOTRON_KEYS, "attention.head_count_kv": _kv("mfamf", 2), "feed_forward_length": [0, 40, 0, 0, 40]},
    ),
    Spec(
        "nemotron-h-moe",
        "nemotron_h",
        "nemotron_h_moe",
        config(60, 32, 24, 4, layers_block_type=_kinds("meae"), **_NEMOTRON)
        | heads(4, 1, 12)
        | {"n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "routed_scaling_factor": 2.5}
        | {"moe_shared_expert_intermediate_size": 40, "moe_latent_size": 20, "norm_topk_prob": True},
        {**_NEMOTRON_KEYS, "attention.head_count_kv": _kv("meae", 1), "feed_forward_length": [0, 24, 0, 24]}
        | {"expert_count": 6, "expert_used_count": 2, "expert_feed_forward_length": 24}
        | {"expert_shared_feed_forward_length": 40, "expert_shared_count": 1, "expert_weights_norm": True}
        | {"expert_weights_scale": 2.5},
    ),
    Spec(
        "bert",
        "bert",
        "bert",
        config(60, 32, 40, 2, hidden_act="gelu", type_vocab_size=2, layer_norm_eps=1e-6)
        | {"num_attention_heads": 4, "num_key_value_heads": None},
        {**_BERT_KEYS, "attention.layer_norm_rms_epsilon": None, "pooling_type": 2},
        encodes=True,
    ),
    Spec(
        "nomic-bert",
        "nomic_bert",
        "nomic-bert",
        config(60, 36, 40, 2, hidden_act="silu", pad_token_id=0, type_vocab_size=2, layer_norm_eps=1e-6)
        | {**heads(3, 3, 12, 1e3), "num_key_value_heads": None},
        {**_BERT_KEYS, "attention.layer_norm_rms_epsilon": None, "pooling_type": 1},
        encodes=True,
    ),
    Spec(
        "kimi-linear",
        "kimi_linear",
        "kimi-linear",
        config(60, 32, 40, 3, linear_head_dim=12, linear_num_heads=3, linear_conv_kernel_dim=3)
        | {"layer_types": _kinds("mam"), "num_attention_heads": 3, "num_key_value_heads": 3, "kv_lora_rank": 16}
        | {"qk_nope_head_dim": 12, "qk_rope_head_dim": 4, "v_head_dim": 10, "num_local_experts": 5, "pad_token_id": 0}
        | {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "routed_scaling_factor": 2.0},
        {"attention.head_count_kv": _kv("mam", 1), "attention.key_length": 20, "attention.value_length": 16}
        | {"attention.key_length_mla": 16, "attention.value_length_mla": 10, "attention.kv_lora_rank": 16}
        | {"rope.dimension_count": 4, "ssm.conv_kernel": 3, "kda.head_dim": 12, "leading_dense_block_count": 1}
        | {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 16, "expert_shared_count": 1}
        | {"expert_gating_func": 2, "expert_weights_scale": 2.0},
    ),
)
