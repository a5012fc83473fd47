"""What converters write differently and mean alike gives the same logits, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import Shape, write_model

SHAPE = Shape(n_layers=2, interval=2)
IDS = [7, 3, 3, 61, 0, 12]
ARCH = "qwen3next."
TYPE = gguf.GGUFValueType

Change = Callable[[gguf.GGUFWriter], None]


def _add(key: str, value: object, kind: gguf.GGUFValueType, item: gguf.GGUFValueType | None = None) -> Change:
    return lambda writer: writer.add_key_value(ARCH + key, value, kind, item)


def _derived(_writer: gguf.GGUFWriter) -> None:
    """Left out: the tensors or other keys tell."""


# what llama.cpp's converter writes today, and what others have written
CHANGES: dict[str, Change] = {
    "attention.recurrent_layers": _add("attention.recurrent_layers", [1, 0], TYPE.ARRAY, TYPE.INT32),
    "attention.head_count": _add("attention.head_count", [4, 4], TYPE.ARRAY, TYPE.UINT32),
    "attention.head_count_kv": _add("attention.head_count_kv", [2, 2], TYPE.ARRAY, TYPE.INT32),
    "expert_feed_forward_length": _add("expert_feed_forward_length", [32, 32], TYPE.ARRAY, TYPE.UINT64),
    "block_count": _add("block_count", 2, TYPE.UINT8),
    "context_length": _add("context_length", 4096, TYPE.UINT64),
    "embedding_length": _add("embedding_length", 32, TYPE.INT16),
    "rope.freq_base": _add("rope.freq_base", 10000, TYPE.UINT32),
    "attention.layer_norm_rms_epsilon": _add("attention.layer_norm_rms_epsilon", 1e-6, TYPE.FLOAT64),
    **dict.fromkeys(("expert_shared_feed_forward_length", "attention.value_length", "ssm.inner_size"), _derived),
    "full_attention_interval": _derived,
}


def respelt(source: Path, target: Path) -> Path:
    """A copy with every key of CHANGES as it says, and an axis of 1 before the first of each vector's."""
    with GGUFFile.open(source) as f:
        writer = gguf.GGUFWriter(target, "qwen3next")
        for key, value in f.keys.items():
            if key.startswith(ARCH) and key.removeprefix(ARCH) not in CHANGES:
                writer.add_key_value(key, value, TYPE[f.types[key].upper()])
        for change in CHANGES.values():
            change(writer)
        for name, info in f.tensors.items():
            data = f.read_array(info)
            writer.add_tensor(name, data[None] if data.ndim == 1 else data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def test_the_same_model_spelt_otherwise(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain.gguf", SHAPE)
    other = respelt(plain, tmp_path / "other.gguf")
    with GGUFFile.open(other) as f:
        assert f.tensors["blk.0.ffn_gate_inp_shexp.weight"].shape == (1, 32)
        assert f.types[ARCH + "attention.recurrent_layers"] == "array of int32"
    logits = []
    for path in (plain, other):
        with load_exact(path, backend="cpu", n_ctx=32) as model:
            logits.append(model.logits(IDS))
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)  # sums in numpy depend on where rows begin in memory
