"""How lean a token is of families at the shapes of models that people run, planned from headers without weights."""

from collections import Counter
from pathlib import Path

import pytest
from vkrun.runtime.counts import plan_step
from vkrun.runtime.ir.counts import counts_of, is_copy
from vkrun.runtime.ir.plan import Plan
from vkrun.tools.presets import PRESETS
from vkrun.tools.synthesize import write

N_LAYERS = 8  # of all kinds: with values of more bits and without, with a window and without
MOST = {"llama-8b": 7, "qwen2-7b": 7, "gemma3-12b": 9, "qwen3.5-35b-a3b": 10, "qwen3-30b-a3b": 9, "mixtral-8x7b": 9}


def per_layer(plan: Plan) -> Counter[str]:
    return Counter(n.name.split(".")[1] for n in plan.nodes if n.name.startswith("blk."))


@pytest.mark.full(256)
@pytest.mark.parametrize("n_kv", [256, 4096])
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K_M"])
@pytest.mark.parametrize("name", MOST)
def test_dispatches_of_a_layer(name: str, kind: str, n_kv: int, tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", PRESETS[name], kind, N_LAYERS, header_only=True)
    plan = plan_step(tmp_path / "a.gguf", n_kv=n_kv)
    found = per_layer(plan)
    assert len(found) == N_LAYERS and max(found.values()) <= MOST[name], found
    assert [n.name for n in plan.nodes if is_copy(n)] == [] and counts_of(plan)["copies"] == 0


def test_values_of_more_bits_are_made_beside_queries_and_keys(tmp_path: Path) -> None:
    """In files of Q4_K_M: one product of weights of two types."""
    write(tmp_path / "a.gguf", PRESETS["llama-8b"], "Q4_K_M", N_LAYERS, header_only=True)
    nodes = plan_step(tmp_path / "a.gguf").nodes
    made = {tuple(t.dtype.name for t in n.inputs[2:]) for n in nodes if n.op == "norm_mul_mats"}
    assert {types for types in made if len(types) == 3} == {("Q4_K", "Q4_K", "Q4_K"), ("Q4_K", "Q4_K", "Q6_K")}
