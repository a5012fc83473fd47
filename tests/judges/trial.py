"""A case of the op table on trial: what the reference makes of it, held against the judge of its op."""

from dataclasses import dataclass, replace

import numpy as np
from vkrun.backends.cpu import BACKEND as CPU
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.tensor import Tensor
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import Setting, execute, prepare

from .judge import Array, Judge
from .numbers import elements, numbers, rounded
from .table import JUDGES

REFERENCE = CPU.open(CPU.devices()[0])
HALVES = 2.0**-11  # what rounding to F16 may move a number by, as a part of itself
CODES = 1.01 / 127  # what another code in Q8_0 does, as a part of a row's largest
SMALLEST = 2.0**-149  # of float32: what a number near 0 may be off by


@dataclass(frozen=True)
class Trial:
    """A case made concrete, and its outputs as the judge says."""

    case: Case
    setting: Setting
    wanted: tuple[Array, ...]

    @property
    def inputs(self) -> tuple[Array, ...]:
        return tuple(_view(t, self.setting.contents[t.storage]) for t in self.setting.node.inputs)

    def verdict(self) -> str:
        """Where the reference is wrong; empty where it agrees."""
        got, judge = execute(self.setting, REFERENCE), JUDGES[self.case.op]
        for i, (t, wanted) in enumerate(zip(self.setting.node.outputs, self.wanted, strict=True)):
            found = _view(t, got[t.storage])
            if why := self._spilt(t, got[t.storage]) or _differs(found, wanted, _after_rounding(judge, t)):
                return f"output {i}: {why}"
        return ""

    def _spilt(self, t: Tensor, content: Array) -> str:
        contents = self.setting.contents[t.storage], content
        if t.dtype.is_quantised:
            contents = tuple(numbers(x, t.dtype) for x in contents)
        around = np.ones(contents[0].size, bool)
        around[elements(t.layout)] = False
        before, after = (x.reshape(-1)[around].tobytes() for x in contents)
        return "" if before == after else "wrote outside of the output"


def opened(case: Case) -> Trial:
    """Lets the judge speak."""
    setting = prepare(case)
    inputs = [_view(t, setting.contents[t.storage]) for t in setting.node.inputs]
    with np.errstate(all="ignore"):  # inf and NaN are data
        outputs = JUDGES[case.op].outputs(*inputs, **case.attrs)
        held = [_held(x, t, setting) for x, t in zip(outputs, setting.node.outputs, strict=True)]
    return Trial(case, setting, tuple(held))


def _held(wanted: Array, t: Tensor, setting: Setting) -> Array:
    """As the output's dtype holds it, unless that is what the limit allows for; of blocks, rows that were written."""
    judge = JUDGES[setting.node.op]
    if t.dtype is DType.F16 and _after_rounding(judge, t) is not judge:
        return wanted
    if not t.dtype.is_quantised:
        return rounded(wanted, t.dtype)
    before = _view(t, setting.contents[t.storage])
    return np.where((wanted != before).any(-1, keepdims=True), rounded(wanted, t.dtype), before)


def _after_rounding(judge: Judge, t: Tensor) -> Judge:
    """Of numbers that are right to more than a type shows, which side of a tie they are rounded to is anyone's."""
    step = {DType.F16: HALVES, DType.Q8_0: CODES}.get(t.dtype, 0.0)
    return replace(judge, limit=judge.limit + step) if 0 < judge.limit < step else judge


def _view(t: Tensor, content: Array) -> Array:
    return numbers(content, t.dtype)[elements(t.layout)]


def _differs(got: Array, wanted: Array, judge: Judge) -> str:
    if got.shape != wanted.shape:
        return f"shape {got.shape}, the judge's has {wanted.shape}"
    for name, test in (("NaN", np.isnan), ("inf", np.isposinf), ("-inf", np.isneginf)):
        if not np.array_equal(test(got), test(wanted)):
            return f"{name} in other places: {test(got).sum()}, expected {test(wanted).sum()}"
    finite = np.isfinite(wanted)
    got, wanted = (np.where(finite, x, 0) for x in (got, wanted))
    if judge.limit == 0 and not np.array_equal(np.signbit(got), np.signbit(wanted)):
        return "zeros of the other sign"
    size = np.abs(wanted) if judge.each or not wanted.ndim else np.abs(wanted).max(-1, keepdims=True, initial=0)
    error = np.abs(got - wanted) - SMALLEST * (judge.limit > 0)
    worst = (error / np.maximum(size, SMALLEST)).max(initial=0)
    return "" if worst <= judge.limit else f"error {worst:.1e} of {judge.limit:.0e}"
