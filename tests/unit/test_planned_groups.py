"""Which sizes of a step's groups are planned: rows are counted as planned."""

import pytest
from vkrun.runtime.engine.runner import planned_groups
from vkrun.runtime.models.step import Chunk


def groups(n_readers: int, size: int, n_ones: int) -> list[tuple[list[Chunk], int]]:
    readers = [Chunk(i, 0, tuple(range(size))) for i in range(n_readers)]
    return [(readers, size), ([Chunk(n_readers + i, 9, (1,)) for i in range(n_ones)], 1)]


@pytest.mark.parametrize(
    ("n_readers", "size", "n_ones", "planned"), [(1, 512, 1, (1, 1)), (3, 512, 5, (4, 8)), (1, 64, 17, (1, 18))]
)
def test_groups_as_planned(n_readers: int, size: int, n_ones: int, planned: tuple[int, int]) -> None:
    assert planned_groups(groups(n_readers, size, n_ones)) == ((planned[0], size), (planned[1], 1))


@pytest.mark.parametrize("n_ones", [1, 3, 9, 17])
def test_those_who_decode_alone_are_few_rows(n_ones: int) -> None:
    (group,) = groups(0, 0, n_ones)[1:]
    ((n, size),) = planned_groups([group])
    assert size == 1 and n_ones <= n <= 1.5 * n_ones + 1
