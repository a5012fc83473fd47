"""Sizes of steps that are planned beside those that run."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, get_ident

import pytest
from vkrun.backends.base import DeviceInfo
from vkrun.backends.together import Once
from vkrun.runtime.engine import ahead as ahead_room
from vkrun.runtime.engine.ahead import Ahead
from vkrun.runtime.engine.at_hand import BEFORE_A_PLAN, AtHand
from vkrun.runtime.engine.choice import TokenChoice
from vkrun.runtime.engine.decode import few_sizes
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.engine.likely import MOST, foresee, likely
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.sizes import GPU
from vkrun.runtime.errors import BackendError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.plan import Plan
from vkrun.runtime.models import Capacity, open_model
from vkrun.runtime.models.step import Chunk, StepShape
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.model_files import write_model
from vkrun.tests.null_backend import NullDevice

SECONDS = 30.0  # more than any of this takes


@dataclass(eq=False)
class Slow(NullDevice):
    """Makes kernels when it is let go; fails for steps that draw so many rows. Notes which threads do what."""

    go: Event = field(default_factory=Event)
    compiles_beside: bool = False
    begun: Event = field(default_factory=Event)
    bad: int = -1
    made_by: list[int] = field(default_factory=list)
    compiled_by: list[int] = field(default_factory=list)

    def make_kernels(self, plan: Plan) -> None:
        self.begun.set()
        assert self.go.wait(SECONDS)
        self.made_by.append(get_ident())
        if plan.graph.outputs["ring"].shape[0] == self.bad:
            raise BackendError("no kernel")

    def compile(self, plan: Plan):
        self.compiled_by.append(get_ident())
        return super().compile(plan)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with GGUFFile.open(write_model(tmp_path / "a.gguf")) as f:
        yield Engine(
            open_model(f, Capacity(1024, 4, 5)), Slow(info=DeviceInfo("null", 0, "nothing", kind="virtual gpu"))
        )


def slow(engine: Engine) -> Slow:
    assert isinstance(engine.device, Slow)
    return engine.device


def of(n: int, n_kv: int = 256) -> StepShape:
    return StepShape(((n, 1),), n_kv, n, 1)


def foreseeing(engine: Engine, likely: Sequence[StepShape] = (), later: Sequence[StepShape] = ()) -> Ahead:
    engine.foresight = ahead = Ahead(engine, likely, later)
    return ahead


def counted(engine: Engine) -> Counter[StepShape]:
    """How often each size is planned from now on."""
    plan, seen = engine.prepare, Counter()

    def prepare(shape: StepShape):
        seen[shape] += 1
        return plan(shape)

    engine.prepare = prepare  # type: ignore[method-assign]
    return seen


def all_over(ahead: Ahead, *shapes: StepShape) -> None:
    """Wait until they are planned."""
    for shape in shapes:
        assert ahead._begun[shape].exception(SECONDS) is None and ahead.is_over(shape)


def test_what_is_likely_is_got_ready_for_where_there_is_nothing_else_to_do(engine: Engine) -> None:
    seen, sizes = counted(engine), [of(1), of(4), of(2)]
    ahead = foreseeing(engine, sizes)
    assert ahead.adopt(0.01) and not slow(engine).programs  # nothing is ready yet, and more to come
    slow(engine).go.set()
    while ahead.adopt(SECONDS):
        pass
    assert list(engine.planned()) == sizes and all(engine.ready(s).inputs.shape == s for s in sizes)
    assert seen == Counter(sizes) and set(slow(engine).compiled_by) == {get_ident()}
    assert get_ident() not in slow(engine).made_by
    engine.stop_foresight()


def test_what_is_less_likely_is_begun_where_there_is_nothing_else_to_do(engine: Engine) -> None:
    seen, device = counted(engine), slow(engine)
    device.go.set()
    ahead = foreseeing(engine, [of(1), of(2)], [of(3), of(2), of(4)])
    all_over(ahead, of(1), of(2))
    assert engine.ready(of(1)) and engine.ready(of(2)) and set(seen) == {of(1), of(2)}
    ahead.want(of(4))
    while ahead.adopt(SECONDS):
        pass
    all_over(ahead, of(4))
    assert engine.ready(of(4)) and seen == Counter([of(n) for n in (1, 2, 3, 4)])
    assert set(engine.planned()) == set(seen)
    engine.stop_foresight()


def test_a_step_waits_for_a_plan_under_way_and_makes_itself_one_that_was_not_begun(engine: Engine) -> None:
    seen, device = counted(engine), slow(engine)
    foreseeing(engine, [of(n) for n in (1, 2, 3, 4)])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: (device.begun.wait(SECONDS), device.go.set()))
        assert engine.ready(of(1)).inputs.shape == of(1)
    assert all(engine.ready(of(n)).inputs.shape == of(n) for n in (4, 2, 3))
    assert seen == Counter([of(n) for n in (1, 2, 3, 4)])
    engine.stop_foresight()


def test_streams_go_on_in_a_larger_size_until_their_own_is_planned(engine: Engine) -> None:
    engine.ready(of(4))
    ahead, at_hand = foreseeing(engine), AtHand(engine)
    for _ in range(2 * BEFORE_A_PLAN):
        assert at_hand.ready(of(2), 1).inputs.shape == of(4)  # its kernels are not there
    slow(engine).go.set()
    all_over(ahead, of(2))
    assert at_hand.ready(of(2), 1).inputs.shape == of(2)
    engine.stop_foresight()


def test_what_is_under_way_is_waited_for_where_nothing_else_stands_in(engine: Engine) -> None:
    device = slow(engine)
    foreseeing(engine, [of(2, 1024)])
    seen, at_hand = counted(engine), AtHand(engine)
    assert device.begun.wait(SECONDS)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: device.go.wait(0.05) or device.go.set())
        assert at_hand.ready(of(1), 1).inputs.shape == of(2, 1024)
    assert not seen
    engine.stop_foresight()


def test_more_keys_are_planned_for_before_a_text_comes_to_them(engine: Engine) -> None:
    slow(engine).go.set()
    ahead, runner, choice = foreseeing(engine), Runner(engine), TokenChoice(SamplerSettings(temp=0))
    for pos, n_kv, then in ((100, 256, 512), (400, 512, 1024)):
        wanted = of(2, then)
        run = runner.decode([Chunk(0, pos, (1,)), Chunk(1, 3, (1,))], [choice, choice], 8)
        assert run.shape == of(2, n_kv) and not engine.is_planned(wanted)
        all_over(ahead, wanted)
        engine.ready(wanted)
    runner.decode([Chunk(0, 900, (1,)), Chunk(1, 3, (1,))], [choice, choice], 8)  # no more keys than these
    assert not ahead.begun(done=True) and not ahead.waiting()
    engine.stop_foresight()


def test_a_likely_size_whose_turn_has_not_come_is_planned_rather_than_another(engine: Engine, monkeypatch) -> None:
    monkeypatch.setattr(ahead_room, "n_planners", lambda: 1)
    slow(engine).go.set()
    go, plan, planned = Event(), engine.prepare, []

    def prepare(shape: StepShape):
        planned.append(shape)
        assert shape != of(1) or go.wait(SECONDS)
        return plan(shape)

    engine.prepare = prepare  # type: ignore[method-assign]
    ahead = foreseeing(engine, [of(1), of(4), of(8)])
    assert AtHand(engine).ready(of(2), 1).inputs.shape == of(4) and ahead.waiting()[-1:] == [of(8)]
    go.set()
    all_over(ahead, of(1), of(8))
    assert sorted(planned, key=lambda s: s.n_out) == [of(1), of(4), of(8)]
    engine.stop_foresight()


def test_what_is_made_stands_in_before_what_is_larger(engine: Engine) -> None:
    slow(engine).go.set()
    engine.ready(of(4))
    ahead = foreseeing(engine, [of(2)])
    all_over(ahead, of(2))
    assert AtHand(engine).ready(of(1), 1).inputs.shape == of(2)
    engine.stop_foresight()


def test_what_cannot_be_planned_ahead_is_left_to_who_needs_it(engine: Engine) -> None:
    slow(engine).bad = 2
    slow(engine).go.set()
    ahead = foreseeing(engine, [of(1), of(2), of(4)])
    while ahead.adopt(SECONDS):
        pass
    assert {of(1), of(4)} <= set(engine.planned())
    assert engine.ready(of(2)).inputs.shape == of(2)  # by itself
    engine.stop_foresight()


def test_where_no_room_is_left_no_more_is_got_ready(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_plan: Plan) -> None:
        raise BackendError("no room")

    slow(engine).go.set()
    ahead = foreseeing(engine, [of(1), of(2)])
    monkeypatch.setattr(engine.device, "compile", full)
    assert ahead.adopt(SECONDS) and not ahead.adopt(SECONDS) and not list(engine.planned())
    engine.stop_foresight()


def test_of_what_nobody_takes_the_oldest_goes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_room, "MOST_WAITING", 2)
    device = slow(engine)
    device.compiles_beside = True
    device.go.set()
    ahead = foreseeing(engine, [of(1)])
    for n in range(2, 7):
        ahead.want(of(n))
        all_over(ahead, of(n))
    assert ahead.begun(done=True) == [of(n) for n in (1, 4, 5, 6)]  # what is likely stays
    assert [p.is_closed for p in device.programs] == [False, True, True, False, False, False]
    engine.stop_foresight()


def test_another_level_takes_no_plan_of_this_one(engine: Engine) -> None:
    slow(engine).go.set()
    ahead = foreseeing(engine, [of(2)])
    all_over(ahead, of(2))
    engine.configure(0)
    assert all(engine.ready(of(2)).plan.barriers[1:])
    engine.stop_foresight()


def test_the_interpreters_turns_are_short_meanwhile(engine: Engine) -> None:
    before = sys.getswitchinterval()
    foreseeing(engine)
    assert sys.getswitchinterval() < before
    engine.stop_foresight()
    assert sys.getswitchinterval() == pytest.approx(before)


def test_what_serving_meets_is_likely(tmp_path: Path) -> None:
    with GGUFFile.open(write_model(tmp_path / "a.gguf")) as f:
        model = open_model(f, Capacity(2048, 32, 40))
    found = likely(model, GPU)
    assert len(found) == len(set(found)) == MOST and found[0].groups == ((1, 1),)
    groups = {s.groups for s in found if s.n_kv == 1024}
    assert {((n, 1),) for n in (1, 2, 4, 8, 16, 32)} | {((1, s),) for s in (64, 512, 1024)} <= groups
    assert {((1, s), (few_sizes(n), 1)) for s in (8, 16, 32, 64, 512) for n in (1, 2, 9, 31)} <= groups
    beside = [s.groups[0][1] for s in found if len(s.groups) == 2 and s.groups[0][0] == 1 and s.n_kv == 1024]
    assert beside == sorted(beside, reverse=True)  # what long prompts are read in comes first
    assert {((16, 16), (n, 1)) for n in (4, 16, 32)} | {((4, 256), (n, 1)) for n in (4, 16, 32)} <= groups
    assert all(s.n_drawn == 64 and s.n_out == sum(n for n, _ in s.groups) for s in found)
    assert all(s.snapshots == any(size >= 64 for _, size in s.groups) for s in found)


@pytest.mark.parametrize("kind", ["virtual gpu", "cpu"])
def test_what_is_likely_is_planned_from_before_weights_are_there_on_gpus(tmp_path: Path, kind: str) -> None:
    device = Slow(info=DeviceInfo("null", 0, "nothing", kind=kind))
    device.go.set()
    with GGUFFile.open(write_model(tmp_path / "a.gguf")) as f:
        engine = Engine(open_model(f, Capacity(1024, 4, 5)), device, foresee=foresee)
        runner = Runner(engine)
        assert runner.adopt(SECONDS) == (kind != "cpu") and len(list(engine.planned())) == (kind != "cpu")
        engine.close()
        assert not runner.adopt(0) and engine.foresight is None


def test_where_weights_fail_to_come_nothing_goes_on(tmp_path: Path) -> None:
    class Full(Slow):
        def write(self, storage, data, row=0):
            raise BackendError("the device is full")

    made: list[Ahead] = []
    device = Full(info=DeviceInfo("null", 0, "nothing", kind="virtual gpu"), compiles_beside=True)
    device.go.set()
    with GGUFFile.open(write_model(tmp_path / "a.gguf")) as f, pytest.raises(BackendError, match="is full"):
        Engine(open_model(f, Capacity(64)), device, foresee=lambda e: made.append(foresee(e)) or made[0])
    assert not made[0]._begun and made[0]._plans._shutdown


def test_programs_are_made_beside_where_a_device_can(engine: Engine) -> None:
    device = slow(engine)
    device.compiles_beside = True
    device.go.set()
    ahead = foreseeing(engine, [of(1), of(2)])
    all_over(ahead, of(1), of(2))
    assert engine.ready(of(1)).inputs.shape == of(1) and get_ident() not in device.compiled_by
    engine.stop_foresight()
    assert [p.is_closed for p in device.programs] == [False, True]  # which nobody took


def test_prompts_are_read_as_many_at_once_as_there_are_programs_for(engine: Engine) -> None:
    slow(engine).go.set()
    runner, n_kv = Runner(engine), engine.kv_size(1)
    assert runner.way([64] * 9, 4096, 0, 64) == (9, 64)
    engine.ready(StepShape(((4, 64),), n_kv, 4, engine.model.params.n_vocab, snapshots=bool(engine.model.states)))
    foreseeing(engine)
    assert runner.way([64] * 9, 4096, 0, 64) == (4, 64)
    assert runner.way([64] * 9, 4096, 1, 64)[1] == 1  # till there is one beside who decodes
    engine.stop_foresight()


def test_many_threads_make_a_thing_once_and_what_failed_again() -> None:
    made: Counter[int] = Counter()
    start = Event()

    def make(key: int) -> int:
        assert start.wait(SECONDS)
        made[key] += 1
        if made[3] == 1:
            raise BackendError("three")
        return -key

    once = Once(make)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(once, 1) for _ in range(6)]
        start.set()
        assert [a.result(SECONDS) for a in asked] == [-1] * 6
    once.ahead([1, 2, 2])
    with pytest.raises(BackendError, match="three"):
        once(3)
    assert once(3) == -3 and made == Counter({1: 1, 2: 1, 3: 2}) and sorted(once.made()) == [-3, -2, -1]
