"""The whole stack on a tiny model, in seconds: file, load, logits, plans, tokens, on numpy and on Vulkan."""

from pathlib import Path

import numpy as np
import vkrun
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.service import Service
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import Shape, write_model

IDS = [5, 11, 11, 60, 0, 7, 23, 42, 3, 9, 31]


def greedy(model: vkrun.Model, n: int) -> list[int]:
    ids = list(IDS)
    for _ in range(n):
        ids.append(int(model.logits(ids)[-1].argmax()))
    return ids[len(IDS) :]


def test_the_whole_stack(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    with GGUFFile.open(path) as f:
        assert {name: t.shape for name, t in f.tensors.items()} == Shape().tensors()
    with load_exact(path, backend="cpu", n_ctx=64, opt=0) as oracle:
        wanted, tokens = oracle.logits(IDS), greedy(oracle, 8)
    assert wanted.shape == (len(IDS), 64) and wanted.std() > 0.1
    for level in range(4):
        with load_exact(path, backend="vulkan", n_ctx=64, opt=level) as model:
            assert nmse(model.logits(IDS), wanted) < 1e-10
            assert greedy(model, 8) == tokens
            decoded = [model.engine.prompt(0, i, [t]) for i, t in enumerate(IDS)]
            assert nmse(np.concatenate(decoded), wanted) < 1e-10


def test_sequences_drawn_by_the_device_are_those_of_the_logits(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf", seed=1)
    with load_exact(path, backend="vulkan", n_ctx=64) as model:
        for ahead in (True, False):  # the device draws and runs a step ahead, or the host chooses
            sequence = Sequence(IDS, SamplerSettings(temp=0, repeat_last_n=0, repeat_penalty=1.0 if ahead else 2.0), 8)
            service = Service(Scheduler(Runner(model.engine), Slots(1, model.engine.model.capacity.n_states)), "tiny")
            service.join(sequence)
            assert [service.next(sequence) for _ in range(9)] == [*greedy(model, 8), None]


def test_counts_of_a_file(tmp_path: Path) -> None:
    full, lean = (vkrun.counts(write_model(tmp_path / "tiny.gguf"), opt=level) for level in (0, 3))
    assert 0 < lean["nodes"] < full["nodes"] and lean["copies"] < full["copies"]
