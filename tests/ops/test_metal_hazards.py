"""Barriers of models' plans on the metal backend: each that stands in an encoder is needed, and none is missing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import vkrun
from vkrun.backends.host import msl
from vkrun.backends.metal.program import MetalProgram
from vkrun.runtime.ir.plan import Plan, lean_plan
from vkrun.runtime.ir.tensor import Kind
from vkrun.runtime.models.step import Chunk, StepInputs, StepShape
from vkrun.tests.metal_stand_in.framework import StandIn as Mac
from vkrun.tests.metal_stand_in.hazards import Hazards
from vkrun.tests.model_files import write_model

pytestmark = pytest.mark.skipif(bool(msl.why_missing()), reason=msl.why_missing())


class Judged:
    """A small hybrid, and what the encoders of one of its steps recorded."""

    def __init__(self, mac: Mac, model: vkrun.Model, n_tokens: int) -> None:
        self._mac, self._model = mac, model
        engine = model.engine
        self._inputs = StepInputs(StepShape(((1, n_tokens),), 64, 1), engine.model.tail)
        self.plan = lean_plan(engine.model.graph(self._inputs), 3, engine.device.supports)
        engine.device.alloc(self.plan.storages(Kind.INPUT))
        self._chunk = Chunk(0, 0, tuple(range(1, n_tokens + 1)))

    def faults(self, plan: Plan) -> list[str]:
        engine, queue = self._model.engine, next(iter(self._mac.device.queues))
        program = engine.device.compile(plan)
        assert isinstance(program, MetalProgram)
        engine.device.write(self._inputs.storage, self._inputs.fill([[self._chunk]], 64, [0], wants=True))
        queue.ran.clear()
        self._mac.device.keeps = True
        program.run()
        self._mac.device.keeps = False
        found = Hazards(program, plan).faults(queue.ran)
        program.close()
        return found


@pytest.fixture
def model(mac: Mac, tmp_path: Path) -> Iterator[vkrun.Model]:
    with vkrun.load(write_model(tmp_path / "tiny.gguf"), backend="metal", n_ctx=64) as made:
        yield made


@pytest.mark.parametrize(("n_tokens", "replay"), [(1, "0"), (16, "0"), (1, "1")])
def test_every_barrier_of_a_step_is_needed_and_none_is_missing(
    mac: Mac, request, monkeypatch, n_tokens, replay
) -> None:
    monkeypatch.setenv("VKRUN_METAL_REPLAY", replay)
    model = request.getfixturevalue("model")
    judged = Judged(mac, model, n_tokens)
    assert judged.plan.n_barriers > 10 and judged.faults(judged.plan) == []


def test_a_barrier_that_is_left_out_is_found(mac: Mac, model: vkrun.Model) -> None:
    judged = Judged(mac, model, 1)
    barriers = judged.plan.barriers
    for i in [i for i, barrier in enumerate(barriers) if barrier][::5]:
        fewer = replace(judged.plan, barriers=(*barriers[:i], False, *barriers[i + 1 :]))
        assert any("no barrier before" in fault for fault in judged.faults(fewer))


def test_a_barrier_too_many_is_found(mac: Mac, model: vkrun.Model) -> None:
    judged = Judged(mac, model, 1)
    barriers = judged.plan.barriers
    for i in [i for i, barrier in enumerate(barriers) if i and not barrier][:3]:
        more = replace(judged.plan, barriers=(*barriers[:i], True, *barriers[i + 1 :]))
        assert any("needless barrier before" in fault for fault in judged.faults(more))
