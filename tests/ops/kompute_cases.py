"""Of the op table what kompute runs, whose kernels are Vulkan's plainest: what it does with them is not for each its
own. Every test takes of these, so that the driver, which keeps what it compiled, compiles each shader once."""

from collections.abc import Sequence

from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.table import CASES

SPREAD = 3  # of an op's cases every so many


def spread(cases: Sequence[Case]) -> Sequence[Case]:
    return cases[::SPREAD]


USUAL = tuple(c for op in dict.fromkeys(c.op for c in CASES) for c in spread([c for c in CASES if c.op == op]))
