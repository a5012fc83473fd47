"""Layout: where the elements of a tensor stand in its storage. Pure; knows no data and no device."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, TypeVar

from ..errors import LayoutError

MAX_AXES = 4
Shape = tuple[int, ...]
T = TypeVar("T")


class kept(Generic[T]):
    """functools.cached_property without its lock, which before Python 3.12 costs more than what is kept here."""

    def __init__(self, made: Callable[[Any], T]) -> None:
        self._made, self._name = made, made.__name__

    def __get__(self, obj: Any, _owner: object = None) -> T:
        value = obj.__dict__[self._name] = self._made(obj)
        return value


@dataclass(frozen=True)
class Layout:
    """Element (i0, i1, ...) stands at offset + sum(i * stride), counted in elements.

    Axes are in numpy's order: the last runs fastest when contiguous. At most 4 axes, strides >= 0 (0 broadcasts).
    """

    shape: Shape
    strides: Shape
    offset: int = 0

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides) or len(self.shape) > MAX_AXES:
            raise LayoutError(f"layout: shape {self.shape} and strides {self.strides}, at most {MAX_AXES} axes each")
        if min((*self.shape, *self.strides, self.offset)) < 0:
            raise LayoutError(f"layout: negative entry in {self.shape} {self.strides} {self.offset}")

    @staticmethod
    def contiguous(shape: Shape, offset: int = 0) -> "Layout":
        return Layout(tuple(shape), contiguous_strides(shape), offset)

    @kept
    def n_elements(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @kept
    def is_contiguous(self) -> bool:
        """stride[i] == prod(shape[i+1:]) on every axis longer than 1, or no element at all."""
        wanted = contiguous_strides(self.shape)
        return self.n_elements == 0 or all(
            s == w for n, s, w in zip(self.shape, self.strides, wanted, strict=True) if n > 1
        )

    @property
    def rows_contiguous(self) -> bool:
        """stride[-1] == 1, or the last axis no longer than 1."""
        return not self.shape or self.shape[-1] <= 1 or self.strides[-1] == 1

    @kept
    def span(self) -> tuple[int, int]:
        """Half-open range of elements of the storage that the layout can touch; (offset, offset) when empty."""
        if self.n_elements == 0:
            return self.offset, self.offset
        return self.offset, self.offset + self._extent

    @kept
    def _extent(self) -> int:
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))

    def permute(self, *axes: int) -> "Layout":
        if sorted(axes) != list(range(self.ndim)):
            raise LayoutError(f"permute: axes {axes} of a tensor with {self.ndim} axes")
        return Layout(tuple(self.shape[a] for a in axes), tuple(self.strides[a] for a in axes), self.offset)

    def slice(self, axis: int, start: int, stop: int, step: int = 1) -> "Layout":
        """Elements start, start + step, ... below stop along an axis."""
        axis = self._axis(axis)
        n = self.shape[axis]
        if not 0 <= start <= stop <= n or step < 1:
            raise LayoutError(f"slice: {start}:{stop}:{step} of an axis of {n}; negative steps are not supported")
        offset = self.offset + (start * self.strides[axis] if start < stop else 0)
        shape = _put(self.shape, axis, -(-(stop - start) // step))
        return Layout(shape, _put(self.strides, axis, self.strides[axis] * step), offset)

    def select(self, axis: int, index: int) -> "Layout":
        """One entry of an axis; the axis goes."""
        axis = self._axis(axis)
        cut = self.slice(axis, index, index + 1)
        return Layout(_drop(cut.shape, axis), _drop(cut.strides, axis), cut.offset)

    def unsqueeze(self, axis: int) -> "Layout":
        """A new axis of 1 before `axis` (counted in the result)."""
        axis += (self.ndim + 1) * (axis < 0)
        shape, strides = (*self.shape[:axis], 1, *self.shape[axis:]), (*self.strides[:axis], 0, *self.strides[axis:])
        return Layout(shape, strides, self.offset)

    def broadcast_to(self, shape: Shape) -> "Layout":
        """numpy's rule: axes of 1 repeat with stride 0, missing axes come in front."""
        lead = len(shape) - self.ndim
        old, strides = (1,) * lead + self.shape, (0,) * lead + self.strides
        if lead < 0 or any(o not in (1, n) for o, n in zip(old, shape, strict=True)):
            raise LayoutError(f"broadcast: {self.shape} to {tuple(shape)}")
        new = tuple(s if o == n else 0 for o, n, s in zip(old, shape, strides, strict=True))
        return Layout(tuple(shape), new, self.offset)

    def reshape(self, shape: Shape) -> "Layout | None":
        """The same elements in the same order under a new shape, or None when only a copy could do it."""
        if prod(shape) != self.n_elements:
            raise LayoutError(f"reshape: {self.shape} to {tuple(shape)}: {self.n_elements} and {prod(shape)} elements")
        if self.n_elements == 0:
            return Layout.contiguous(shape, self.offset)
        strides = _split_strides(self.collapse(), shape)
        return None if strides is None else Layout(tuple(shape), strides, self.offset)

    def pad_extents(self, before: Shape, after: Shape) -> "Layout":
        """The contiguous layout of this one's shape grown by `before` and `after` on each axis."""
        if len(before) != self.ndim or len(after) != self.ndim or min((*before, *after), default=0) < 0:
            raise LayoutError(f"pad: {before} and {after} around shape {self.shape}")
        return Layout.contiguous(tuple(b + n + a for b, n, a in zip(before, self.shape, after, strict=True)))

    def collapse(self) -> "Layout":
        """The same elements in the same order over as few axes as possible."""
        return collapse_together((self,))[0]

    def through(self, view: "Layout") -> "Layout | None":
        """Where the elements of `view` stand when the contiguous run that it looks at is replaced by this layout.

        view is a layout over n_elements contiguous elements; element i of these now stands where this layout has its
        i-th. None when no layout can say that.
        """
        merged = self.collapse()
        runs = contiguous_strides(merged.shape)
        first = [view.offset // run % n for run, n in zip(runs, merged.shape, strict=True)]
        last, strides = list(first), []
        for n, stride in zip(view.shape, view.strides, strict=True):
            axis = next((i for i, run in enumerate(runs) if stride and stride % run == 0), None)
            if n <= 1 or stride == 0:
                strides.append(0)
            elif axis is None:
                return None
            else:
                last[axis] += (n - 1) * (stride // runs[axis])
                strides.append(stride // runs[axis] * merged.strides[axis])
        if any(at >= n for at, n in zip(last, merged.shape, strict=True)):
            return None
        offset = self.offset + sum(at * s for at, s in zip(first, merged.strides, strict=True))
        return Layout(view.shape, tuple(strides), offset)

    def overlaps(self, other: "Layout") -> bool:
        """May the two touch a common element? False is certain; True may be cautious.

        Beyond disjoint spans it sees slices of one matrix: columns [a, b) and [c, d) of rows of a common stride.
        """
        (lo, hi), (lo2, hi2) = self.span, other.span
        if lo >= hi2 or lo2 >= hi or lo == hi or lo2 == hi2:
            return False
        if lo == lo2 and self.strides == other.strides:
            return True
        return not any(self._columns_apart(other, row) for row in set(self.strides) & set(other.strides) if row > 1)

    def _columns_apart(self, other: "Layout", row: int) -> bool:
        columns = [a._columns(row) for a in (self, other)]
        if None in columns:
            return False
        (lo, hi), (lo2, hi2) = columns[0] or (0, 0), columns[1] or (0, 0)
        return hi <= lo2 or hi2 <= lo

    def _columns(self, row: int) -> tuple[int, int] | None:
        """The columns touched when the storage is seen as rows of `row` elements; None when they wrap."""
        inner = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True) if s % row)
        lo = self.offset % row
        return (lo, lo + inner) if lo + inner <= row else None

    def _axis(self, axis: int) -> int:
        if not -self.ndim <= axis < self.ndim:
            raise LayoutError(f"axis {axis} of a tensor with {self.ndim} axes")
        return axis % self.ndim


def contiguous_strides(shape: Shape) -> Shape:
    strides, run = [], 1
    for n in reversed(shape):
        strides.append(run)
        run *= n
    return tuple(reversed(strides))


def collapse_together(layouts: tuple[Layout, ...]) -> tuple[Layout, ...]:
    """Layouts of one shape over the fewest axes common to all: axes of 1 go, and axes i, i+1 merge where every layout
    has stride[i] == stride[i+1] * shape[i+1]. At least one axis remains."""
    shape = layouts[0].shape
    axes: list[tuple[int, Shape]] = []
    for i, n in enumerate(shape):
        strides = tuple(a.strides[i] for a in layouts)
        if n == 1:
            continue
        if axes and all(outer == s * n for outer, s in zip(axes[-1][1], strides, strict=True)):
            axes[-1] = (axes[-1][0] * n, strides)
        else:
            axes.append((n, strides))
    axes = axes or [(1, (1,) * len(layouts))]
    merged = tuple(n for n, _ in axes)
    return tuple(Layout(merged, tuple(s[k] for _, s in axes), a.offset) for k, a in enumerate(layouts))


def _split_strides(merged: Layout, shape: Shape) -> Shape | None:
    """Strides that walk the axes of a collapsed layout under `shape`, or None when an axis would straddle two."""
    strides, axis, room = [0] * len(shape), merged.ndim - 1, merged.shape[-1]
    step = merged.strides[-1]
    for i in reversed(range(len(shape))):
        if shape[i] == 1:
            strides[i] = step
            continue
        if room == 1:
            axis -= 1
            room, step = merged.shape[axis], merged.strides[axis]
        if room % shape[i]:
            return None
        strides[i], room, step = step, room // shape[i], step * shape[i]
    return tuple(strides)


def _put(t: Shape, i: int, value: int) -> Shape:
    return (*t[:i], value, *t[i + 1 :])


def _drop(t: Shape, i: int) -> Shape:
    return t[:i] + t[i + 1 :]
