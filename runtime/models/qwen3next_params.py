"""Hyper-parameters of a qwen3next file, each checked against the range that makes sense."""

from dataclasses import dataclass

from ..errors import ModelError
from ..gguf.file import GGUFFile
from .architecture import Params

ARCHITECTURE = "qwen3next"


@dataclass(frozen=True)
class Qwen3NextParams(Params):
    """Sizes as FACTS of the architecture name them: H heads of Dh, delta net of Hk key and Hv value heads of D."""

    n_heads: int
    n_heads_kv: int
    head_dim: int
    rope_dims: int
    rope_base: float
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
    def from_gguf(f: GGUFFile) -> "Qwen3NextParams":
        """Raises GGUFError for a missing or mistyped key and one out of range, ModelError for sizes that do not fit."""

        def number(key: str, hi: int = 1 << 20, default: int | None = None, lo: int = 1) -> int:
            return f.get_int(f"{ARCHITECTURE}.{key}", default, lo=lo, hi=hi)

        n_layers = number("block_count", 4096)
        n_heads = number("attention.head_count", 4096)
        width = number("embedding_length")
        head_dim = number("attention.key_length", 4096, width // n_heads)
        p = Qwen3NextParams(
            n_layers=n_layers,
            n_ctx_train=number("context_length", 1 << 30),
            n_vocab=f.tensor("token_embd.weight").shape[0],
            width=width,
            n_heads=n_heads,
            n_heads_kv=number("attention.head_count_kv", 4096, n_heads),
            head_dim=head_dim,
            rope_dims=number("rope.dimension_count", 4096, head_dim),
            rope_base=f.get_float(f"{ARCHITECTURE}.rope.freq_base", 10000.0, lo=1.0, hi=1e12),
            eps=f.get_float(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon", lo=1e-12, hi=1.0),
            n_experts=number("expert_count", 65536),
            n_experts_used=number("expert_used_count", 256),
            expert_width=number("expert_feed_forward_length", default=_width(f, "ffn_down_exps")),
            shared_width=number("expert_shared_feed_forward_length", default=_width(f, "ffn_down_shexp")),
            conv_width=number("ssm.conv_kernel", 64, lo=2),
            delta_dim=number("ssm.state_size", 1024),
            n_delta_keys=number("ssm.group_count", 4096),
            n_delta_values=number("ssm.time_step_rank", 4096),
            recurrent=_recurrent(f, n_layers),
        )
        _check(f, p)
        return p


def _width(f: GGUFFile, name: str) -> int | None:
    """What a feed-forward's missing key would say: the columns of its last matrix."""
    info = f.tensors.get(f"blk.0.{name}.weight")
    return None if info is None else info.shape[-1]


def _recurrent(f: GGUFFile, n_layers: int) -> tuple[bool, ...]:
    listed = f"{ARCHITECTURE}.attention.recurrent_layers"
    if listed in f.keys:
        return tuple(f.get_bools(listed, length=n_layers).tolist())
    interval = f.get_int(f"{ARCHITECTURE}.full_attention_interval", 4, lo=1, hi=4096)
    return tuple((i + 1) % interval != 0 for i in range(n_layers))


def _check(f: GGUFFile, p: Qwen3NextParams) -> None:
    def require(ok: bool, key: str, value: object, wanted: str) -> None:
        if not ok:
            raise ModelError(f"{ARCHITECTURE}.{key}: {value}, expected {wanted}")

    require(p.n_heads % p.n_heads_kv == 0, "attention.head_count_kv", p.n_heads_kv, f"a divisor of {p.n_heads}")
    require(
        p.rope_dims % 2 == 0 and p.rope_dims <= p.head_dim,
        "rope.dimension_count",
        p.rope_dims,
        f"even, at most {p.head_dim}",
    )
    require(p.n_experts_used <= p.n_experts, "expert_used_count", p.n_experts_used, f"at most {p.n_experts}")
    require(
        p.n_delta_values % p.n_delta_keys == 0, "ssm.group_count", p.n_delta_keys, f"a divisor of {p.n_delta_values}"
    )
    inner = p.n_delta_values * p.delta_dim
    stored = f.get_int(f"{ARCHITECTURE}.ssm.inner_size", inner, lo=1)
    require(stored == inner, "ssm.inner_size", stored, f"{inner}, which is ssm.time_step_rank x ssm.state_size")
    values = f.get_int(f"{ARCHITECTURE}.attention.value_length", p.head_dim, lo=1)
    require(values == p.head_dim, "attention.value_length", values, f"{p.head_dim}, as attention.key_length")
