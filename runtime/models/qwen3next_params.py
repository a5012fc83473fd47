"""Hyper-parameters of a qwen3next file, each checked against the range that makes sense."""

from dataclasses import dataclass

from .architecture import Params
from .hyper import Hyper

ARCHITECTURE = "qwen3next"


@dataclass(frozen=True)
class Qwen3NextParams(Params):
    """Sizes as FACTS of the architecture name them: H heads of Dh, delta net of Hk key and Hv value heads of D."""

    n_heads: int
    n_heads_kv: int
    head_dim: int
    rope_dims: int
    n_experts: int
    n_experts_used: int
    expert_width: int
    shared_width: int
    conv_width: int  # of the delta net's convolution, c
    delta_dim: int  # D
    n_delta_keys: int  # Hk
    n_delta_values: int  # Hv
    recurrent: tuple[bool, ...]  # which layers are delta nets

    @property
    def n_channels(self) -> int:
        """Of the delta net's convolution: q, k and v side by side."""
        return (2 * self.n_delta_keys + self.n_delta_values) * self.delta_dim

    @property
    def delta_share(self) -> int:
        """Value heads that share a key head."""
        return self.n_delta_values // self.n_delta_keys

    @staticmethod
    def from_gguf(h: Hyper) -> "Qwen3NextParams":
        """Raises GGUFError for a missing or mistyped key and one out of range, ModelError for sizes that do not fit."""
        n_blocks, n_heads = h.get_int("block_count", hi=4096), h.get_int("attention.head_count", hi=4096)
        n_layers = n_blocks - h.get_int("nextn_predict_layers", 0, lo=0, hi=n_blocks - 1)
        width = h.get_int("embedding_length")
        head_dim = h.get_int("attention.key_length", width // n_heads, hi=4096)
        p = Qwen3NextParams(
            n_layers=n_layers,
            n_ctx_train=h.get_int("context_length", hi=1 << 30),
            n_vocab=h.file.tensor("token_embd.weight").n_rows,
            width=width,
            n_heads=n_heads,
            n_heads_kv=h.get_int("attention.head_count_kv", n_heads, hi=4096),
            head_dim=head_dim,
            rope_dims=h.get_int("rope.dimension_count", head_dim, hi=4096),
            eps=h.get_float("attention.layer_norm_rms_epsilon", lo=1e-12, hi=1.0),
            n_experts=h.get_int("expert_count", hi=65536),
            n_experts_used=h.get_int("expert_used_count", hi=256),
            expert_width=h.get_int("expert_feed_forward_length", _width(h, "ffn_down_exps")),
            shared_width=h.get_int("expert_shared_feed_forward_length", _width(h, "ffn_down_shexp")),
            conv_width=h.get_int("ssm.conv_kernel", lo=2, hi=64),
            delta_dim=h.get_int("ssm.state_size", hi=1024),
            n_delta_keys=h.get_int("ssm.group_count", hi=4096),
            n_delta_values=h.get_int("ssm.time_step_rank", hi=4096),
            recurrent=_recurrent(h, n_blocks)[:n_layers],
        )
        _check(h, p)
        return p


def _width(h: Hyper, name: str) -> int | None:
    """What a feed-forward's missing key would say: the columns of its last matrix."""
    info = h.file.tensors.get(f"blk.0.{name}.weight")
    return None if info is None else info.shape[-1]


def _recurrent(h: Hyper, n_layers: int) -> tuple[bool, ...]:
    listed = "attention.recurrent_layers"
    if h.has(listed):
        return tuple(h.file.get_bools(h.key(listed), length=n_layers).tolist())
    interval = h.get_int("full_attention_interval", 4, hi=4096)
    return tuple((i + 1) % interval != 0 for i in range(n_layers))


def _check(h: Hyper, p: Qwen3NextParams) -> None:
    h.require(p.n_heads % p.n_heads_kv == 0, "attention.head_count_kv", p.n_heads_kv, f"a divisor of {p.n_heads}")
    even = p.rope_dims % 2 == 0 and p.rope_dims <= p.head_dim
    h.require(even, "rope.dimension_count", p.rope_dims, f"even, at most {p.head_dim}")
    h.require(p.n_experts_used <= p.n_experts, "expert_used_count", p.n_experts_used, f"at most {p.n_experts}")
    divides = p.n_delta_values % p.n_delta_keys == 0
    h.require(divides, "ssm.group_count", p.n_delta_keys, f"a divisor of {p.n_delta_values}")
    inner = p.n_delta_values * p.delta_dim
    stored = h.get_int("ssm.inner_size", inner, hi=1 << 30)
    h.require(stored == inner, "ssm.inner_size", stored, f"{inner}, which is ssm.time_step_rank x ssm.state_size")
    values = h.get_int("attention.value_length", p.head_dim, hi=1 << 30)
    h.require(values == p.head_dim, "attention.value_length", values, f"{p.head_dim}, as attention.key_length")
