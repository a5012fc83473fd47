"""Steps of groups of sequences: a chunk of a prompt beside decoding sequences, slots of caches apart from states."""

import numpy as np
import pytest
import vkrun
from vkrun.runtime.counts import USUAL_GPU
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.ir.composites.slots import SPAN
from vkrun.runtime.ir.counts import counts_of
from vkrun.runtime.ir.ops.sampling import settings_row
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.models.step import Chunk, StepShape
from vkrun.shaders.catalogue import refusal
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import write_model

N_CTX = 128
LIMIT = 1e-8


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("groups") / "a.gguf")


def ids(n: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 64, n).tolist()


def load(path, backend: str = "cpu", opt: int = 3) -> vkrun.Model:
    return load_exact(path, backend=backend, n_ctx=N_CTX, n_seqs=5, opt=opt)


def run(engine: Engine, shape: StepShape, groups: list[list[Chunk]], *args, **kwargs) -> np.ndarray:
    ready = engine.ready(shape)
    engine.device.write(ready.inputs.storage, ready.inputs.fill(groups, N_CTX, *args, **kwargs))
    ready.program.run()
    return ready.program.read(ready.output)


def wanted(path, texts: list[list[int]]) -> np.ndarray:
    with load(path) as model:
        return np.stack([model.logits(text)[-1] for text in texts])


@pytest.mark.full("vulkan")
@pytest.mark.parametrize("opt", [0, 3])
def test_a_chunk_beside_decoding_sequences_gives_what_each_gives_alone(path, backend, opt):
    texts = [ids(3, 1), ids(9, 2), ids(6, 3)]
    with load(path, backend, opt) as model:
        for i, text in enumerate(texts[:2]):
            model.engine.reset(i + 2)
            model.engine.prompt(i + 2, 0, text[:-1])
        decode = [Chunk(i + 2, len(t) - 1, t[-1:]) for i, t in enumerate(texts[:2])]
        shape = StepShape(((1, 8), (3, 1)), N_CTX, 4)  # a row of padding in each group
        got = run(model.engine, shape, [[Chunk(1, 0, texts[2])], decode], [5, 8, 9])
    assert nmse(got[[1, 2, 0]], wanted(path, texts)) <= LIMIT


def test_slots_of_states_are_not_those_of_caches(path, backend):
    texts = [ids(7, 4), ids(4, 5)]
    with load(path, backend) as model:
        for s in model.engine.model.states:
            model.engine.device.write(s, np.zeros(s.n_elements, np.float32))
        for n in (0, 1):  # all but the last token, then the last
            chunks = [
                Chunk(i, n * (len(t) - 1), t[-1:] if n else t[:-1], state_slot=4 - 2 * i) for i, t in enumerate(texts)
            ]
            shape = StepShape(((2, 1 if n else 8),), N_CTX, 2)
            got = run(model.engine, shape, [chunks], [0, 1] if n else [])
    assert nmse(got, wanted(path, texts)) <= LIMIT


def test_a_snapshot_is_the_state_at_the_end_of_a_span(path):
    text = ids(SPAN + 10, 6)
    with load(path) as model:
        model.engine.reset(0)
        chunk = Chunk(0, 0, text, snapshots=(3, 4))
        run(model.engine, StepShape(((1, 2 * SPAN),), N_CTX, 1, snapshots=True), [[chunk]], [len(text) - 1])
        last = model.engine.step([Chunk(0, len(text), [9], state_slot=4)])
        again = model.engine.prompt(0, SPAN, text[SPAN:])  # from the state of the end
        assert nmse(again, wanted(path, [text])) > 1e-3
        got = run(model.engine, StepShape(((1, 16),), N_CTX, 1), [[Chunk(0, SPAN, text[SPAN:], None, 3)]], [9])
    assert nmse(last, wanted(path, [[*text, 9]])) <= LIMIT
    assert nmse(got, wanted(path, [text])) <= LIMIT


def test_every_row_is_drawn_by_its_own_settings(path):
    texts = [ids(5, 7), ids(3, 8)]
    likeliest = wanted(path, texts).argmax(-1)
    with load(path) as model:
        model.engine.reset(1)
        model.engine.prompt(1, 0, texts[1][:-1])
        shape = StepShape(((1, 8), (1, 1)), N_CTX, 2, n_drawn=32)
        groups = [[Chunk(0, 0, texts[0])], [Chunk(1, 2, texts[1][-1:])]]
        hot, cold = settings_row(50.0, 1.0, 0.0, 0, 3), settings_row(0.0, 1.0, 0.0, 0, 3)
        drawn = []
        for rows in ((cold, cold), (hot, cold), (cold, hot)):
            model.engine.reset(0)
            model.engine.reset(1)
            model.engine.prompt(1, 0, texts[1][:-1])
            drawn.append(run(model.engine, shape, groups, [4, 8], np.stack(rows))[[0, 1], [4, 2]])
    assert np.array_equal(drawn[0], likeliest)
    assert drawn[1][0] != likeliest[0] and drawn[1][1] == likeliest[1]
    assert drawn[2][0] == likeliest[0] and drawn[2][1] != likeliest[1]


def test_unwanted_logits_are_not_computed(path, backend):
    text = ids(12, 9)
    with load(path, backend) as model:
        model.engine.reset(0)
        assert not run(model.engine, StepShape(((1, 8),), N_CTX, 1), [[Chunk(0, 0, text[:8])]], [7], wants=False).any()
        got = run(model.engine, StepShape(((1, 8),), N_CTX, 1), [[Chunk(0, 8, text[8:])]], [3])
    assert nmse(got, wanted(path, [text])) <= LIMIT


def test_groups_cost_no_copy(path):
    with load(path) as model:
        inputs = model.engine.model.inputs(StepShape(((1, 8), (3, 1)), N_CTX, 4))
        plan = lean_plan(model.engine.model.graph(inputs), 3, lambda node: refusal(node, USUAL_GPU))
    assert counts_of(plan)["copies"] == 1, [n.name for n in plan.nodes if n.is_copy]  # the rows whose logits are wanted
