"""Sound files that hold no model: one line with the name and both values, and no device is asked for."""

import re
import time
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import vkrun
from vkrun.backends import registry
from vkrun.runtime.errors import GGUFError, ModelError, TextError
from vkrun.tests.model_files import Shape

SMALL = Shape(n_layers=2, interval=2)  # a delta net, then attention
NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_args: object) -> None:
        raise AssertionError("a device was asked for")

    monkeypatch.setattr(registry, "choose", touched)
    monkeypatch.setattr(registry, "get", touched)


def write(
    path: Path,
    shape: Shape = SMALL,
    keys: dict | None = None,
    tensors: dict | None = None,
    kind: str = "float32",
    others: dict | None = None,
) -> Path:
    """A model of zeros with some keys and tensors' shapes replaced, None takes one out; and with other keys."""
    writer = gguf.GGUFWriter(path, "qwen3next")
    for key, value in {**shape.keys(), **(keys or {})}.items():
        _add(writer, f"qwen3next.{key}", value)
    for key, value in (others or {}).items():
        _add(writer, key, value)
    for name, dims in {**shape.tensors(), **(tensors or {})}.items():
        if dims is not None:
            writer.add_tensor(name, np.zeros(dims, kind if name in (tensors or {}) else "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    if isinstance(value, bool | str | list):
        add = {bool: writer.add_bool, str: writer.add_string, list: writer.add_array}[type(value)]
        add(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, int):
        (writer.add_int32 if value < 0 else writer.add_uint64 if value > 0xFFFFFFFF else writer.add_uint32)(key, value)


def refusal(path: Path) -> str:
    """What load() says, in under a second and in one line."""
    before = time.perf_counter()
    with pytest.raises((GGUFError, ModelError, TextError)) as caught:
        vkrun.load(path)
    assert time.perf_counter() - before < 1
    assert str(caught.value).isprintable()
    return str(caught.value)


KEYS = {
    "block_count": [(0, "0, expected 1 to"), (10**6, "1000000, expected 1 to"), (3, None), (None, "missing key")],
    "context_length": [(0, "0, expected"), (None, "missing key")],
    "embedding_length": [(0, "0, expected"), (1 << 40, "1099511627776, expected"), (33, None), (None, "missing key")],
    "attention.head_count": [(0, "0, expected"), (-1, "-1, expected"), (3, "3"), (8, None), (None, "missing key")],
    "attention.head_count_kv": [
        (0, "0, expected heads"),
        (3, "3, expected a divisor of 4"),
        (8, "8, expected a divisor"),
    ],
    "attention.key_length": [
        (0, "0, expected"),
        (15, "value_length: 16, expected 15, as attention.key_length"),
        (1 << 20, "1048576, expected"),
        ("16", "type string"),
    ],
    "attention.value_length": [(8, "8, expected 16"), (0, "0, expected")],
    "attention.layer_norm_rms_epsilon": [
        (NAN, "nan, expected"),
        (INF, "inf, expected"),
        (-1e-6, "-1e-06, expected|-9.99.*e-07, expected"),
        (0.0, "0.0, expected"),
        (2.0, "2.0, expected"),
        (2, "2.0, expected"),
        ([1e-6, 1e-5], "2 values, .*, expected a float"),
        (None, "missing key"),
    ],
    "rope.freq_base": [(NAN, "nan, expected"), (0.0, "0.0, expected"), (-INF, "-inf, expected"), (1e20, "e.20, exp")],
    "rope.dimension_count": [(7, "7, expected even"), (0, "0, expected"), (18, "18, expected even, at most 16")],
    "expert_count": [(0, "0, expected"), (1 << 20, "1048576, expected"), (5, None), (None, "missing key")],
    "expert_used_count": [(0, "0, expected"), (5, "5, expected at most 4"), (-2, "-2, expected"), (None, "missing")],
    "expert_feed_forward_length": [(0, "0, expected"), (31, None)],
    "expert_shared_feed_forward_length": [(0, "0, expected"), (64, None)],
    "ssm.conv_kernel": [(0, "0, expected 2 to 64"), (1, "1, expected 2 to 64"), (5, None), (1 << 31, "expected 2 to")],
    "ssm.state_size": [(0, "0, expected"), (15, "inner_size: 64, expected 60"), (1 << 16, "65536, expected")],
    "ssm.group_count": [(0, "0, expected"), (3, "3, expected a divisor of 4"), (8, "8, expected a divisor"), (1, None)],
    "ssm.time_step_rank": [(0, "0, expected"), (6, "inner_size: 64, expected 96"), (None, "missing key")],
    "ssm.inner_size": [(63, "63, expected 64"), (0, "0, expected")],
    "full_attention_interval": [
        (0, "0, expected"),
        (-4, "-4, expected"),
        (1, None),
        ([2, 4], "2 values, 2 to 4, expected"),
    ],
}


@pytest.mark.parametrize("key", KEYS)
def test_hyper_parameters(tmp_path: Path, key: str) -> None:
    assert SMALL.keys()[key]
    for value, wanted in KEYS[key]:
        said = refusal(write(tmp_path / "a.gguf", keys={key: value}))
        if wanted is None:  # in range by itself, so that a tensor of another shape, or none, tells
            assert "shape (" in said or "missing tensor" in said, (key, value, said)
        else:
            assert re.search(wanted, said) and said.count("qwen3next.") == 1, (key, value, said)


def test_recurrent_layers(tmp_path: Path) -> None:
    listed = "attention.recurrent_layers"
    for value, wanted in (([True], "1 values, expected 2"), ("yes", "type string")):
        assert f"qwen3next.{listed}: {wanted}" in refusal(write(tmp_path / "a.gguf", keys={listed: value}))
    assert f"{listed}[1]: 2, expected 0 to 1" in refusal(write(tmp_path / "a.gguf", keys={listed: [1, 2]}))
    for layers in ([False, True], [0, 1]):
        said = refusal(write(tmp_path / "a.gguf", keys={listed: layers}))
        assert "blk.0.attn_q.weight: missing tensor, expected shape (128, 32)" in said


@pytest.mark.parametrize("name", SMALL.tensors())
def test_tensors(tmp_path: Path, name: str) -> None:
    dims = SMALL.tensors()[name]
    longer, deeper = (*dims[:-1], dims[-1] + 1), (2, *dims)
    for wrong in (longer, deeper, (*dims[:-1], 0)):
        said = refusal(write(tmp_path / "a.gguf", tensors={name: wrong}))
        if name != "token_embd.weight" or wrong == longer:
            assert name in said, said
    if len(dims) > 1 and dims[0] != dims[1]:
        said = refusal(write(tmp_path / "a.gguf", tensors={name: dims[::-1]}))
        assert f"shape {dims[::-1]}, expected {dims}" in said or name == "token_embd.weight"
    said = refusal(write(tmp_path / "a.gguf", tensors={name: dims}, kind="int32"))
    assert f"{name}: dtype I32, expected" in said
    if name != "output.weight":  # absent, it is the embedding
        said = refusal(write(tmp_path / "a.gguf", tensors={name: None}))
        assert f"{name}: missing tensor" in said


@pytest.mark.parametrize("n", [63, 65])
def test_a_vocabulary_of_another_length_than_the_embedding(tmp_path: Path, n: int) -> None:
    tokens = [f"t{i}" for i in range(n)]
    lists = {"tokens": tokens, "merges": ["t 0"], "model": "gpt2"}
    path = write(tmp_path / "a.gguf", others={f"tokenizer.ggml.{key}": value for key, value in lists.items()})
    assert f"tokenizer.ggml.tokens: {n} entries, but the model's embedding has 64 rows" in refusal(path)


def test_no_vocabulary(tmp_path: Path) -> None:
    assert "token_embd.weight" in refusal(write(tmp_path / "a.gguf", replace(SMALL, n_vocab=0)))
