"""What the judges hear: the op table's cases of an op, and some of ops that no backend is asked for as a whole."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.optable.case import Case, Operand, uniform
from vkrun.runtime.optable.table import CASES

from .trial import Trial, opened


def _moe_ffn(what: str, n: int, width: int, hidden: tuple[int, int], n_experts: int, k: int, dtype: DType) -> Case:
    """hidden: of an expert, of the shared one."""
    experts = ((n_experts, hidden[0], width),) * 2 + ((n_experts, width, hidden[0]),)
    shared = ((hidden[1], width),) * 2 + ((width, hidden[1]), (1, width))
    weights = (Operand(shape, dtype) for shape in (*experts, *shared[:3]))
    operands = (Operand((n, width)), Operand((n, n_experts)), *weights, Operand(shared[3]))
    return Case("moe_ffn", what, operands, {"k": k, "extra": SHARED})


def _moe_ways(n: int, width: int, hidden: int, n_experts: int, k: int) -> Iterator[Case]:
    """What families vary."""
    first = ((n, width), (n, n_experts), *((n_experts, hidden, width),) * 2, (n_experts, width, hidden))
    shapes = {"bias": (n_experts,), "gate_bias": (n_experts, hidden), "up_bias": (n_experts, hidden)}
    shapes |= {"down_bias": (n_experts, width), "factors": (n_experts,), "shared_in": (1, width)}
    shapes |= dict.fromkeys(SHARED[:2], (5, width)) | {"shared_down": (width, 5)}
    for way in MOE_WAYS:
        named = tuple(Operand(shapes[name], fill=uniform(-1, 1)) for name in way.get("extra", ()))
        yield Case("moe_ffn", f"{way}", (*map(Operand, first), *named), {"k": k, **way})


SHARED = ("shared_gate", "shared_up", "shared_down", "shared_in")
MOE_WAYS: tuple[dict, ...] = (
    {"score": "sigmoid", "extra": ("bias",), "scale": 2.5, "n_groups": 3, "n_groups_used": 2},
    {"score": "sigmoid", "normalise": False, "extra": SHARED[:3]},
    {"normalise": False, "activation": "gelu", "extra": ("factors",)},
    {"activation": "clamped", "extra": ("gate_bias", "up_bias", "down_bias")},
    {"extra": (*SHARED, "bias"), "scale": 0.5},
)
OWN = (
    *_moe_ways(4, 6, 7, 9, 3),
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
