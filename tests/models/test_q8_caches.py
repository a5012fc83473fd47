"""Caches of Q8_0: what models say is what an evaluation says whose caches of F32 hold keys and values that gguf's own
code quantised, and nearly what they say with caches that hold all."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import vkrun
from gguf.quants import dequantize, quantize
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.errors import SessionError, UsageError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.ops import OPS
from vkrun.runtime.model import Model
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tools.presets import PRESETS
from vkrun.tools.synthesize import write

N_CTX, N_TOKENS, N_VOCAB = 128, 40, 300
HEADS = {
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 32,
    "attention.value_length": 32,
    "rope.dimension_count": 32,
    "embedding_length": 64,
    "feed_forward_length": 96,
}
EXPERTS = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}
LATENT = {
    "attention.kv_lora_rank": 64,
    "attention.key_length": 96,
    "attention.value_length": 64,
    "attention.key_length_mla": 64,
    "attention.value_length_mla": 32,
}
WINDOWS = {
    "attention.sliding_window": 8,
    "attention.sliding_window_pattern": 3,
    "attention.key_length_swa": 64,
    "attention.value_length_swa": 64,
    "rope.dimension_count_swa": 64,
}
SMALL: dict[str, dict[str, Any]] = {
    "llama-8b": HEADS | {"block_count": 2},
    "gpt-oss-20b": HEADS | EXPERTS | {"block_count": 4, "attention.sliding_window": 8},
    "gemma4-12b": HEADS | WINDOWS | {"block_count": 6, "attention.shared_kv_layers": 2},
    "deepseek2-lite-16b": HEADS | EXPERTS | LATENT | {"block_count": 2, "attention.head_count_kv": 1},
    "kimi-linear-48b-a3b": HEADS
    | EXPERTS
    | LATENT
    | {"block_count": 4, "attention.head_count_kv": [0, 0, 0, 1], "kda.head_dim": 32},
}
IDS = [(7 * i * i + 13 * i + 5) % 100 for i in range(N_TOKENS)]
GOLDEN = "k_quants"  # of qwen3next
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def path_of(tmp_path_factory: pytest.TempPathFactory):
    """Models of random weights by the preset's name."""
    made: dict[str, Path] = {GOLDEN: HERE / "golden" / f"{GOLDEN}.gguf"}

    def path(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("q8") / f"{name}.gguf"
            preset = PRESETS[name]
            write(made[name], replace(preset, n_vocab=N_VOCAB, keys={**preset.keys, **SMALL[name]}), "F16")
        return made[name]

    return path


def kept(path: Path, k: str = "q8_0", v: str = "q8_0", backend: str = "cpu", **more: Any) -> Model:
    return vkrun.load(path, backend, n_ctx=N_CTX, cache_type_k=k, cache_type_v=v, **more)


@pytest.fixture
def as_gguf_rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rows written to caches of F32 come as gguf's code quantises them."""
    op = OPS["set_rows"]

    def compute(dst, ids, src):
        is_cache = isinstance(dst, np.ndarray) and len(dst) % N_CTX == 0
        kind = gguf.GGMLQuantizationType.Q8_0
        return op.compute(dst, ids, dequantize(quantize(np.float32(src), kind), kind) if is_cache else src)

    monkeypatch.setitem(OPS, "set_rows", replace(op, compute=compute))
    yield


def rounded_logits(path: Path) -> np.ndarray:
    with vkrun.load(path, "cpu", n_ctx=N_CTX, cache_type_k="f32", cache_type_v="f32", swa_full=True) as model:
        return model.logits(IDS)


@pytest.mark.parametrize("name", [GOLDEN, *SMALL])
def test_logits_are_those_of_keys_and_values_that_gguf_quantised(name: str, path_of, as_gguf_rounds) -> None:
    wanted = rounded_logits(path_of(name))
    with kept(path_of(name)) as model:
        assert {s.dtype for s in model.engine.model.caches} == {DType.Q8_0}
        assert nmse(model.logits(IDS), wanted) <= 1e-12
    with kept(path_of(name), opt=0) as model:  # sums in another order: what lies between two codes becomes the other
        assert nmse(model.logits(IDS), wanted) <= 1e-5


@pytest.mark.parametrize("name", [GOLDEN, *SMALL])
def test_logits_are_nearly_those_of_whole_caches(name: str, path_of) -> None:
    """Halves are off by 2^-12 of a number, codes by 1/254 of a block's largest: some thousand times that, squared."""
    with load_exact(path_of(name), "cpu", n_ctx=N_CTX) as model:
        wanted = model.logits(IDS)
    with kept(path_of(name), "f16", "f16") as model:
        of_halves = nmse(model.logits(IDS), wanted)
    for way in ("q8_0", "q8_0"), ("q8_0", "f16"), ("f32", "q8_0"):
        with kept(path_of(name), *way) as model:
            off = nmse(model.logits(IDS), wanted)
            assert off <= 2500 * of_halves
            assert (off > 0) == any(s.dtype is DType.Q8_0 for s in model.engine.model.caches)  # latents are keys


@pytest.mark.parametrize("name", ["gemma4-12b", "deepseek2-lite-16b", GOLDEN])
def test_token_by_token_is_one_shot(name: str, path_of) -> None:
    with kept(path_of(name)) as model:
        wanted, engine = model.logits(IDS), model.engine
        engine.reset(0)
        chunks = [engine.prompt(0, at, IDS[at : at + 1], every=True) for at in range(N_TOKENS)]
        assert nmse(np.concatenate(chunks), wanted) <= 1e-6


@pytest.mark.full("llama-8b", "gpt-oss-20b", "kimi-linear-48b-a3b")  # gemma's have windows, deepseek's are latent
@pytest.mark.parametrize("name", [*SMALL])
def test_kernels_say_what_numpy_says(name: str, path_of) -> None:
    with kept(path_of(name)) as model:
        wanted = model.logits(IDS)
    for level, most in (0, 1e-5), (3, 1e-4):  # products of halves make a code in some hundreds another one
        with kept(path_of(name), backend="host", opt=level) as model:
            assert nmse(model.logits(IDS), wanted) <= most


@pytest.mark.parametrize("way, option", [(("q8_0", "f16"), "-ctk"), (("f16", "q8_0"), "-ctv")])
def test_heads_that_are_no_whole_blocks_are_refused_in_a_line(way: tuple[str, str], option: str) -> None:
    why = rf"_cache: heads of 20 numbers, which q8_0 \({option}\) keeps in blocks of 32; take f16$"
    with pytest.raises(UsageError, match=why):
        kept(HERE / "golden" / "f32.gguf", *way)


TURNS = [("cpu", "kimi-linear-48b-a3b"), ("cpu", "gemma4-12b"), ("cpu", "deepseek2-lite-16b"), ("host", "gemma4-12b")]


def answered(model: Model, prompt: list[int], n: int = 4) -> tuple[list[int], int]:
    """Tokens, and how many of the prompt needed no work."""
    answer = model.generate(prompt, max_tokens=n, temperature=0, ignore_eos=True)
    list(answer)
    return answer.ids, answer.timings.n_cached


@pytest.mark.full("host")
@pytest.mark.parametrize("backend, name", TURNS)
def test_what_was_parked_or_saved_is_gone_on_from(backend: str, name: str, path_of, tmp_path: Path) -> None:
    chats = [[(i * i + 3 * i + seed) % 100 for i in range(70)] for seed in (1, 2)]
    with kept(path_of(name), backend=backend, n_seqs=1, cache_ram=64, n_ubatch=32) as model:
        rings = model.engine.model.n_window_rows
        assert (rings > 0) == (name == "gemma4-12b")
        made = [answered(model, chat)[0] for chat in chats]
        for chat, ids in zip(chats, made, strict=True):
            again, n_cached = answered(model, [*chat, *ids[:3]], 1)
            assert again == ids[3:] and n_cached >= 64
        n = model.save_session(tmp_path / "s")
    with kept(path_of(name), backend=backend, n_seqs=1, cache_ram=0, n_ubatch=32) as model:
        assert model.load_session(tmp_path / "s") == n >= 72
        again, n_cached = answered(model, [*chats[1], *made[1][:3]], 1)
        assert again == made[1][3:] and n_cached >= 64
    why = "caches of q8_0, expected f16 as this model was loaded"
    with kept(path_of(name), "f16", "f16", backend, n_ubatch=32) as model, pytest.raises(SessionError, match=why):
        model.load_session(tmp_path / "s")


@pytest.mark.full("host")
@pytest.mark.parametrize("backend, name", TURNS)
def test_a_cache_is_copied_as_it_is(backend: str, name: str, path_of) -> None:
    """By way of floats, which quantise to the codes and scales that they came of."""
    with kept(path_of(name), backend=backend, n_seqs=2, n_ubatch=32) as model:
        model.logits(IDS)
        engine, caches = model.engine, model.engine.model.caches
        before = [engine.device.read(s) for s in caches]
        Runner(engine).copy(caches=(0, 1), n=N_TOKENS)
        for s, old in zip(caches, before, strict=True):
            new, n = engine.device.read(s), min(N_TOKENS, s.shape[1])
            assert old[0].any() and np.array_equal(new[1, :n], old[0, :n]) and np.array_equal(new[0], old[0])
