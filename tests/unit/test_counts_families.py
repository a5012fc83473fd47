"""How lean a token is of families at the shapes of models that people run, planned from headers without weights."""

from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from vkrun.runtime.counts import plan_step
from vkrun.runtime.ir.counts import counts_of, is_copy
from vkrun.runtime.ir.plan import Plan

Q4 = gguf.GGMLQuantizationType.Q4_0
Shapes = dict[str, tuple[int, ...]]
N_VOCAB = 32000


def layer(width: int, hidden: int, n_q: int, n_kv: int, norms: tuple[str, ...], head_norms: int = 0) -> Shapes:
    made: Shapes = {
        "attn_q.weight": (n_q, width),
        "attn_output.weight": (width, n_q),
        "ffn_down.weight": (width, hidden),
    }
    made |= {f"attn_{name}.weight": (n_kv, width) for name in "kv"}
    made |= {f"ffn_{name}.weight": (hidden, width) for name in ("gate", "up")}
    made |= {f"{name}.weight": (width,) for name in norms}
    return made | ({f"attn_{name}_norm.weight": (head_norms,) for name in "qk"} if head_norms else {})


def write(path: Path, arch: str, keys: dict[str, Any], n_layers: int, width: int, of_layer: Shapes) -> Path:
    """A header and a hole of the data's size."""
    writer, total = gguf.GGUFWriter(path, arch), 0
    for key, value in {"block_count": n_layers, "embedding_length": width, "context_length": 8192, **keys}.items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"{arch}.{key}", value)
    shapes: Shapes = {"token_embd.weight": (N_VOCAB, width), "output_norm.weight": (width,)}
    shapes |= {f"blk.{i}.{name}": shape for i in range(n_layers) for name, shape in of_layer.items()}
    for name, shape in shapes.items():
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
        else:
            nbytes = (*shape[:-1], shape[-1] // 32 * 18)
            writer.add_tensor_info(name, nbytes, np.dtype(np.uint8), int(np.prod(nbytes)), raw_dtype=Q4)
        total += int(np.prod(shape)) * 4
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as f:
        f.truncate(path.stat().st_size + total)
    return path


def llama_8b(path: Path) -> Path:
    keys = {"attention.head_count": 32, "attention.head_count_kv": 8, "feed_forward_length": 14336}
    keys |= {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 5e5}
    return write(path, "llama", keys, 3, 4096, layer(4096, 14336, 4096, 1024, ("attn_norm", "ffn_norm")))


def qwen2_7b(path: Path) -> Path:
    keys = {"attention.head_count": 28, "attention.head_count_kv": 4, "feed_forward_length": 18944}
    keys |= {"attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6}
    biases: Shapes = {"attn_q.bias": (3584,), "attn_k.bias": (512,), "attn_v.bias": (512,)}
    return write(path, "qwen2", keys, 3, 3584, biases | layer(3584, 18944, 3584, 512, ("attn_norm", "ffn_norm")))


def gemma3_12b(path: Path) -> Path:
    keys = {"attention.head_count": 16, "attention.head_count_kv": 8, "feed_forward_length": 15360}
    keys |= {"attention.key_length": 256, "attention.value_length": 256, "attention.sliding_window": 1024}
    keys |= {"attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6}
    norms = "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"
    return write(path, "gemma3", keys, 6, 3840, layer(3840, 15360, 4096, 2048, norms, 256))


def per_layer(plan: Plan) -> Counter[str]:
    return Counter(n.name.split(".")[1] for n in plan.nodes if n.name.startswith("blk."))


@pytest.mark.parametrize("n_kv", [256, 4096])
@pytest.mark.parametrize(("made", "most"), [(llama_8b, 7), (qwen2_7b, 7), (gemma3_12b, 9)])
def test_dispatches_of_a_layer(made, most, n_kv, tmp_path):
    plan = plan_step(made(tmp_path / "a.gguf"), n_kv=n_kv)
    found = per_layer(plan)
    assert found and max(found.values()) <= most, found
    assert [n.name for n in plan.nodes if is_copy(n)] == [] and counts_of(plan)["copies"] == 0
