"""Arguments of walk.glsl: shapes and strides of up to four axes, collapsed, with divisors made into products."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ...runtime.ir.dtypes import DType
from ...runtime.ir.layout import Layout, Shape, collapse_together
from ..kernel import Argument, Arguments, Buffers, Constants, Features, KernelCall, Variant, grid_of, strides

AXES = 4
MANY = 2**20  # elements that fill any GPU with several for each invocation: twice the bytes a second on an H200
_WALK = "count", "size1", "size2", "size3", "magic1", "magic2", "magic3", "shifts"
_NONE: Mapping[str, int] = {}
TYPE_DEFINES = {DType.F32: "F32", DType.I32: "F32", DType.F16: "F16", DType.BF16: "BF16"}


@dataclass(frozen=True)
class Walk:
    """Layouts of one shape, collapsed together: what each invocation needs to find its elements."""

    layouts: tuple[Layout, ...]

    @property
    def shape(self) -> Shape:
        return self.layouts[0].shape

    @property
    def n_axes(self) -> int:
        return len(self.shape)

    def call(
        self,
        variant: Variant,
        buffers: Buffers,
        features: Features,
        more: Arguments = _NONE,
        constants: Constants = _NONE,
    ) -> KernelCall:
        """The dispatch over all elements, with WALK and the STRIDES of each layout, which belong to the first buffers;
        `more` arguments and constants are the shader's own."""
        n = self.layouts[0].n_elements
        lanes, per = lanes_of(n, features)
        arguments = walk_arguments(self.shape)
        for (name, t), layout in zip(buffers.items(), self.layouts, strict=False):
            arguments |= strides(name, (t, *four(layout.strides, 0)), "at 0 1 2 3")
        constants = {"local_size_x": lanes, "AXES": self.n_axes, "PER": per, **constants}
        return KernelCall(*variant, buffers, {**arguments, **more}, grid_of(-(-n // (lanes * per))), constants)


def lanes_of(n: int, features: Features) -> tuple[int, int]:
    """Invocations of a workgroup, and elements that each takes, for n elements."""
    if not features.software:
        return min(128, features.max_workgroup), 8 if n > MANY else 1
    return 128, 16 if n > 512 else 4 if n > 128 else 1


def walk(*layouts: Layout) -> Walk:
    return Walk(collapse_together(layouts))


def walk_apart(*layouts: Layout, fences: Iterable[int]) -> tuple[Walk, tuple[int, ...]]:
    """A walk that merges no fenced axis with another, and where each fenced axis stands among the four."""
    fenced = sorted(set(fences))
    runs = _runs(layouts[0].ndim, fenced)
    parts = [_take(layouts, run, run[0] in fenced) for run in runs]
    merged = tuple(_join([p[k] for p in parts], a.offset) for k, a in enumerate(layouts))
    places, at = {}, AXES - merged[0].ndim
    for run, part in zip(runs, parts, strict=True):
        places[run[0]] = at
        at += part[0].ndim
    return Walk(merged), tuple(places[a] for a in fenced)


def _runs(n_axes: int, fenced: Sequence[int]) -> list[list[int]]:
    """Axes in order, in runs that may merge; a fenced axis is a run of its own."""
    keys = [(a if a in fenced else -1, sum(f < a for f in fenced)) for a in range(n_axes)]
    return [list(run) for _, run in groupby(range(n_axes), keys.__getitem__)]


def _take(layouts: Sequence[Layout], run: list[int], fenced: bool) -> tuple[Layout, ...]:
    cut = tuple(Layout(tuple(a.shape[i] for i in run), tuple(a.strides[i] for i in run)) for a in layouts)
    if fenced:
        return cut
    merged = collapse_together(cut)
    return tuple(Layout((), ()) for _ in cut) if merged[0].n_elements == 1 else merged


def _join(parts: Sequence[Layout], offset: int) -> Layout:
    return Layout(tuple(n for p in parts for n in p.shape), tuple(s for p in parts for s in p.strides), offset)


def walk_arguments(shape: Shape) -> dict[str, Argument]:
    """WALK of walk.glsl."""
    _, *sizes = four(shape, 1)
    magic, shift = zip(*map(fast_div_words, sizes), strict=True)
    shifts = sum(bits << 8 * k for k, bits in enumerate(shift))
    return dict(zip(_WALK, (Layout.contiguous(shape).n_elements, *sizes, *magic, shifts), strict=True))


def four(t: Sequence[int], fill: int) -> tuple[int, ...]:
    """The last four entries of an axis list, missing ones in front."""
    return (fill,) * (AXES - len(t)) + tuple(t)


def fast_div_words(d: int) -> tuple[int, int]:
    """Magic and shift of common.glsl's fast_div."""
    shift = (d - 1).bit_length()
    return (2**32 * (2**shift - d) // d + 1) & 0xFFFFFFFF, shift
