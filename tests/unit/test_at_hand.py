"""Sizes that decoding runs in: larger ones that are there stand in for one that is asked for seldom."""

from dataclasses import replace

import pytest
from vkrun.runtime.engine.at_hand import BEFORE_A_PLAN, STEPS, AtHand
from vkrun.runtime.models.step import StepShape


class Planned:
    """An engine that only remembers what was planned."""

    foresight = None

    def __init__(self, *shapes: StepShape) -> None:
        self.shapes = list(shapes)

    def planned(self) -> list[StepShape]:
        return self.shapes

    def is_planned(self, shape: StepShape) -> bool:
        return shape in self.shapes

    def ready(self, shape: StepShape) -> StepShape:
        self.shapes += [] if shape in self.shapes else [shape]
        return shape


def of(n: int, n_kv: int = 256, n_drawn: int = 1) -> StepShape:
    return StepShape(((n, 1),), n_kv, n, n_drawn)


def test_a_larger_size_stands_in_until_its_own_is_worth_a_plan() -> None:
    engine = Planned(of(32), of(16, 512))
    at_hand = AtHand(engine)  # type: ignore[arg-type]
    n_runs = BEFORE_A_PLAN // STEPS
    assert [at_hand.ready(of(12)) for _ in range(n_runs)] == [of(16, 512)] * n_runs
    assert at_hand.ready(of(12)) == of(12) and at_hand.ready(of(12)) == of(12)
    assert engine.shapes == [of(32), of(16, 512), of(12)]


@pytest.mark.parametrize(
    "other",
    [
        of(8),
        of(16, 128),
        of(16, 2048),
        replace(of(16), n_drawn=0),
        replace(of(16), rests=True),
        StepShape(((1, 64), (16, 1)), 256, 17, 1),
        StepShape(((16, 8),), 256, 16, 1),
    ],
)
def test_no_other_stands_in(other: StepShape) -> None:
    engine = Planned(other)
    assert AtHand(engine).ready(of(12)) == of(16)  # type: ignore[arg-type]
    assert engine.shapes == [other, of(16)]


def test_few_sequences_have_their_own() -> None:
    engine = Planned()
    at_hand = AtHand(engine)  # type: ignore[arg-type]
    assert [at_hand.ready(of(n)) for n in (1, 2, 4, 8)] == [of(n) for n in (1, 2, 4, 8)]
    for n in (10, 12, 14, 16, 20, 24, 28, 32):
        at_hand.ready(of(n))
    assert [s.n_out for s in engine.shapes] == [1, 2, 4, 8, 16, 32]


def beside(size: int, n: int) -> StepShape:
    return StepShape(((1, size), (n, 1)), 256, n + 1, 1)


def test_beside_prompts_few_sizes_are_planned_at_first() -> None:
    engine = Planned()
    at_hand = AtHand(engine)  # type: ignore[arg-type]
    for n in range(1, 40):
        at_hand.ready(beside(8, n), 1)
    assert engine.shapes == [beside(8, n) for n in (1, 4, 16, 32, 64)]
    assert at_hand.ready(beside(64, 3), 1) == beside(64, 4)
    for _ in range(BEFORE_A_PLAN):
        assert at_hand.ready(beside(8, 3), 1) in (beside(8, 4), beside(8, 3))
    assert at_hand.ready(beside(8, 3), 1) == beside(8, 3)


def test_beside_long_prompts_few_sizes_are_planned_for_good() -> None:
    engine = Planned()
    at_hand = AtHand(engine)  # type: ignore[arg-type]
    for _ in range(3 * BEFORE_A_PLAN):
        for n in range(1, 65):
            at_hand.ready(beside(512, n), 1)
    assert engine.shapes == [beside(512, n) for n in (1, 4, 16, 32, 64)]


def test_of_prompts_as_many_rows_stand_in_over_more_keys() -> None:
    engine = Planned(StepShape(((1, 512),), 1024, 1, 64), StepShape(((2, 512),), 512, 2, 1))
    assert AtHand(engine).ready(StepShape(((1, 512),), 512, 1, 1)) == engine.shapes[0]  # type: ignore[arg-type]
    assert AtHand(engine).ready(StepShape(((1, 256),), 512, 1, 1)) == engine.shapes[-1]  # type: ignore[arg-type]
    assert engine.shapes[2:] == [StepShape(((1, 256),), 512, 1, 1)]
