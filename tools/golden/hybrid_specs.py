"""The small models of families with recurrent layers: see family_specs.py."""

from family_specs import Spec, config, heads

_DELTA = {"linear_conv_kernel_dim": 3, "linear_key_head_dim": 12, "linear_value_head_dim": 12}
_DELTA |= {"linear_num_key_heads": 2, "linear_num_value_heads": 6}
_DELTA_KEYS = {"ssm.conv_kernel": 3, "ssm.state_size": 12, "ssm.group_count": 2, "ssm.time_step_rank": 6}
_DELTA_KEYS |= {"ssm.inner_size": 72}
_TURNED = {"mrope_section": [2, 1, 1], "mrope_interleaved": True, "partial_rotary_factor": 0.5}

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
)
