"""How many prompts a step reads, and in which of the sizes that are there."""

from types import SimpleNamespace

import pytest
from vkrun.runtime.engine.sizes import GPU, SOFTWARE, StepSizes
from vkrun.runtime.engine.ways import WISHES, Way, Ways, readers, shape_of
from vkrun.runtime.models.step import StepShape

MODEL = SimpleNamespace(params=SimpleNamespace(n_vocab=100), states=[1])


class Planned:
    """An engine, and who plans for it, that only remember."""

    def __init__(self, *ways: tuple[Way, int], sizes: StepSizes = GPU, ahead: bool = True) -> None:
        """ways: each with how many decode beside it, 0 for none."""
        self.model, self.sizes, self.wanted = MODEL, sizes, list[StepShape]()
        self.shapes = [shape(way, n) for way, n in ways]
        self.foresight = self if ahead else None
        self.device = SimpleNamespace(info=SimpleNamespace(is_software=False))

    def planned(self) -> list[StepShape]:
        return self.shapes

    def begun(self, done: bool) -> list[StepShape]:
        return []

    def want(self, shape: StepShape) -> None:
        self.wanted.append(shape)

    def is_over(self, shape: StepShape) -> bool:
        return shape in self.shapes


def shape(way: Way, n: int) -> StepShape:
    return shape_of(MODEL, 1024, way, *([(n, 1)] if n else []))  # type: ignore[arg-type]


def chosen(engine: Planned, unread: list[int], most: int, n_beside: int = 0) -> Way:
    return Ways(engine).choose(engine.sizes, unread, most, n_beside, 1024)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unread", "most", "way"),
    [
        ([600], 2048, (1, 512)),
        ([20], 2048, (1, 32)),
        ([33], 2048, (1, 64)),
        ([513], 2048, (1, 512)),
        ([5000], 2048, (1, 2048)),
        ([16, 2000, *[16] * 14], 256, (16, 16)),
        ([16] * 32, 512, (32, 16)),
        ([16] * 5, 512, (5, 16)),
        ([512] * 5, 2048, (4, 512)),
        ([512] * 5, 512, (1, 512)),
        ([512, 16, 16], 512, (1, 512)),
        ([1] * 4, 512, (4, 1)),
        ([100] * 9, 1, (1, 1)),
    ],
)
def test_what_reads_most_for_its_cost_is_chosen(unread: list[int], most: int, way: Way) -> None:
    assert chosen(Planned(ahead=False), unread, most, n_beside=4) == way


def test_on_processors_few_tokens_are_enough() -> None:
    assert chosen(Planned(sizes=SOFTWARE, ahead=False), [30] * 8, 512) == (8, 8)


def test_the_oldest_takes_part_and_those_who_have_most_to_read() -> None:
    assert readers([3, 100, 8, 70, 64], (3, 64)) == [0, 1, 3]
    assert readers([3], (4, 64)) == [0]


def test_what_is_there_is_taken_in_the_place_of_what_would_be_better() -> None:
    engine = Planned(((4, 16), 16), ((1, 64), 16), ((16, 16), 4))
    assert chosen(engine, [16] * 16, 512, n_beside=9) == (4, 16)
    assert engine.wanted == [shape((16, 16), 16)]  # since that is four times as fast
    assert chosen(engine, [16] * 16, 512, n_beside=3) == (16, 16)  # of which 13 rows are of nobody


def test_what_is_a_little_better_is_planned_where_it_is_often_so() -> None:
    engine = Planned(((16, 16), 16))
    ways = Ways(engine)  # type: ignore[arg-type]
    for _ in range(WISHES):
        assert ways.choose(GPU, [16] * 32, 512, 9, 1024) == (16, 16) and not engine.wanted
    assert ways.choose(GPU, [16] * 32, 512, 9, 1024) == (16, 16) and engine.wanted == [shape((32, 16), 16)]
    engine.shapes += engine.wanted
    assert ways.choose(GPU, [16] * 32, 512, 9, 1024) == (32, 16)


def test_where_none_is_there_those_who_decode_do_not_wait_for_a_plan() -> None:
    engine = Planned()
    assert chosen(engine, [500], 512, n_beside=2) == (1, 1) and engine.wanted == [shape((1, 512), 4)]
    assert chosen(engine, [500], 2048) == (1, 512)  # nobody waits but the prompt itself
