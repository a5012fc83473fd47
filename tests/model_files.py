"""Writes small random qwen3next files, for tests that need a model of some shape and not a trained one."""

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np


@dataclass(frozen=True)
class Shape:
    """Sizes of a random model; the defaults make one of 40 KB."""

    n_layers: int = 4
    width: int = 32
    n_vocab: int = 64
    n_heads: int = 4
    n_heads_kv: int = 2
    head_dim: int = 16
    rope_dims: int = 8
    n_experts: int = 4
    n_experts_used: int = 2
    expert_width: int = 32
    shared_width: int = 32
    conv_width: int = 4
    delta_dim: int = 16
    n_delta_keys: int = 2
    n_delta_values: int = 4
    interval: int = 4

    @property
    def n_channels(self) -> int:
        return (2 * self.n_delta_keys + self.n_delta_values) * self.delta_dim

    def keys(self) -> dict[str, int | float]:
        return {
            "block_count": self.n_layers,
            "context_length": 4096,
            "embedding_length": self.width,
            "attention.head_count": self.n_heads,
            "attention.head_count_kv": self.n_heads_kv,
            "attention.key_length": self.head_dim,
            "attention.value_length": self.head_dim,
            "attention.layer_norm_rms_epsilon": 1e-6,
            "rope.freq_base": 10000.0,
            "rope.dimension_count": self.rope_dims,
            "expert_count": self.n_experts,
            "expert_used_count": self.n_experts_used,
            "expert_feed_forward_length": self.expert_width,
            "expert_shared_feed_forward_length": self.shared_width,
            "ssm.conv_kernel": self.conv_width,
            "ssm.state_size": self.delta_dim,
            "ssm.group_count": self.n_delta_keys,
            "ssm.time_step_rank": self.n_delta_values,
            "ssm.inner_size": self.n_delta_values * self.delta_dim,
            "full_attention_interval": self.interval,
        }

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name, in numpy's order."""
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.n_vocab, self.width)}
        for i in range(self.n_layers):
            full = (i + 1) % self.interval == 0
            layer = {**(self._attention() if full else self._delta_net()), **self._ffn()}
            shapes |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
        return shapes | {"output_norm.weight": (self.width,), "output.weight": (self.n_vocab, self.width)}

    def _attention(self) -> dict[str, tuple[int, ...]]:
        n_q, n_kv = self.n_heads * self.head_dim, self.n_heads_kv * self.head_dim
        return {
            "attn_q.weight": (2 * n_q, self.width),
            "attn_k.weight": (n_kv, self.width),
            "attn_v.weight": (n_kv, self.width),
            "attn_q_norm.weight": (self.head_dim,),
            "attn_k_norm.weight": (self.head_dim,),
            "attn_output.weight": (self.width, n_q),
        }

    def _delta_net(self) -> dict[str, tuple[int, ...]]:
        n_values = self.n_delta_values
        return {
            "attn_qkv.weight": (self.n_channels, self.width),
            "attn_gate.weight": (n_values * self.delta_dim, self.width),
            "ssm_ba.weight": (2 * n_values, self.width),
            "ssm_conv1d.weight": (self.n_channels, self.conv_width),
            "ssm_dt.bias": (n_values,),
            "ssm_a": (n_values,),
            "ssm_norm.weight": (self.delta_dim,),
            "ssm_out.weight": (self.width, n_values * self.delta_dim),
        }

    def _ffn(self) -> dict[str, tuple[int, ...]]:
        n, f, s, e = self.n_experts, self.expert_width, self.shared_width, self.width
        return {
            "attn_norm.weight": (e,),
            "post_attention_norm.weight": (e,),
            "ffn_gate_inp.weight": (n, e),
            "ffn_gate_exps.weight": (n, f, e),
            "ffn_up_exps.weight": (n, f, e),
            "ffn_down_exps.weight": (n, e, f),
            "ffn_gate_inp_shexp.weight": (e,),
            "ffn_gate_shexp.weight": (s, e),
            "ffn_up_shexp.weight": (s, e),
            "ffn_down_shexp.weight": (e, s),
        }


QWEN3_NEXT_80B = Shape(
    n_layers=48,
    width=2048,
    n_vocab=151936,
    n_heads=16,
    n_heads_kv=2,
    head_dim=256,
    rope_dims=64,
    n_experts=512,
    n_experts_used=10,
    expert_width=512,
    shared_width=512,
    delta_dim=128,
    n_delta_keys=16,
    n_delta_values=32,
)


def write_model(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """A random F32 model without tokenizer data."""
    rng = np.random.default_rng(seed)
    writer = _writer(path, shape)
    for name, dims in shape.tensors().items():
        writer.add_tensor(name, _values(name, dims, rng))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_header(path: Path, shape: Shape = QWEN3_NEXT_80B, quant: gguf.GGMLQuantizationType | None = None) -> Path:
    """A file of the right size whose data section is a hole: enough to plan, nothing to compute."""
    writer = _writer(path, shape)
    total = 0
    for name, dims in shape.tensors().items():
        kind = quant if quant is not None and len(dims) > 1 and _is_matrix(name) else gguf.GGMLQuantizationType.F32
        block, size = gguf.GGML_QUANT_SIZES[kind]
        nbytes = int(np.prod(dims)) // block * size
        bytes_shape = (*dims[:-1], dims[-1] // block * size)
        if kind is gguf.GGMLQuantizationType.F32:
            writer.add_tensor_info(name, dims, np.dtype(np.float32), nbytes)
        else:
            writer.add_tensor_info(name, bytes_shape, np.dtype(np.uint8), nbytes, raw_dtype=kind)
        total += -(-nbytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as f:
        f.truncate(path.stat().st_size + total + 32)
    return path


def _writer(path: Path, shape: Shape) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, "qwen3next")
    writer.add_name("random")
    for key, value in shape.keys().items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"qwen3next.{key}", value)
    return writer


def _is_matrix(name: str) -> bool:
    return not name.endswith(("ssm_conv1d.weight", "ffn_gate_inp.weight"))


def _values(name: str, dims: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values of the size that training gives: norms near 1, decays negative, matrices that keep a row's length."""
    if name.endswith("norm.weight"):
        return rng.normal(1, 0.1, dims).astype(np.float32)
    if name.endswith("ssm_a"):
        return -rng.uniform(0.1, 4, dims).astype(np.float32)
    return (rng.standard_normal(dims) / dims[-1] ** 0.5).astype(np.float32)
