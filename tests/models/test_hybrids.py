"""Recurrent states of families: sequences share steps and go on from checkpoints, with the tokens they have alone."""

from pathlib import Path

import pytest
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.service import Service
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.exact import load_exact
from vkrun.tests.models.drawn import Golden

FOLDER = Path(__file__).parent / "families"
NAMES = ("qwen35", "lfm2", "granite-hybrid", "falcon-h1", "nemotron-h-moe", "kimi-linear")
N_MADE = 6


@pytest.mark.parametrize("name", NAMES)
def test_sequences_share_steps_and_go_on_from_checkpoints(name, tmp_path):
    golden = Golden.load(FOLDER / f"{name}.npz")
    path, n_vocab = golden.write(tmp_path / "a.gguf"), golden.shapes["token_embd.weight"][0]
    with load_exact(path, backend="cpu", n_ctx=256, n_seqs=3) as model:
        service = Service(Scheduler(Runner(model.engine), Slots.of(model.engine.model)), name)

        def made(*prompts: list[int]) -> list[list[int | None]]:
            asked = [Sequence(prompt, SamplerSettings(temp=0), N_MADE) for prompt in prompts]
            for s in asked:
                service.join(s)
            found = [[service.next(s) for _ in range(N_MADE)] for s in asked]
            cached[:] = [s.timings.n_cached for s in asked]
            return found

        def alone(prompt: list[int]) -> list[int]:
            ids = list(prompt)
            for _ in range(N_MADE):
                ids.append(int(model.logits(ids)[-1].argmax()))
            return ids[len(prompt) :]

        cached: list[int] = []
        whole = [t * 7 % n_vocab for t in range(150)]
        prompts = whole, whole[::-1], whole[20:50]
        wanted = [alone(p) for p in prompts]
        assert made(*prompts) == wanted and len(set(map(tuple, wanted))) > 1
        edited = [*whole[:140], 3, 3, 3]
        assert made(edited) == [alone(edited)] and cached[0] >= 64
