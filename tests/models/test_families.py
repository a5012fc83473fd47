"""Every family against transformers: a small model of each, values drawn by name (tests/models/families)."""

from pathlib import Path

import numpy as np
import pytest
from vkrun.runtime.models import ARCHITECTURES
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.models.drawn import Golden

FOLDER = Path(__file__).parent / "families"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
LIMIT, LIMIT_CUTS, N_CTX = 1e-9, 1e-8, 64
ELSEWHERE = {"qwen3next"}  # tests/models/golden


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each family's file, and what is known of it."""
    folder, made = tmp_path_factory.mktemp("families"), {}

    def get(name: str) -> tuple[Path, Golden]:
        if name not in made:
            golden = Golden.load(FOLDER / f"{name}.npz")
            made[name] = golden.write(folder / f"{name}.gguf"), golden
        return made[name]

    return get


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers(name, level, written):
    path, golden = written(name)
    with load_exact(path, backend="cpu", n_ctx=N_CTX, opt=level) as model:
        got = model.logits(golden.ids)
        assert got.shape == golden.logits.shape and nmse(got, golden.logits) <= LIMIT
        for n in (7, 1) if level and model.engine.model.causal else ():
            model.engine.reset(0)
            cuts = [model.engine.prompt(0, at, golden.ids[at : at + n], every=True) for at in range(0, 24, n)]
            assert nmse(np.concatenate(cuts), got) <= LIMIT_CUTS


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_logits_on_devices(name, backend, written):
    path, golden = written(name)
    with load_exact(path, backend=backend, n_ctx=N_CTX) as model:
        assert nmse(model.logits(golden.ids), golden.logits) <= LIMIT


def test_there_is_a_model_of_each_family():
    found = {Golden.load(FOLDER / f"{name}.npz").architecture for name in NAMES}
    alike = {"qwen2vl": "qwen2", "qwen3vl": "qwen3", "qwen3vlmoe": "qwen3moe"}
    assert {alike.get(name, name) for name in ARCHITECTURES} - ELSEWHERE == found
