"""`vkrun convert` on checkpoints written here: layouts, types, tokenizer, and what it refuses."""

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from vkrun.tests.cli.running import VKRUN

E, LAYERS, VOCAB, HEADS, HEADS_KV, HEAD = 32, 2, 40, 3, 1, 8
DELTA_K, DELTA_V, DELTA, EXPERTS, FFN, SHARED = 2, 4, 6, 3, 20, 12
CONFIG: dict[str, Any] = {
    "model_type": "qwen3_next",
    "hidden_size": E,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCAB,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS_KV,
    "head_dim": HEAD,
    "partial_rotary_factor": 0.5,
    "rope_theta": 5e6,
    "full_attention_interval": 2,
    "linear_num_key_heads": DELTA_K,
    "linear_num_value_heads": DELTA_V,
    "linear_key_head_dim": DELTA,
    "linear_value_head_dim": DELTA,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": FFN,
    "shared_expert_intermediate_size": SHARED,
    "max_position_embeddings": 128,
    "eos_token_id": 5,
}

Tensors = dict[str, np.ndarray]


def _moe(prefix: str) -> dict[str, tuple[int, ...]]:
    shapes = {f"{prefix}gate.weight": (EXPERTS, E), f"{prefix}shared_expert_gate.weight": (1, E)}
    for x in range(EXPERTS):
        shapes |= {f"{prefix}experts.{x}.{kind}_proj.weight": (FFN, E) for kind in ("gate", "up")}
        shapes[f"{prefix}experts.{x}.down_proj.weight"] = (E, FFN)
    shapes |= {f"{prefix}shared_expert.{kind}_proj.weight": (SHARED, E) for kind in ("gate", "up")}
    return shapes | {f"{prefix}shared_expert.down_proj.weight": (E, SHARED)}


def _shapes() -> dict[str, tuple[int, ...]]:
    q, v = DELTA_K * DELTA, DELTA_V * DELTA
    delta, attention = "model.layers.0.linear_attn.", "model.layers.1.self_attn."
    shapes = {"model.embed_tokens.weight": (VOCAB, E), "model.norm.weight": (E,), "lm_head.weight": (VOCAB, E)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}{name}_layernorm.weight": (E,) for name in ("input", "post_attention")}
        shapes |= _moe(layer + "mlp.")
    shapes |= {
        delta + "in_proj_qkvz.weight": (2 * q + 2 * v, E),
        delta + "in_proj_ba.weight": (2 * DELTA_V, E),
        delta + "conv1d.weight": (2 * q + v, 1, 4),
        delta + "dt_bias": (DELTA_V,),
        delta + "A_log": (DELTA_V,),
        delta + "norm.weight": (DELTA,),
        delta + "out_proj.weight": (E, v),
        attention + "q_proj.weight": (2 * HEADS * HEAD, E),
        attention + "k_proj.weight": (HEADS_KV * HEAD, E),
        attention + "v_proj.weight": (HEADS_KV * HEAD, E),
        attention + "o_proj.weight": (E, HEADS * HEAD),
        attention + "q_norm.weight": (HEAD,),
        attention + "k_norm.weight": (HEAD,),
    }
    return shapes


def make_tensors() -> Tensors:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in _shapes().items()}


def _bf16(x: np.ndarray) -> bytes:
    return (x.view(np.uint32) >> 16).astype("<u2").tobytes()


def _to_bytes(x: np.ndarray, dtype: str) -> bytes:
    return _bf16(x) if dtype == "BF16" else x.astype("<f4" if dtype == "F32" else "<f2").tobytes()


