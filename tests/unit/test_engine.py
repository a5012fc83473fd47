"""Loading, planning and replaying on a device that computes nothing."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import get_ident
from time import sleep

import pytest
from vkrun.backends.cpu import CpuDevice
from vkrun.runtime.engine import engine as engine_room
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.engine.masks import MaskedDraws
from vkrun.runtime.errors import BackendError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.ops import OPS
from vkrun.runtime.ir.tensor import Kind
from vkrun.runtime.models import Capacity, open_model
from vkrun.runtime.models.step import Chunk, StepShape
from vkrun.tests.model_files import Shape, write_model
from vkrun.tests.null_backend import NullDevice

MADE_BY_FUSIONS = "expert_lists", "halves"
COMPOSITES = [*(name for name, op in OPS.items() if op.decompose is not None), *MADE_BY_FUSIONS]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[GGUFFile]:
    with GGUFFile.open(write_model(tmp_path / "a.gguf")) as f:
        yield f


def engine(f: GGUFFile, device: NullDevice, level: int = 3, n_slots: int = 2) -> Engine:
    return Engine(open_model(f, Capacity(1024, n_slots, n_slots)), device, level)


def test_every_weight_is_written_whole_and_every_state_has_memory(file: GGUFFile) -> None:
    device, done = NullDevice(), []
    made = Engine(open_model(file, Capacity(1024, 2, 2)), device, progress=lambda *told: done.append(told))
    weights = [s for s in device.written if s.kind in (Kind.WEIGHT, Kind.CONSTANT)]
    assert {s.name for s in weights} == {*Shape().tensors(), "rope", "zero"}
    assert all(device.written[s] == s.nbytes for s in weights)
    assert {s for s in device.written if s.kind is Kind.STATE} == {*made.model.caches, *made.model.states}
    assert done == sorted(done) and done[-1] == ("loading", *[made.model.weights.nbytes] * 2)


def test_threads_bring_weights_side_by_side_and_a_failure_ends_them_all(file: GGUFFile) -> None:
    class Full(NullDevice):
        def write(self, storage, data, row=0):
            threads.add(get_ident())
            sleep(0.005)
            if storage.name == "blk.0.attn_norm.weight":
                raise BackendError("the device is full")
            super().write(storage, data, row)

    threads, device = set(), Full()
    with pytest.raises(BackendError, match=r"^the device is full$"):
        engine(file, device)
    weights = [n > 0 for s, n in device.written.items() if s.kind is Kind.WEIGHT]
    assert sum(weights) < len(weights) // 2 and (len(threads) > 1 or os.cpu_count() == 1)


def test_compiling_is_told_of_from_its_begin_to_its_end(file: GGUFFile) -> None:
    class Slow(NullDevice):
        def compile(self, plan):
            assert self.on_compile and told[-1] == ("compiling", 0, 0)
            self.on_compile(3, 7)
            return super().compile(plan)

    told = []
    made = Engine(open_model(file, Capacity(64)), Slow(), progress=lambda *what: told.append(what))
    for _ in range(2):
        told.clear()
        made.step([Chunk(0, 0, [1])])
        assert told in ([("compiling", 0, 0), ("compiling", 3, 7), ("compiling", 0, 0), ("compiling", 1, 1)], [])
    assert not told  # replayed


def test_a_device_that_compiles_nothing_tells_of_nothing_compiled(file: GGUFFile) -> None:
    class Plain(NullDevice):
        compiles = False

    told = []
    Engine(open_model(file, Capacity(64)), Plain(), progress=lambda *what: told.append(what)).step([Chunk(0, 0, [1])])
    assert "compiling" not in {what for what, *_ in told} and not CpuDevice.compiles


def drawing(n: int, rests: bool = False) -> StepShape:
    return StepShape(((n, 1),), 256, n, 1, rests=rests)


def test_sizes_that_were_not_asked_for_for_longest_go(file: GGUFFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_room, "MOST_READY", 3)
    device = NullDevice()
    made = engine(file, device)
    before = dict(device.written)
    for n in (1, 2, 3, 1, 4, 5):
        made.ready(drawing(n))
    assert list(made.planned()) == [drawing(n) for n in (1, 4, 5)] and made.last is made.ready(drawing(5))
    assert [p.is_closed for p in device.programs] == [False, True, True, False, False]
    assert len(device.written) == len(before) + 3  # a step buffer each
    made.ready(drawing(2))
    assert len(device.programs) == 6 and list(made.planned()) == [drawing(n) for n in (4, 5, 2)]


def test_with_a_size_its_draws_go(file: GGUFFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_room, "MOST_READY", 2)
    device = NullDevice()
    made = engine(file, device)
    draws = MaskedDraws(made)
    found = [draws.of(made.ready(drawing(n, rests=True))) for n in (1, 2, 3)]
    assert [p.is_closed for p in device.programs if any(p is d.program for d in found)] == [True, False, False]
    assert found[0].mask not in device.written and found[2].mask in device.written
    assert draws.of(made.ready(drawing(3, rests=True))) is found[2]


def test_a_step_size_is_compiled_once_and_replayed(file: GGUFFile) -> None:
    device = NullDevice()
    made = engine(file, device)
    before = dict(device.written)
    for pos in range(5):
        assert made.step([Chunk(0, pos, [1])]).shape == (1, 64)
    (program,) = device.programs
    assert program.n_runs == 5
    (step,) = [s for s, n in device.written.items() if n != before.get(s, 0)]
    assert step.kind is Kind.INPUT and device.written[step] == 5 * step.nbytes


def test_a_prompt_runs_in_planned_sizes(file: GGUFFile) -> None:
    device = NullDevice()
    made = engine(file, device)
    assert made.prompt(0, 0, [1] * 700, every=True).shape == (700, 64)
    assert len(device.programs) < 6 and sum(p.n_runs for p in device.programs) < 12
    made.close()
    assert all(p.is_closed for p in device.programs)
    assert not any(s.kind is Kind.INPUT for s in device.written)


@pytest.mark.parametrize("missing", [(), COMPOSITES], ids=["every kernel", "primitives alone"])
def test_each_level_is_leaner(file: GGUFFile, missing: list[str]) -> None:
    plans = []
    for level in range(4):
        device = NullDevice(missing)
        engine(file, device, level).step([Chunk(0, 0, [1])])
        plans.append(device.programs[0].plan)
    sizes = [len(p.nodes) for p in plans]
    assert sizes[0] > sizes[1] >= sizes[2] >= sizes[3]
    assert all(p.n_barriers == len(p.nodes) - 1 for p in plans[:3])
    assert plans[3].n_barriers <= plans[2].n_barriers - bool(missing)
    assert (sizes[2] < sizes[1] / 2) == (not missing)
    assert not {n.op for n in plans[3].nodes} & set(missing)


def test_several_sequences_in_one_step(file: GGUFFile) -> None:
    device = NullDevice()
    got = engine(file, device).step([Chunk(1, 4, [1, 2]), Chunk(0, 0, [3, 4, 5])], 8, every=True)
    assert got.shape == (5, 64) and device.programs[0].n_runs == 1
