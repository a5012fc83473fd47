"""What the judges hear: the op table's cases of an op, and some of ops that no backend is asked for as a whole."""

from functools import lru_cache

import numpy as np
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.optable.case import Case, Operand
from vkrun.runtime.optable.table import CASES

from .trial import Trial, opened


def _moe_ffn(what: str, n: int, width: int, hidden: tuple[int, int], n_experts: int, k: int, dtype: DType) -> Case:
    """hidden: of an expert, of the shared one."""
    experts = ((n_experts, hidden[0], width),) * 2 + ((n_experts, width, hidden[0]),)
    shared = ((hidden[1], width),) * 2 + ((width, hidden[1]), (1, width))
    weights = (Operand(shape, dtype) for shape in (*experts, *shared[:3]))
    operands = (Operand((n, width)), Operand((n_experts, width)), *weights, Operand(shared[3]))
    return Case("moe_ffn", what, operands, {"k": k})


OWN = (
    _moe_ffn("one token", 1, 8, (3, 5), 4, 2, DType.F32),
    _moe_ffn("every expert", 3, 7, (5, 4), 3, 3, DType.F16),
    _moe_ffn("blocks", 5, 64, (32, 96), 9, 4, DType.Q8_0),
)


@lru_cache(maxsize=1)
def trials(op: str) -> tuple[Trial, ...]:
    """All of an op, the smallest first."""
    cases = sorted((c for c in (*CASES, *OWN) if c.op == op), key=_size)
    return tuple(opened(c) for c in cases)


def _size(case: Case) -> int:
    return sum(int(np.prod(o.shape)) for o in case.operands)
