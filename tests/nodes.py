"""The op table's nodes where nothing runs them: to draw what all operands hold takes many times as long."""

from dataclasses import replace

import numpy as np
from vkrun.runtime.optable.case import Case, Operand
from vkrun.runtime.optable.run import Setting, prepare


class Empty(Operand):
    """An operand of which only its view is asked."""

    def data(self, rng: np.random.Generator) -> np.ndarray:
        return np.zeros(0)


def bare(case: Case) -> Setting:
    """The case's setting with nothing in what its op reads."""
    return prepare(replace(case, operands=tuple(Empty(**vars(o)) for o in case.operands)))
