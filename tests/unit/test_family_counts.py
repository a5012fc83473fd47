"""How lean layers of the families are: a token's dispatches at level 3, without a copy."""

from collections import Counter
from pathlib import Path

import pytest
from vkrun.runtime.counts import plan_step
from vkrun.runtime.ir.counts import is_copy
from vkrun.tests.models.drawn import Golden

FOLDER = Path(__file__).parents[1] / "models/families"
MOST = {"qwen35": 8, "qwen35moe": 10, "lfm2": 8, "falcon-h1": 11, "nemotron-h": 8, "nomic-bert": 8}
MOST |= {"gpt-oss": 14, "granite": 6, "granite-hybrid-dense": 9}


@pytest.mark.parametrize("name", MOST)
def test_dispatches_of_a_layer(name: str, tmp_path: Path) -> None:
    nodes = plan_step(Golden.load(FOLDER / f"{name}.npz").write(tmp_path / "a.gguf"), 3, n_kv=64).nodes
    found = Counter(n.name.split(".")[1] for n in nodes if n.name.startswith("blk."))
    assert max(found.values()) <= MOST[name], found
    assert [n.name for n in nodes if is_copy(n)] == []
