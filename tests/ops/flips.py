"""Cases of the op table with one thing about one operand changed: its dtype, strides, offset or size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
from vkrun.backends.base import Device
from vkrun.runtime.errors import GraphError, LayoutError, UsageError
from vkrun.runtime.ir.arrays import elements_of
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.layout import Shape
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.runtime.optable.case import Case, Operand, normal
from vkrun.runtime.optable.run import Setting, prepare
from vkrun.runtime.optable.table import cases_for
from vkrun.runtime.optable.views import STRIDED, Make, plain
from vkrun.tests.nodes import bare

PLAIN_TYPES = (DType.F32, DType.F16, DType.BF16, DType.I32)
SIZES = (0, 1, 7, 33)
OF_TWO_AXES = ("permuted", "outer permuted")
FILL = 1000  # what output storages hold before: below it


@dataclass(frozen=True)
class Flip:
    """A case and what was changed; `output` is the change of one output: its number, dtype and way to view."""

    case: Case
    what: str
    output: tuple[int, DType | None, str] | None = None

    def setting(self, make: Callable[[Case], Setting] = prepare) -> Setting | None:
        """None where the op itself refuses such operands."""
        try:
            setting = make(self.case)
        except (GraphError, LayoutError, UsageError):  # no such node, or no such tensor of blocks
            return None
        return _with_output(setting, *self.output) if self.output else setting

    def is_taken(self, device: Device) -> bool:
        """By both the op and the device, for which nothing is drawn."""
        try:
            return bool((setting := self.setting(bare)) and not device.supports(setting.node))
        except UsageError:  # no such tensor of blocks, of which a setting makes none
            return False


def cases_to_flip(op: str, device: Device) -> list[Case]:
    """Cases to start from, of those that the device takes: one with axes longer than 1, whose strides say something,
    then plain, then small; and one that is middling in all this. None of an op that it leaves to others."""
    cases = (c for c in cases_for(device.info.is_software) if c.op == op)
    listed = sorted((c for c in cases if not device.supports(bare(c).node)), key=_wish)
    return [listed[0], listed[len(listed) // 2]] if listed else []


def _wish(case: Case) -> tuple[bool, int, bool, int]:
    shapes = [t.shape for t in bare(case).node.inputs]
    short = sum(n == 1 for s in shapes for n in s)
    return any(0 in s for s in shapes), short, not case.plain, sum(prod(s) for s in shapes)


def flips_of(case: Case) -> Iterator[Flip]:
    setting = prepare(case)
    given = [Given(o, t, setting.contents[t.storage]) for o, t in zip(case.operands, setting.node.inputs, strict=True)]
    written = {t.storage for t in setting.node.outputs}
    places = any(o.differ() for o in given)  # beyond the state it would read what another writes
    states = {i for i, o in enumerate(given) if places and o.view.storage in written}
    yield Flip(case, "as it is")
    for i, operand in enumerate(given):
        for what, changed in operand.changed():
            if what == "broadcast" and i in case.kept:
                continue
            yield Flip(_with(case, given, {i: changed}), f"input {i}: {what}")
        for axis, size in product(range(operand.view.ndim), SIZES):
            if (changed := operand.resized(axis, size)) and not (i in states and size < operand.view.shape[axis]):
                yield Flip(_with(case, given, {i: changed}), f"input {i}: {size} on axis {axis}")
    for old, size in product(sorted({n for o in given for n in o.view.shape}), SIZES):
        alike = [o.with_shape(tuple(size if n == old else n for n in o.view.shape)) for o in given]
        if all(alike) and not any(size < old and old in given[i].view.shape for i in states):
            yield Flip(replace(case, operands=tuple(alike)), f"{size} for each {old}")
    for i, t in enumerate(setting.node.outputs):
        if t.storage.name == "out":
            yield from (Flip(case, f"output {i}: {d.name}", (i, d, "plain")) for d in PLAIN_TYPES if d is not t.dtype)
            views = (v for v in STRIDED if t.ndim > 1 or v not in OF_TWO_AXES)
            yield from (Flip(case, f"output {i}: {view}", (i, None, view)) for view in views)


@dataclass(frozen=True)
class Given:
    """A case's operand with the view and the content that it came to."""

    operand: Operand
    view: Tensor
    content: np.ndarray

    def values(self) -> np.ndarray:
        """What the view shows."""
        return elements_of(self.content.reshape(-1), self.view.layout).copy()

    def with_shape(self, shape: Shape) -> Operand | None:
        """Values of the same kind in another shape; None where there are none, as of slots, which must differ."""
        own, rng = self.operand, np.random.default_rng(0)
        try:
            if own.dtype.is_quantised or own.fill(rng, shape).shape == shape:
                return Operand(shape, own.dtype, fill=own.fill, cached=own.cached)
        except (ValueError, IndexError):  # values that are what they are
            pass
        return self._placed(plain, shape, own.dtype) if prod(shape) <= self.view.layout.n_elements else None

    def resized(self, axis: int, size: int) -> Operand | None:
        shape = self.view.shape
        return self.with_shape((*shape[:axis], size, *shape[axis + 1 :]))

    def changed(self) -> Iterator[tuple[str, Operand]]:
        """Other dtypes, then other strides and offsets."""
        shape, own = self.view.shape, self.operand.dtype
        others = (*PLAIN_TYPES, *([DType.Q8_0] if shape and shape[-1] % DType.Q8_0.block == 0 else []))
        yield from ((dtype.name, self._placed(plain, shape, dtype)) for dtype in others if dtype is not own)
        for name, make in STRIDED.items():
            if (len(shape) > 1 or name not in OF_TWO_AXES) and not (name == "broadcast" and self.differ()):
                yield name, self._placed(make, shape, own)

    def _placed(self, make: Make, shape: Shape, dtype: DType) -> Operand:
        """The values under a view; around them stand some of the same values."""
        made = make(shape, dtype)
        if self.operand.dtype.is_quantised or dtype.is_quantised:
            return replace(made, cached=self.operand.cached)
        old, layout = self.values(), made.view(Storage("", Kind.STATE, dtype, made.shape).tensor()).layout

        def fill(rng: np.random.Generator, whole: Shape) -> np.ndarray:
            flat = rng.choice(old.reshape(-1), prod(whole)) if old.size else np.zeros(prod(whole), old.dtype)
            elements_of(flat, layout)[...] = np.resize(old, shape)
            return flat.reshape(whole)

        return replace(made, fill=fill)

    def differ(self) -> bool:
        """Are these numbers of places, each another one?"""
        old = self.values()
        return self.operand.dtype is DType.I32 and 1 < old.size == len(np.unique(old))


def _with(case: Case, given: list[Given], changed: dict[int, Operand]) -> Case:
    return replace(case, operands=tuple(changed.get(i, o.operand) for i, o in enumerate(given)))


def _with_output(setting: Setting, index: int, dtype: DType | None, view: str) -> Setting:
    old = setting.node.outputs[index]
    made = _output(old.shape, dtype or old.dtype, view)
    outputs = (*setting.node.outputs[:index], made, *setting.node.outputs[index + 1 :])
    node = replace(setting.node, outputs=outputs)
    before = np.random.default_rng(1).integers(1, FILL, made.storage.shape).astype(made.dtype.numpy)
    contents = {s: data for s, data in setting.contents.items() if s is not old.storage} | {made.storage: before}
    return Setting(node, setting.graph.replaced([node]), contents)


def _output(shape: Shape, dtype: DType, view: str) -> Tensor:
    operand = STRIDED[view](shape, dtype, normal) if view in STRIDED else Operand(shape, dtype)
    return operand.view(Storage("out", Kind.STATE, dtype, operand.shape).tensor())
