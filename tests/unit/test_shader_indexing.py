"""Walks: divisors made into products, and collapsed axes that still find every element."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vkrun.runtime.ir.layout import Layout
from vkrun.shaders.common.walk import fast_div_words, four, walk, walk_apart
from vkrun.shaders.operands import COUNT_LIMIT


def fast_div(n: int, magic: int, shift: int) -> int:
    """common.glsl's, in 32 bits."""
    high = n * magic >> 32
    assert high + n < 2**32
    return (high + n) >> shift


@given(st.integers(0, COUNT_LIMIT - 1), st.integers(1, COUNT_LIMIT - 1))
def test_fast_div_is_division(n: int, d: int) -> None:
    assert fast_div(n, *fast_div_words(d)) == n // d


@pytest.mark.parametrize("d", [1, 2, 3, 7, 2**16 - 1, 2**16, 2**30, 2**30 + 1, COUNT_LIMIT - 1])
def test_fast_div_at_the_edges(d: int) -> None:
    for n in {0, d - 1, d, COUNT_LIMIT - 1, (COUNT_LIMIT - 1) // d * d, max(0, (COUNT_LIMIT - 1) // d * d - 1)}:
        assert fast_div(n, *fast_div_words(d)) == n // d


def offsets(layout: Layout) -> list[int]:
    """Where a walk finds element 0, 1, 2, ..."""
    strides = four(layout.strides, 0)
    index = np.indices(four(layout.shape, 1)).reshape(4, -1)
    return (layout.offset + (index * np.array(strides)[:, None]).sum(0)).tolist()


LAYOUTS = (
    Layout.contiguous((2, 3, 4, 5)),
    Layout.contiguous((2, 3, 4, 5)).permute(1, 0, 2, 3),
    Layout.contiguous((2, 1, 4, 5)).slice(3, 1, 4),
    Layout.contiguous((1, 1, 1)),
    Layout((2, 3, 4), (0, 4, 1), 7),
    Layout.contiguous((7,)),
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_walk_finds_every_element_in_order(layout: Layout) -> None:
    other = Layout.contiguous(layout.shape, 3)
    walked = walk(layout, other)
    assert offsets(walked.layouts[0]) == offsets(layout)
    assert offsets(walked.layouts[1]) == offsets(other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fenced_axis_keeps_its_size_and_place(layout: Layout) -> None:
    for axis in range(layout.ndim):
        walked, (place,) = walk_apart(layout, Layout.contiguous(layout.shape), fences=[axis])
        assert offsets(walked.layouts[0]) == offsets(layout)
        assert four(walked.shape, 1)[place] == layout.shape[axis]


def test_two_fences_stay_apart() -> None:
    walked, places = walk_apart(Layout.contiguous((2, 3, 4, 5)), fences=(2, 3))
    assert walked.shape == (6, 4, 5)
    assert places == (2, 3)
