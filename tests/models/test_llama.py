"""Llama and its kin: random files against a forward in numpy."""

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
from vkrun.runtime.errors import ModelError
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact

Array = np.ndarray
LAYERS, WIDTH, HIDDEN, VOCAB, HEADS, KEYS, DIM, EXPERTS, USED, EPS, BASE = 2, 32, 64, 48, 4, 2, 12, 5, 2, 1e-5, 500.0
LIMIT = 1e-10
IDS = np.random.default_rng(3).integers(0, VOCAB, 19).tolist()


@dataclass(frozen=True)
class Kin:
    """One of the family, and what its file holds."""

    name: str
    tied: bool = False
    factors: bool = False  # of frequencies
    biases: bool = False
    fused: bool = False  # q, k and v in one matrix
    norms: bool = False  # of heads
    experts: bool = False
    scaling: str = ""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        made: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, WIDTH), "output_norm.weight": (WIDTH,)}
        made |= {} if self.tied else {"output.weight": (VOCAB, WIDTH)}
        made |= {"rope_freqs.weight": (DIM // 2,)} if self.factors else {}
        for i in range(LAYERS):
            made |= {f"blk.{i}.{name}": shape for name, shape in (self._attention() | self._hidden()).items()}
        return made

    def _attention(self) -> dict[str, tuple[int, ...]]:
        n_q, n_kv = HEADS * DIM, KEYS * DIM
        sizes = {"attn_qkv": n_q + 2 * n_kv} if self.fused else {"attn_q": n_q, "attn_k": n_kv, "attn_v": n_kv}
        made: dict[str, tuple[int, ...]] = {f"{name}.weight": (n, WIDTH) for name, n in sizes.items()}
        made |= {f"{name}.bias": (n,) for name, n in sizes.items() if self.biases}
        made |= {f"attn_{name}_norm.weight": (DIM,) for name in "qk" if self.norms}
        norms = {f"{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        return made | norms | {"attn_output.weight": (WIDTH, n_q)}

    def _hidden(self) -> dict[str, tuple[int, ...]]:
        if not self.experts:
            return {f"ffn_{n}.weight": (HIDDEN, WIDTH) for n in ("gate", "up")} | {"ffn_down.weight": (WIDTH, HIDDEN)}
        made = {f"ffn_{n}_exps.weight": (EXPERTS, HIDDEN, WIDTH) for n in ("gate", "up")}
        return made | {"ffn_gate_inp.weight": (EXPERTS, WIDTH), "ffn_down_exps.weight": (EXPERTS, WIDTH, HIDDEN)}


KIN = (
    Kin("llama", tied=True, factors=True),
    Kin("llama", experts=True, scaling="linear"),
    Kin("qwen2", biases=True, fused=True, scaling="yarn"),
    Kin("qwen3", tied=True, norms=True),
    Kin("qwen3moe", norms=True, experts=True),
)


def write(path: Path, kin: Kin) -> dict[str, Array]:
    writer, rng, made = gguf.GGUFWriter(path, kin.name), np.random.default_rng(8), {}
    counts = {"block_count": LAYERS, "context_length": 256, "embedding_length": WIDTH, "attention.head_count": HEADS}
    counts |= {"attention.head_count_kv": KEYS, "attention.key_length": DIM, "attention.value_length": DIM}
    counts |= {"feed_forward_length": HIDDEN, "rope.dimension_count": DIM}
    counts |= {"expert_count": EXPERTS, "expert_used_count": USED} if kin.experts else {}
    for key, value in counts.items():
        writer.add_uint32(f"{kin.name}.{key}", value)
    writer.add_float32(f"{kin.name}.attention.layer_norm_rms_epsilon", EPS)
    writer.add_float32(f"{kin.name}.rope.freq_base", BASE)
    if kin.scaling:
        writer.add_string(f"{kin.name}.rope.scaling.type", kin.scaling)
        writer.add_float32(f"{kin.name}.rope.scaling.factor", 4.0)
        writer.add_uint32(f"{kin.name}.rope.scaling.original_context_length", 16)
    for name, shape in kin.shapes().items():
        around_one = "norm" in name or "freqs" in name
        drawn = rng.uniform(0.5, 2.0, shape) if around_one else rng.standard_normal(shape) / shape[-1] ** 0.5
        made[name] = drawn.astype(np.float32)
        writer.add_tensor(name, made[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made


def forward(kin: Kin, t: dict[str, Array]) -> Array:
    x = t["token_embd.weight"][IDS].astype(np.float64)
    for i in range(LAYERS):
        w = {name.removeprefix(f"blk.{i}."): v for name, v in t.items() if name.startswith(f"blk.{i}.")}
        x = x + _attention(kin, _rms(x, w["attn_norm.weight"]), w, _frequencies(kin, t))
        h = _rms(x, w["ffn_norm.weight"])
        x = x + (_experts(h, w) if kin.experts else _swiglu(h, *(w[f"ffn_{n}.weight"] for n in ("gate", "up", "down"))))
    return _rms(x, t["output_norm.weight"]) @ t["token_embd.weight" if kin.tied else "output.weight"].T


def _rms(x: Array, w: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * w


def _swiglu(h: Array, gate: Array, up: Array, down: Array) -> Array:
    z = h @ gate.T
    return (z / (1 + np.exp(-z)) * (h @ up.T)) @ down.T


def _experts(h: Array, w: dict[str, Array]) -> Array:
    out = np.zeros(h.shape)
    for n, row in enumerate(h):
        p = np.exp(w["ffn_gate_inp.weight"] @ row)
        picked = sorted(range(EXPERTS), key=lambda e: -p[e])[:USED]
        for e in picked:
            one = _swiglu(row, *(w[f"ffn_{name}_exps.weight"][e] for name in ("gate", "up", "down")))
            out[n] += p[e] / sum(p[i] for i in picked) * one
    return out


def _frequencies(kin: Kin, t: dict[str, Array]) -> tuple[list[float], float]:
    """Of each pair, and what cosines and sines are multiplied by; yarn as its paper says: 32 turns to 1 within 16."""
    made = [BASE ** (-2 * j / DIM) for j in range(DIM // 2)]
    if kin.factors:
        return [f / float(by) for f, by in zip(made, t["rope_freqs.weight"], strict=True)], 1.0
    if kin.scaling == "linear":
        return [f / 4 for f in made], 1.0
    if kin.scaling != "yarn":
        return made, 1.0
    low, high = (DIM * np.log(16 / (turns * 2 * np.pi)) / (2 * np.log(BASE)) for turns in (32, 1))
    low, high = max(np.floor(low), 0), min(np.ceil(high), DIM - 1)
    ramp = [min(max((j - low) / (high - low), 0), 1) for j in range(DIM // 2)]
    return [f * (1 - r) + f / 4 * r for f, r in zip(made, ramp, strict=True)], 1 + 0.1 * np.log(4)


def _attention(kin: Kin, h: Array, w: dict[str, Array], frequencies: tuple[list[float], float]) -> Array:
    names = ["attn_qkv"] if kin.fused else ["attn_q", "attn_k", "attn_v"]
    made = np.concatenate([h @ w[f"{n}.weight"].T + w.get(f"{n}.bias", 0) for n in names], 1)
    q, k, v = (x.reshape(len(h), -1, DIM) for x in np.split(made, [HEADS * DIM, (HEADS + KEYS) * DIM], 1))
    if kin.norms:
        q, k = _rms(q, w["attn_q_norm.weight"]), _rms(k, w["attn_k_norm.weight"])
    q, k = (_turned(x, kin.name == "llama", *frequencies) for x in (q, k))
    out = np.zeros(q.shape)
    for at, head in np.ndindex(len(h), HEADS):
        own = head * KEYS // HEADS
        p = np.exp(k[: at + 1, own] @ q[at, head] / np.sqrt(DIM))
        out[at, head] = p @ v[: at + 1, own] / p.sum()
    return out.reshape(len(h), -1) @ w["attn_output.weight"].T


def _turned(x: Array, neighbours: bool, frequencies: list[float], magnitude: float) -> Array:
    out, half = x.copy(), DIM // 2
    for at in range(len(x)):
        for j, f in enumerate(frequencies):
            a, b = (2 * j, 2 * j + 1) if neighbours else (j, j + half)
            c, s = magnitude * np.cos(at * f), magnitude * np.sin(at * f)
            out[at, :, a], out[at, :, b] = c * x[at, :, a] - s * x[at, :, b], s * x[at, :, a] + c * x[at, :, b]
    return out


@pytest.mark.parametrize("kin", KIN, ids=lambda kin: f"{kin.name} {kin.scaling or 'plain'}")
def test_logits_are_those_of_numpy(kin, backend, tmp_path):
    wanted = forward(kin, write(tmp_path / "a.gguf", kin))
    with load_exact(tmp_path / "a.gguf", backend=backend, n_ctx=64) as model:
        assert nmse(model.logits(IDS), wanted) <= LIMIT
        model.engine.reset(0)
        single = [model.engine.prompt(0, at, IDS[at : at + 1], every=True) for at in range(len(IDS))]
        assert nmse(np.concatenate(single), wanted) <= LIMIT


def test_a_scaling_that_is_not_known_is_refused(tmp_path):
    path = tmp_path / "a.gguf"
    write(path, Kin("qwen3", norms=True, scaling="stretch"))
    with pytest.raises(
        ModelError, match=r"qwen3\.rope\.scaling\.type: stretch, expected none or linear or yarn or longrope"
    ):
        load_exact(path, backend="cpu")
