"""Layouts against numpy's own views of an array of element numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vkrun.runtime.errors import LayoutError
from vkrun.runtime.ir.layout import Layout, collapse_together

SIZE = 4096
MEMORY = np.arange(SIZE)


def elements(layout: Layout) -> np.ndarray:
    strides = [s * MEMORY.itemsize for s in layout.strides]
    return np.lib.stride_tricks.as_strided(MEMORY[layout.offset :], layout.shape, strides)


@st.composite
def layouts(draw, max_axes: int = 4) -> Layout:
    """A layout reached from a contiguous one by views, so that numpy can follow."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=max_axes)))
    layout = Layout.contiguous(shape, draw(st.integers(0, 50)))
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["permute", "slice", "broadcast"]))
        axis = draw(st.integers(0, layout.ndim - 1))
        if kind == "permute":
            layout = layout.permute(*draw(st.permutations(range(layout.ndim))))
        elif kind == "slice":
            n = layout.shape[axis]
            start = draw(st.integers(0, n))
            layout = layout.slice(axis, start, draw(st.integers(start, n)), draw(st.integers(1, 3)))
        else:
            layout = layout.broadcast_to(tuple(3 if n == 1 else n for n in layout.shape))
    return layout


@given(layouts(), st.data())
def test_permute_and_slice_are_numpys(layout, data):
    axes = data.draw(st.permutations(range(layout.ndim)))
    assert np.array_equal(elements(layout.permute(*axes)), elements(layout).transpose(axes))
    axis = data.draw(st.integers(0, layout.ndim - 1))
    start = data.draw(st.integers(0, layout.shape[axis]))
    stop = data.draw(st.integers(start, layout.shape[axis]))
    step = data.draw(st.integers(1, 4))
    index = (slice(None),) * axis + (slice(start, stop, step),)
    assert np.array_equal(elements(layout.slice(axis, start, stop, step)), elements(layout)[index])


@given(layouts(max_axes=3), st.integers(0, 3))
def test_unsqueeze_and_select_are_numpys(layout, axis):
    axis %= layout.ndim + 1
    wide = layout.unsqueeze(axis)
    assert np.array_equal(elements(wide), np.expand_dims(elements(layout), axis))
    assert np.array_equal(elements(wide.select(axis, 0)), elements(layout))


@given(layouts())
def test_contiguous_and_row_flags_follow_their_formulas(layout):
    view = elements(layout)
    if layout.n_elements:
        assert layout.is_contiguous == bool(np.array_equal(view.reshape(-1), view.flat[0] + np.arange(view.size)))
        rows = view.reshape(-1, layout.shape[-1])
        assert layout.rows_contiguous == bool((np.diff(rows, axis=1) == 1).all())


@given(layouts())
def test_span_holds_every_element_and_no_more(layout):
    view, (low, high) = elements(layout), layout.span
    assert (low, high) == ((view.min(), view.max() + 1) if view.size else (layout.offset, layout.offset))


def factors(n: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of n elements."""
    options = [
        (a, b, n // a // b) for a in range(1, n + 1) if n % a == 0 for b in range(1, n // a + 1) if n // a % b == 0
    ]
    return st.sampled_from(options)


@given(layouts(), st.data())
def test_reshape_is_numpys_or_needs_a_copy(layout, data):
    shape = data.draw(factors(layout.n_elements) if layout.n_elements else st.just((0, 3)))
    got = layout.reshape(shape)
    view = elements(layout)
    wanted = view.reshape(shape)
    if got is not None:
        assert np.array_equal(elements(got), wanted)
    else:
        assert not np.shares_memory(wanted, MEMORY)


@given(layouts())
def test_collapse_keeps_the_order_of_elements(layout):
    if layout.n_elements:
        merged = layout.collapse()
        assert np.array_equal(elements(merged).reshape(-1), elements(layout).reshape(-1))
        assert merged.ndim == 1 or not layout.is_contiguous


@given(layouts(), st.data())
def test_collapse_together_keeps_both(layout, data):
    other = Layout.contiguous(layout.shape, data.draw(st.integers(0, 9)))
    if layout.n_elements:
        a, b = collapse_together((layout, other))
        assert a.shape == b.shape
        assert np.array_equal(elements(a).reshape(-1), elements(layout).reshape(-1))
        assert np.array_equal(elements(b).reshape(-1), elements(other).reshape(-1))


@given(layouts(), layouts())
def test_layouts_that_share_an_element_overlap(a, b):
    if np.intersect1d(elements(a), elements(b)).size:
        assert a.overlaps(b) and b.overlaps(a)


def test_columns_of_one_matrix_do_not_overlap():
    rows = Layout.contiguous((6, 10))
    assert not rows.slice(1, 0, 4).overlaps(rows.slice(1, 4, 10))
    assert rows.slice(1, 0, 5).overlaps(rows.slice(1, 4, 10))


@given(layouts(), st.data())
def test_through_follows_the_elements(layout, data):
    n = layout.n_elements
    if not n:
        return
    shape = data.draw(factors(n))
    view = Layout.contiguous(shape)
    axis = data.draw(st.integers(0, 2))
    start = data.draw(st.integers(0, shape[axis] - 1))
    view = view.slice(axis, start, shape[axis]).permute(*data.draw(st.permutations(range(3))))
    got = layout.through(view)
    wanted = elements(layout).reshape(-1)[elements(view)]
    if got is None:
        assert not layout.is_contiguous
    else:
        assert np.array_equal(elements(got), wanted)


@given(layouts(), st.data())
def test_through_of_the_whole_is_the_layout(layout, data):
    if layout.n_elements:
        got = layout.through(Layout.contiguous(layout.shape))
        assert got is not None
        assert np.array_equal(elements(got), elements(layout))


def test_what_no_layout_can_be_is_refused():
    rows = Layout.contiguous((2, 3))
    for wrong in (
        lambda: Layout((2,), (1, 1)),
        lambda: Layout((2,), (-1,)),
        lambda: Layout((1,) * 5, (1,) * 5),
        lambda: rows.slice(0, 2, 0, -1),
        lambda: rows.slice(0, 0, 3),
        lambda: rows.permute(0, 0),
        lambda: rows.reshape((4,)),
        lambda: rows.broadcast_to((2, 4)),
        lambda: rows.pad_extents((1,), (0, 0)),
    ):
        with pytest.raises(LayoutError):
            wrong()
