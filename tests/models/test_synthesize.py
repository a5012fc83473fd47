"""Models of real size with random weights: one of every family, written and read again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vkrun
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.models import ARCHITECTURES, Capacity, open_model
from vkrun.tools.presets import PRESETS, Preset
from vkrun.tools.synthesize import TYPES, dtype_of, tensors_of, write

PARAMS = {
    "llama-8b": 8.0,
    "qwen3-next-80b-a3b": 79.7,
    "gpt-oss-20b": 20.9,
    "qwen3-30b-a3b": 30.5,
    "gemma2-9b": 9.2,
    "qwen3.5-9b": 9.0,
    "lfm2-8b-a1b": 8.3,
    "granite4-h-tiny-7b": 6.9,
    "falcon-h1-1.5b": 1.55,
    "nemotron3-nano-30b-a3b": 31.6,
    "kimi-linear-48b-a3b": 49.1,
}


def test_every_family_has_a_model():
    assert {preset.architecture for preset in PRESETS.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", PRESETS)
def test_headers_open_as_their_family_and_leave_nothing_over(name: str, tmp_path: Path) -> None:
    path = tmp_path / "header.gguf"
    preset = PRESETS[name] if name in PARAMS else replace(PRESETS[name], n_vocab=1000)  # words take time
    nbytes = write(path, preset, "Q4_K_M", header_only=True)
    with GGUFFile.open(path) as f:  # whose data is a hole of the right size
        assert sum(t.nbytes for t in f.tensors.values()) <= nbytes <= path.stat().st_size
        model = open_model(f, Capacity(256))
        assert set(f.tensors) <= model.weights.used | {"token_embd.weight"} and not model.notes
        if name in PARAMS:
            assert sum(int(np.prod(t.shape)) for t in f.tensors.values()) / 1e9 == pytest.approx(PARAMS[name], abs=0.1)


@pytest.mark.parametrize("name", ["lfm2-1.2b", "nemotron-h-8b", "kimi-linear-48b-a3b"])
def test_a_model_with_lists_by_layer_can_be_shortened(name: str) -> None:
    keys, tensors = tensors_of(PRESETS[name], "Q4_0", 4)
    whole = tensors_of(PRESETS[name], "Q4_0")[1]
    assert len(keys[f"{PRESETS[name].architecture}.attention.head_count_kv"]) == 4
    kept = [t.name for t in whole if not t.name.startswith("blk.") or int(t.name.split(".")[1]) < 4]
    assert [t.name for t in tensors] == kept


@pytest.mark.parametrize("kind", TYPES)
def test_types(kind: str) -> None:
    matrix, norm = (
        dtype_of("blk.9.attn_q.weight", (64, 512), kind, 32),
        dtype_of("output_norm.weight", (512,), kind, 32),
    )
    assert norm is DType.F32 and matrix is {"Q4_K_M": DType.Q4_K, "MXFP4": DType.Q8_0}.get(
        kind, DType.__members__.get(kind)
    )
    alpha, taps = dtype_of("blk.0.ssm_alpha.weight", (32, 512), kind, 32), "blk.0.shortconv.conv.weight"
    assert alpha is matrix and dtype_of(taps, (64, 3), kind, 32) is DType.F32
    assert dtype_of("blk.0.ffn_gate_exps.weight", (4, 64, 96), kind, 32) is (
        DType.Q8_0 if kind == "Q4_K_M" else DType[kind]
    )


def test_a_file_runs(tmp_path: Path) -> None:
    keys = {**PRESETS["qwen3-30b-a3b"].keys, "embedding_length": 128, "block_count": 2, "expert_count": 4}
    keys |= {"expert_used_count": 2, "expert_feed_forward_length": 64, "attention.head_count": 4}
    path = tmp_path / "small.gguf"
    write(path, Preset("qwen3moe", 300, keys), "Q4_0")
    with vkrun.load(path, backend="cpu", n_ctx=32) as model:
        logits = model.logits([1, 2, 3])
    assert logits.shape == (3, 300) and np.isfinite(logits).all() and logits.std() > 0.1
