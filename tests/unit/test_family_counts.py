"""How lean layers of the families are: a token's dispatches at level 3, without a copy."""

from collections import Counter
from pathlib import Path

import pytest
from vkrun.runtime.counts import plan_step
from vkrun.runtime.ir.counts import is_copy
from vkrun.runtime.ir.graph import Node
from vkrun.tests.models.drawn import Golden

FOLDER = Path(__file__).parents[1] / "models/families"
MOST = {"qwen35": 8, "qwen35moe": 10, "lfm2": 8, "falcon-h1": 11, "nemotron-h": 8, "nomic-bert": 8}
MOST |= {"gpt-oss": 14, "granite": 6, "granite-hybrid-dense": 9}
MOST |= {"mistral3": 6}
LATENT = "deepseek2", "deepseek3", "kimi-linear"  # whose small experts run in parts, as real ones do not
N_PROMPT = 32


@pytest.mark.parametrize("name", MOST)
def test_dispatches_of_a_layer(name: str, tmp_path: Path) -> None:
    nodes = planned(name, tmp_path)
    found = Counter(n.name.split(".")[1] for n in nodes if n.name.startswith("blk."))
    assert max(found.values()) <= MOST[name], found


@pytest.mark.parametrize("n_tokens", [1, N_PROMPT])
@pytest.mark.parametrize("name", [*MOST, *LATENT])
def test_no_layer_copies(name: str, n_tokens: int, tmp_path: Path) -> None:
    assert [n.name for n in planned(name, tmp_path, n_tokens) if is_copy(n) and n.name.startswith("blk.")] == []


def planned(name: str, folder: Path, n_tokens: int = 1) -> tuple[Node, ...]:
    """A step's nodes at level 3."""
    return plan_step(Golden.load(FOLDER / f"{name}.npz").write(folder / "a.gguf"), 3, n_tokens, n_kv=64).nodes
