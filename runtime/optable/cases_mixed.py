"""Cases of the op table: products of one input with weights of two types, in the mixes of llama.cpp's files."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

from ..ir.dtypes import DType
from .case import Case, Operand
from .cases_recurrent import BATCHES, projected
from .views import one_inf, plain, rows_apart

Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_0 = (DType[name] for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"))
MORE_BITS = ((Q2_K, Q3_K), (Q2_K, Q4_K), (Q3_K, Q4_K), (Q3_K, Q5_K), (Q4_K, Q5_K), (Q4_K, Q6_K), (Q5_K, Q6_K))
OF_EIGHT = tuple((t, Q8_0) for t in (Q2_K, Q3_K, Q4_K, Q5_K, Q6_K))
JOINED_FIRST = ((Q4_K, Q3_K), (Q5_K, Q4_K), (Q6_K, Q5_K))
MIXES = (*MORE_BITS, *OF_EIGHT, *JOINED_FIRST)


def _mixed(what: str, x: Operand, *weights: Operand, strided_out: bool = False) -> Case:
    name = f"{', '.join(w.dtype.name for w in weights)}: {what}"
    return Case("mul_mats", name, (x, *weights), strided_out=strided_out, in_one=False)


def _normed(case: Case) -> Case:
    """The same with a norm before."""
    x, *weights = case.operands
    operands = x, plain((weights[0].shape[-1],)), *weights
    return replace(case, op="norm_mul_mats", operands=operands, attrs={"eps": 1e-6})


def _mats() -> Iterator[Case]:
    for a, b in MIXES:
        yield _mixed("a row", rows_apart((1, 512)), Operand((65, 512), a), Operand((33, 512), b), strided_out=True)
        yield _mixed("four rows", plain((4, 256)), *(Operand((m, 256), t) for m, t in ((40, a), (1, b), (31, b))))
    a, b = Q4_K, Q6_K
    three = Operand((40, 256), a), Operand((24, 256), a), Operand((9, 256), b)
    yield _mixed("two and one", rows_apart((3, 256)), *three)
    yield _mixed("two and one of twenty rows", rows_apart((20, 256)), *three, strided_out=True)
    yield _mixed("inf and NaN", Operand((3, 256), fill=one_inf), *three)
    yield _mixed("rows longer than what is held", plain((1, 12800)), Operand((3, 12800), a), Operand((2, 12800), b))
    # more tiles than workgroups: one of them meets both types
    yield _mixed("many rows", plain((1, 256)), Operand((9000, 256), a), Operand((700, 256), b))


def _convolved() -> Iterator[Case]:
    for mix in JOINED_FIRST:
        case = projected(BATCHES[1], mix[0], 512, plain, 65, 9, 5)
        kept, types = case.operands[:6], cycle((mix[0], mix[1], mix[1]))
        weights = (replace(w, dtype=t) for w, t in zip(case.operands[6:], types, strict=False))
        yield replace(case, what=f"{mix[0].name} and {mix[1].name}: {case.what}", operands=(*kept, *weights))


CASES: tuple[Case, ...] = (*_mats(), *map(_normed, _mats()), *_convolved())
