"""The validation layer with synchronisation validation is silent while a model generates, and hears a missing barrier.

The layer is chosen when the process makes its Vulkan instance, so each test runs a process of its own. There each
tensor has a buffer of its own: the layer sees accesses to buffers, not to bytes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import vkrun

GOLDEN = Path(__file__).parent / "golden" / "q8_0.gguf"

GENERATE = """
import sys
from dataclasses import replace
import vkrun
from vkrun.runtime.errors import BackendError
def generate(model):
    for temperature in (0, 1):
        for _ in model.generate("def f(x):", max_tokens=20, temperature=temperature, seed=1, ignore_eos=True):
            pass
        assert model.timings.n_generated == 20
"""

SILENT = """
for level in range(4):
    with vkrun.load(sys.argv[1], backend="vulkan", n_ctx=256, opt=level) as model:
        generate(model)
        print(level, model.engine.device.validation_messages())
"""

# a chunk beside a sequence that decodes, snapshots, a state and keys that are copied
BATCHES = """
with vkrun.load(sys.argv[1], backend="vulkan", n_ctx=256, n_seqs=2) as model:
    long = list(range(5, 95)) + [min(model.tokenizer.eos_ids)]
    how = dict(max_tokens=3, temperature=0, ignore_eos=True)
    going = model.generate([9], max_tokens=9, temperature=0, ignore_eos=True)
    next(going)
    list(model.generate([*long, *range(20, 130)], **how))
    list(going)
    list(model.generate([*long, 7, 7], **how))
    print(model.timings.n_cached, model.engine.device.validation_messages())
"""

ONE_BARRIER_LESS = """
with vkrun.load(sys.argv[1], backend="vulkan", n_ctx=256) as model:
    generate(model)
    plans = [ready.plan for ready in model.engine._ready.values()]
    for plan in plans:
        dispatched = [node.branch is None or node.branch.side == 1 for node in plan.nodes]  # logits are wanted here
        for i in (i for i, needed in enumerate(plan.barriers) if needed and dispatched[i]):
            fewer = replace(plan, barriers=(*plan.barriers[:i], False, *plan.barriers[i + 1 :]))
            try:
                model.engine.device.compile(fewer).close()
            except BackendError as error:
                assert "SYNC-HAZARD" in str(error), error
            else:
                print("not heard:", plan.nodes[i])
    print(len(plans) > 1, sum(plan.n_barriers for plan in plans) > 50)
"""

# one process for all: the layer is loaded once. Of each family one shot, chunks of 7 and single tokens
FAMILIES = """
from pathlib import Path
from vkrun.tests.models.drawn import Golden
for stored in sorted(Path(sys.argv[1]).glob("*.npz")):
    golden = Golden.load(stored)
    path = golden.write(Path(sys.argv[2]) / "a.gguf")
    for level in (0, 3):
        with vkrun.load(path, backend="vulkan", n_ctx=64, opt=level) as model:
            model.logits(golden.ids)
            if model.engine.model.causal:
                model.engine.reset(0)
                for at, n in ((0, 7), (7, 1), (8, 1), (9, 7)):
                    model.engine.prompt(0, at, golden.ids[at : at + n], every=True)
            if heard := model.engine.device.validation_messages():
                print(stored.stem, level, heard)
print("heard")
"""


def run(code: str, *arguments: Path) -> str:
    env = {**os.environ, "VKRUN_VALIDATE": "1"}
    command = [sys.executable, "-c", GENERATE + code, *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full(vkrun.BUNDLED)
@pytest.mark.parametrize("model", [GOLDEN, vkrun.BUNDLED], ids=["golden", "bundled"])
def test_the_layer_is_silent_on_generated_tokens_at_every_level(model: Path) -> None:
    assert run(SILENT, model) == "".join(f"{level} []\n" for level in range(4))


@pytest.mark.full
def test_the_layer_is_silent_on_a_model_of_each_family(tmp_path: Path) -> None:
    assert run(FAMILIES, GOLDEN.parents[1] / "families", tmp_path) == "heard\n"


def test_the_layer_is_silent_on_sequences_that_share_steps_and_beginnings() -> None:
    assert run(BATCHES, GOLDEN) == "64 []\n"


def test_each_barrier_of_a_plan_is_missed_when_it_is_not_there() -> None:
    assert run(ONE_BARRIER_LESS, GOLDEN) == "True True\n"
