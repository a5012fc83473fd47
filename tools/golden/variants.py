"""The random models of tests/models/golden: small, and different from one another in every dimension."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One model. `types` maps tensor names (regex, first match) to GGUF types; the last entry is the default.

    layout: "" as the converter writes it, "ssm_in" with the older interleaved projection, "gate_up" with gate and up
    experts in one tensor. strays: 1-D tensors that some converters leave in a 16-bit type. bytes_vocab: with a
    byte-level tokenizer.
    """

    name: str
    n_ids: int
    config: dict[str, Any]
    types: dict[str, str]
    layout: str = ""
    strays: dict[str, str] = field(default_factory=dict)
    bytes_vocab: bool = False


def _config(vocab: int, width: int, layers: int, **more: Any) -> dict[str, Any]:
    return {"vocab_size": vocab, "hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 64, **more}


def _attention(heads: int, heads_kv: int, head: int, rotated: int, base: float) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": rotated / head}
    return {"num_attention_heads": heads, "num_key_value_heads": heads_kv, "head_dim": head, "rope_parameters": rope}


def _delta(heads_k: int, heads_v: int, head: int, conv: int = 4) -> dict[str, Any]:
    return {
        "linear_num_key_heads": heads_k,
        "linear_num_value_heads": heads_v,
        "linear_key_head_dim": head,
        "linear_value_head_dim": head,
        "linear_conv_kernel_dim": conv,
    }


def _moe(experts: int, used: int, ffn: int, shared: int) -> dict[str, Any]:
    return {
        "num_experts": experts,
        "num_experts_per_tok": used,
        "moe_intermediate_size": ffn,
        "shared_expert_intermediate_size": shared,
    }


VARIANTS = [
    Variant(
        "f32",
        70,
        _config(97, 36, 3, full_attention_interval=3, rms_norm_eps=1e-5, max_position_embeddings=512)
        | _attention(3, 1, 20, 8, 5e6)
        | _delta(2, 4, 12)
        | _moe(5, 2, 20, 28),
        {"": "F32"},
    ),
    Variant(
        "q8_0",
        66,
        _config(300, 96, 4, full_attention_interval=4, tie_word_embeddings=True, max_position_embeddings=1024)
        | _attention(4, 2, 24, 12, 1e4)
        | _delta(2, 2, 16)
        | _moe(4, 3, 32, 32),
        {"": "Q8_0"},
        bytes_vocab=True,
    ),
    Variant(
        "q4_0_ssm_in",
        130,
        _config(128, 160, 2, full_attention_interval=2, max_position_embeddings=4096)
        | _attention(5, 1, 32, 8, 1e6)
        | _delta(1, 3, 32)
        | _moe(7, 4, 32, 32),
        {"down": "Q5_1", "attn_k|output.weight": "Q4_1", "": "Q4_0"},
        layout="ssm_in",
    ),
    Variant(
        "k_quants",
        68,
        _config(112, 256, 2, full_attention_interval=2, max_position_embeddings=2048)
        | _attention(2, 1, 64, 32, 1e5)
        | _delta(1, 2, 64)
        | _moe(3, 2, 32, 64),
        {
            "exps.*down|down_exps|ssm_out": "IQ4_NL",
            "down_shexp|attn_output": "Q5_0",
            "token_embd|up_exps|attn_k": "Q6_K",
            "attn_qkv|gate_shexp": "Q5_K",
            "attn_gate|up_shexp": "Q3_K",
            "attn_v|ssm_ba": "Q2_K",
            "": "Q4_K",
        },
    ),
    Variant(
        "f16_bf16_gate_up",
        24,
        _config(120, 72, 3, full_attention_interval=2, rms_norm_eps=2e-6, max_position_embeddings=300)
        | _attention(6, 3, 16, 10, 2e4)
        | _delta(3, 3, 20, conv=3)
        | _moe(6, 1, 20, 28),
        {"exps|attn_q|token_embd": "BF16", "": "F16"},
        layout="gate_up",
        strays={"attn_norm|ssm_norm|ffn_gate_inp_shexp": "BF16", "post_attention_norm|attn_q_norm": "F16"},
    ),
    Variant(
        "mxfp4",
        72,
        _config(256, 128, 3, full_attention_interval=2, tie_word_embeddings=True, max_position_embeddings=800)
        | _attention(8, 2, 12, 4, 3e5)
        | _delta(2, 6, 16)
        | _moe(8, 6, 32, 32),
        {"exps": "MXFP4", "token_embd|shexp": "Q5_0", "": "Q4_1"},
    ),
    Variant(
        "q5_1",
        33,
        _config(111, 32, 2, full_attention_interval=2, max_position_embeddings=640)
        | _attention(7, 7, 16, 16, 7e4)
        | _delta(4, 8, 8)
        | _moe(9, 9, 64, 96),
        {"token_embd": "Q4_0", "attn_output|ssm_out": "F16", "output.weight|attn": "Q8_0", "": "Q5_1"},
    ),
]
