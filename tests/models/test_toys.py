"""Families that only the tests know run through the engine by the protocol alone."""

import numpy as np
import pytest
from vkrun.runtime.counts import counts
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.service import Service
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.models import ARCHITECTURES
from vkrun.runtime.models.step import Chunk, StepShape
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.models.toy_forward import FORWARD
from vkrun.tests.models.toys import TOYS, VOCAB, write_toy

N_LAYERS, N_CTX = 4, 64
LIMIT, LIMIT_CUTS = 1e-10, 1e-9
IDS = np.random.default_rng(1).integers(0, VOCAB, 24).tolist()


@pytest.fixture(params=TOYS)
def toy(request, monkeypatch, tmp_path):
    """A file of a toy family, and the logits of IDS."""
    name = request.param
    monkeypatch.setitem(ARCHITECTURES, name, TOYS[name])
    path = tmp_path / f"{name}.gguf"
    return path, FORWARD[name](write_toy(path, name, N_LAYERS), IDS, N_LAYERS)


@pytest.mark.parametrize("level", [0, 3])
def test_logits_are_those_of_numpy(toy, level, backend):
    path, wanted = toy
    n = len(IDS) if backend == "cpu" else 9
    with load_exact(path, backend=backend, n_ctx=N_CTX, opt=level) as model:
        assert nmse(model.logits(IDS[:n]), wanted[:n]) <= LIMIT


def test_chunks_and_single_tokens_give_the_same(toy):
    path, wanted = toy
    with load_exact(path, backend="cpu", n_ctx=N_CTX, n_seqs=2) as model:
        for slot, n in ((0, 7), (1, 1)):
            model.engine.reset(slot)
            made = [model.engine.prompt(slot, at, IDS[at : at + n], every=True) for at in range(0, len(IDS), n)]
            assert nmse(np.concatenate(made), wanted) <= LIMIT_CUTS


def test_a_chunk_beside_a_decoding_sequence(toy):
    path, wanted = toy
    with load_exact(path, backend="cpu", n_ctx=N_CTX, n_seqs=2) as model:
        engine = model.engine
        for slot in (0, 1):
            engine.reset(slot)
        engine.prompt(1, 0, IDS[:-1])
        ready = engine.ready(StepShape(((1, 8), (1, 1)), N_CTX, 2))
        groups = [[Chunk(0, 0, IDS[:6])], [Chunk(1, len(IDS) - 1, IDS[-1:])]]
        engine.device.write(ready.inputs.storage, ready.inputs.fill(groups, N_CTX, [5, 8]))
        ready.program.run()
        assert nmse(ready.program.read(ready.output), wanted[[5, -1]]) <= LIMIT_CUTS


def test_generation_draws_the_likeliest_token(toy):
    path, wanted = toy
    with load_exact(path, backend="cpu", n_ctx=N_CTX) as model:
        assert model.logits(IDS)[-1].argmax() == wanted[-1].argmax()
        kept = model.engine.model
        assert bool(kept.caches) == (kept.name == "toydense") and bool(kept.states) == (kept.name == "toyconv")


def test_sequences_share_steps_and_go_on_from_what_earlier_ones_left(toy):
    path, _ = toy
    with load_exact(path, backend="cpu", n_ctx=256, n_seqs=2) as model:
        slots = Slots.of(model.engine.model)
        service = Service(Scheduler(Runner(model.engine), slots), path.stem)

        def made(*prompts: list[int]) -> list[list[int | None]]:
            asked = [Sequence(prompt, SamplerSettings(temp=0), 5) for prompt in prompts]
            for s in asked:
                service.join(s)
            found = [[service.next(s) for _ in range(5)] for s in asked]
            cached.append([s.timings.n_cached for s in asked])
            return found

        cached: list[list[int]] = []
        whole = [t % VOCAB for t in range(150)]
        other, edited = whole[::-1], [*whole[:140], 3, 3, 3]
        wanted = [each[0] for each in (made(p) for p in (other, whole, other, edited))]
        assert made(whole, other) == [wanted[1], wanted[0]]
        assert made(edited)[0] == wanted[3]
        starts = [0]  # of a prompt's steps, near whose end states are kept
        while (size := model.engine.sizes.next(150 - starts[-1])) < 150 - starts[-1]:
            starts.append(starts[-1] + size)
        assert cached[0] == cached[1] == [0] and cached[2] == ([starts[-1]] if slots.has_states else [149])
        assert cached[3] == ([max(s for s in starts if s <= 140)] if slots.has_states else [140])
        assert min(starts[-1], *cached[3], *cached[4]) >= 128


def test_a_step_is_counted_like_any_other(toy):
    path, _ = toy
    made = [counts(path, opt) for opt in (0, 3)]
    n_writes = {"toydense.gguf": 2 * 2}  # into the caches of the layers that turn nothing
    assert made[0]["dispatches"] > made[1]["dispatches"] and made[1]["copies"] == n_writes.get(path.name, 0)