def write_safetensors(path: Path, tensors: Tensors, dtype: str = "F32") -> None:
    header: dict[str, Any] = {}
    body = b""
    for name, x in tensors.items():
        raw = _to_bytes(x, dtype)
        header[name] = {"dtype": dtype, "shape": x.shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def make_checkpoint(folder: Path, tensors: Tensors | None = None, dtype: str = "F32", **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    write_safetensors(folder / "model.safetensors", make_tensors() if tensors is None else tensors, dtype)
    return folder


def run(folder: Path, *options: str, out: str = "out.gguf") -> subprocess.CompletedProcess[str]:
    command = [VKRUN, "convert", str(folder), str(folder / out), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def convert(folder: Path, *options: str) -> tuple[dict[str, np.ndarray], gguf.GGUFReader]:
    """The file's tensors, dequantised, in numpy's axis order, and its reader."""
    done = run(folder, *options)
    assert done.returncode == 0, done.stderr
    reader = gguf.GGUFReader(folder / "out.gguf")
    shapes = {t.name: tuple(int(n) for n in reversed(t.shape)) for t in reader.tensors}
    return {t.name: gguf.dequantize(t.data, t.tensor_type).reshape(shapes[t.name]) for t in reader.tensors}, reader


def value(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    assert field is not None, f"no key {key}"
    return field.contents()


def test_tensors_of_a_delta_block(tmp_path: Path) -> None:
    source = make_tensors()
    got, _ = convert(make_checkpoint(tmp_path), "--outtype", "f32")
    layer = "model.layers.0.linear_attn."
    rows = source[layer + "in_proj_qkvz.weight"].reshape(DELTA_K, -1, E)
    value_rows = DELTA_V // DELTA_K * DELTA
    for head in range(DELTA_K):
        q, k = rows[head, :DELTA], rows[head, DELTA : 2 * DELTA]
        v, z = rows[head, 2 * DELTA : 2 * DELTA + value_rows], rows[head, 2 * DELTA + value_rows :]
        qkv, at = got["blk.0.attn_qkv.weight"], 2 * DELTA_K * DELTA + head * value_rows
        np.testing.assert_array_equal(qkv[head * DELTA : (head + 1) * DELTA], q)
        np.testing.assert_array_equal(qkv[(DELTA_K + head) * DELTA : (DELTA_K + head + 1) * DELTA], k)
        np.testing.assert_array_equal(qkv[at : at + value_rows], v)
        np.testing.assert_array_equal(got["blk.0.attn_gate.weight"][head * value_rows :][:value_rows], z)
    np.testing.assert_array_equal(got["blk.0.ssm_conv1d.weight"], source[layer + "conv1d.weight"][:, 0])
    np.testing.assert_allclose(got["blk.0.ssm_a"], -np.exp(source[layer + "A_log"]), rtol=1e-6)
    np.testing.assert_array_equal(got["blk.0.ssm_norm.weight"], source[layer + "norm.weight"])


def test_tensors_of_an_attention_block_and_its_experts(tmp_path: Path) -> None:
    source = make_tensors()
    got, _ = convert(make_checkpoint(tmp_path), "--outtype", "f32")
    layer = "model.layers.1."
    np.testing.assert_array_equal(got["blk.1.attn_q.weight"], source[layer + "self_attn.q_proj.weight"])
    np.testing.assert_array_equal(got["blk.1.attn_q_norm.weight"], source[layer + "self_attn.q_norm.weight"] + 1)
    np.testing.assert_array_equal(got["output_norm.weight"], source["model.norm.weight"] + 1)
    for kind in ("gate", "up", "down"):
        stacked = [source[f"{layer}mlp.experts.{x}.{kind}_proj.weight"] for x in range(EXPERTS)]
        np.testing.assert_array_equal(got[f"blk.1.ffn_{kind}_exps.weight"], np.stack(stacked))
    gate = source[layer + "mlp.shared_expert_gate.weight"]
    np.testing.assert_array_equal(got["blk.1.ffn_gate_inp_shexp.weight"], gate[0])


def test_merged_experts_give_the_same_file(tmp_path: Path) -> None:
    source = make_tensors()
    merged = {name: x for name, x in source.items() if ".experts." not in name}
    for i in range(LAYERS):
        prefix = f"model.layers.{i}.mlp.experts."
        parts = {k: np.stack([source[f"{prefix}{x}.{k}_proj.weight"] for x in range(EXPERTS)]) for k in ("gate", "up")}
        merged[prefix + "gate_up_proj"] = np.concatenate([parts["gate"], parts["up"]], axis=1)
        merged[prefix + "down_proj"] = np.stack([source[f"{prefix}{x}.down_proj.weight"] for x in range(EXPERTS)])
    folders = [tmp_path / "single", tmp_path / "merged"]
    for folder, tensors in zip(folders, (source, merged), strict=True):
        folder.mkdir()
        assert run(make_checkpoint(folder, tensors), "--outtype", "f16", "--name", "x").returncode == 0
    assert (folders[0] / "out.gguf").read_bytes() == (folders[1] / "out.gguf").read_bytes()


def test_keys(tmp_path: Path) -> None:
    _, reader = convert(make_checkpoint(tmp_path), "--license", "MIT", "--name", "small")
    expected = {
        "general.architecture": "qwen3next",
        "general.name": "small",
        "general.license": "MIT",
        "qwen3next.block_count": LAYERS,
        "qwen3next.rope.dimension_count": HEAD // 2,
        "qwen3next.rope.freq_base": 5e6,
        "qwen3next.full_attention_interval": 2,
        "qwen3next.ssm.group_count": DELTA_K,
        "qwen3next.ssm.time_step_rank": DELTA_V,
        "qwen3next.ssm.inner_size": DELTA_V * DELTA,
        "qwen3next.expert_used_count": 2,
    }
    assert {key: value(reader, key) for key in expected} == expected


def test_layers_of_no_regular_interval(tmp_path: Path) -> None:
    types = ["full_attention", "linear_attention"]
    tensors = make_tensors()
    swap = {"0.linear_attn": "1.linear_attn", "1.self_attn": "0.self_attn"}
    for old, new in swap.items():
        tensors = {name.replace(old, new): x for name, x in tensors.items()}
    _, reader = convert(make_checkpoint(tmp_path, tensors, layer_types=types))
    assert value(reader, "qwen3next.attention.recurrent_layers") == [False, True]


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_sixteen_bit_sources_are_read_exactly(tmp_path: Path, dtype: str) -> None:
    got, _ = convert(make_checkpoint(tmp_path, dtype=dtype), "--outtype", "f32")
    x = make_tensors()["model.embed_tokens.weight"]
    bits = (x.view(np.uint32) >> 16 << 16).view(np.float32)
    np.testing.assert_array_equal(got["token_embd.weight"], bits if dtype == "BF16" else x.astype(np.float16))


def test_types_rules_and_rows_that_are_no_whole_blocks(tmp_path: Path) -> None:
    done = run(make_checkpoint(tmp_path), "--outtype", "q4_0", "--type", "token_embd=Q8_0")
    assert done.returncode == 0, done.stderr
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "out.gguf").tensors}
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_gate_exps.weight"] == "Q4_0"
    assert kinds["blk.0.ffn_down_exps.weight"] == "F16"
    assert "blk.0.ffn_down_exps.weight: rows of 20 are no whole blocks, stored as F16" in done.stderr
    assert {kinds[n] for n in ("blk.0.ffn_gate_inp.weight", "blk.0.ssm_conv1d.weight", "blk.0.ssm_a")} == {"F32"}


def test_shards_tied_head_and_draft_head(tmp_path: Path) -> None:
    tensors = make_tensors()
    del tensors["lm_head.weight"]
    tensors["mtp.norm.weight"] = np.ones(E, np.float32)
    make_checkpoint(tmp_path, tensors, tie_word_embeddings=True)
    (tmp_path / "model.safetensors").unlink()
    names, half = list(tensors), len(tensors) // 2
    shards = {"a.safetensors": names[:half], "b.safetensors": names[half:]}
    for file, part in shards.items():
        write_safetensors(tmp_path / file, {name: tensors[name] for name in part})
    weight_map = {name: file for file, part in shards.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 tensors of the draft head" in done.stderr
    assert "output.weight" not in {t.name for t in gguf.GGUFReader(tmp_path / "out.gguf").tensors}
    (tmp_path / "b.safetensors").unlink()
    assert "shard b.safetensors is missing" in run(tmp_path).stderr


def test_tokenizer(tmp_path: Path) -> None:
    word, rest = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}", r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    pattern = rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{word}|{rest}"
    steps = [{"type": "Split", "pattern": {"Regex": pattern}}, {"type": "ByteLevel", "use_regex": False}]
    tokenizer = {
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "added_tokens": [{"id": 5, "content": "<end>", "special": True}, {"id": 6, "content": "<t>", "special": False}],
    }
    make_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ x }}"}))
    _, reader = convert(tmp_path)
    assert value(reader, "tokenizer.ggml.pre") == "qwen2"
    assert value(reader, "tokenizer.ggml.tokens")[:8] == ["a", "b", "ab", "[PAD3]", "[PAD4]", "<end>", "<t>", "[PAD7]"]
    assert value(reader, "tokenizer.ggml.token_type")[:8] == [1, 1, 1, 5, 5, 3, 4, 5]
    assert value(reader, "tokenizer.ggml.merges") == ["a b"]
    assert value(reader, "tokenizer.ggml.eos_token_id") == 5
    assert value(reader, "tokenizer.chat_template") == "{{ x }}"
    steps[0]["pattern"] = {"Regex": "x+"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "unknown split rule ['x+']; give --pre NAME" in run(tmp_path).stderr
    assert run(tmp_path, "--pre", "qwen2").returncode == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, "model_type is 'llama', expected 'qwen3_next'"),
        ({"hidden_size": 33}, "model.embed_tokens.weight: shape (40, 32), expected (40, 33)"),
        ({"hidden_size": -1}, "hidden_size is -1, expected a positive whole number"),
        ({"norm_topk_prob": False}, "norm_topk_prob is False, expected True"),
        ({"rope_scaling": {"type": "yarn"}}, "rope type 'yarn', expected 'default'"),
        ({"linear_value_head_dim": 8}, "linear_key_head_dim 6 differs from linear_value_head_dim 8"),
    ],
)
def test_refused_configs(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    done = run(make_checkpoint(tmp_path, **config))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.gguf*"))


def test_refused_tensors(tmp_path: Path) -> None:
    tensors = make_tensors()
    del tensors["model.layers.1.self_attn.k_norm.weight"]
    assert (
        "k_norm.weight: missing from the checkpoint, expected shape (8,)"
        in run(make_checkpoint(tmp_path, tensors)).stderr
    )
    bad = make_tensors()
    bad["model.norm.weight"][3] = np.nan
    assert "output_norm.weight: 1 values are infinite or NaN" in run(make_checkpoint(tmp_path, bad)).stderr
    assert not list(tmp_path.glob("*.gguf*"))


@pytest.mark.parametrize("cut", [4, 100, -10])
def test_cut_safetensors(tmp_path: Path, cut: int) -> None:
    path = make_checkpoint(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("vkrun: model.safetensors: ")
