"""Logits of random models against transformers' (tests/models/golden), on every backend."""

from pathlib import Path

import numpy as np
import pytest
import vkrun
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.gguf"))
LIMIT_F32, LIMIT_QUANTISED, LIMIT_CUTS = 1e-6, 1e-5, 1e-8


def golden(name: str) -> tuple[list[int], np.ndarray]:
    stored = np.load(GOLDEN / f"{name}.npz")
    return stored["ids"].tolist(), stored["logits"]


def in_chunks(model: vkrun.Model, ids: list[int], n: int) -> np.ndarray:
    """Logits of every id, the ids given n at a time."""
    model.engine.reset(0)
    return np.concatenate([model.engine.prompt(0, at, ids[at : at + n], every=True) for at in range(0, len(ids), n)])


def test_there_are_at_least_six_models():
    assert len(NAMES) >= 6


# whose kernels are Vulkan's, the next test has it plainly; and files of other types
@pytest.mark.full("kompute", "f16_bf16_gate_up", "k_quants", "mxfp4", "q4_0_ssm_in", "q5_1")
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers(name, backend):
    ids, wanted = golden(name)
    with load_exact(GOLDEN / f"{name}.gguf", backend=backend, n_ctx=256) as model:
        got = model.logits(ids)
        assert got.dtype == np.float32 and got.shape == wanted.shape
        assert nmse(got, wanted) <= (LIMIT_F32 if name == "f32" else LIMIT_QUANTISED)
        for n in (7, 1):
            assert nmse(in_chunks(model, ids, n), got) <= LIMIT_CUTS


@pytest.mark.full(1, 2, "f16_bf16_gate_up", "kompute")
@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("name", NAMES[:2])
def test_every_level_gives_the_same_logits(name, level, backend):
    ids, wanted = golden(name)
    with load_exact(GOLDEN / f"{name}.gguf", backend=backend, n_ctx=256, opt=level) as model:
        got = model.logits(ids)
        assert nmse(got, wanted) <= LIMIT_QUANTISED
        assert nmse(in_chunks(model, ids, 1), got) <= LIMIT_CUTS


@pytest.mark.full("kompute")
def test_sequences_in_slots_do_not_disturb_each_other(backend):
    ids, _ = golden("q8_0")
    parts = {slot: ids[slot * 5 : slot * 5 + 20 + slot] for slot in (2, 0, 1)}
    with load_exact(GOLDEN / "q8_0.gguf", backend=backend, n_ctx=256, n_seqs=3) as model:
        from vkrun.runtime.models.step import Chunk

        model.engine.step([Chunk(slot, 0, part[:18]) for slot, part in parts.items()], 64)
        for t in range(18, 20):
            got = model.engine.step([Chunk(slot, t, part[t : t + 1]) for slot, part in parts.items()])
        for row, part in zip(got, parts.values(), strict=True):
            assert nmse(row, model.logits(part[:20])[-1]) <= LIMIT_CUTS
            model.engine.reset(0)
