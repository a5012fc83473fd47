"""Cases of the op table: a projection of one token a sequence, convolved; of many sequences, as matrices take them."""

from collections.abc import Iterator

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from .case import Case, Fill, Operand, normal
from .cases_prompts import BEYOND
from .cases_recurrent import BATCHES, Batch, projected
from .views import Make, one_inf, outer_cut, permuted, plain, rows_apart

F32, F16, BF16, Q4_0, Q8_0, Q4_K, Q6_K = (DType[t] for t in ("F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q6_K"))


def _alone(case: Case) -> Case:
    """The convolved projection without its norm and those beside it."""
    x, _norm, conv, state, slots, tails, w, *_ = case.operands
    operands = w, x, conv, state, slots, tails
    return Case("mul_mat_conv", case.what, operands, {}, case.strided_out, in_one=False)


def _few() -> Iterator[Case]:
    """Which all devices run in parts."""
    for t in (F32, F16, BF16, Q4_0, Q8_0):
        yield _alone(projected(BATCHES[1], t, 64, plain, 65))
    for t, make in ((F32, rows_apart), (Q8_0, permuted)):
        yield _alone(projected(BATCHES[2], t, 64, make, 33))
        yield _alone(projected(BATCHES[0], t, 96, make, 7))


def _shuffled(n: int, n_slots: int) -> Batch:
    """n sequences in slots in no order, one in none, some without a token that counts."""
    slots = np.random.default_rng(n).permutation(np.arange(1, n_slots))[:n]
    slots[n // 2] = -1
    return Batch(1, tuple(int(i % 4 != 2) for i in range(n)), tuple(slots.tolist()), n_slots)


def _as_products(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Inputs of before, about as large as products."""
    return 30 * normal(rng, shape)


def _many(
    n: int, t: DType, m: int, k: int, what: str = "", make: Make = plain, strided: bool = False, fill: Fill = normal
) -> Case:
    batch = _shuffled(n, n + 3)
    _, _, conv, _, slots, tails, _ = projected(batch, t, k, plain, m).operands
    w, x = Operand((m, k), t), Operand((n, k + 8), view=lambda x: x.slice(1, 4, k + 4), fill=fill)
    operands = w, x, conv, make((batch.n_slots, 3 * m), fill=_as_products), slots, tails
    named = f"{t.name}: {n} columns of {k}, {m} rows{what}"
    return Case("mul_mat_conv", named, operands, {}, strided, in_one=False).in_halves()


def _by_matrices() -> Iterator[Case]:
    yield _many(5, Q4_0, 4101, 1024, strided=True)
    yield _many(8, Q4_K, 1030, 2048, make=rows_apart)
    yield _many(8, F16, 8200, 256)
    yield _many(9, Q8_0, 1030, 2048, make=outer_cut, strided=True)
    yield _many(16, Q4_0, 1050, 1024)
    yield _many(16, F16, 530, 2048, strided=True)
    yield _many(17, Q4_K, 1030, 1024)
    yield _many(32, Q8_0, 515, 1056)
    yield _many(32, BF16, 1030, 512)
    for t in (Q4_0, F16):
        yield _many(9, t, 15361, 128, " in one team", strided=True)
    yield _many(16, Q6_K, 1050, 1024, ", inf and NaN", fill=one_inf)
    yield _many(8, Q4_0, 1030, 2048, ", x beyond halves", fill=BEYOND)
    yield _many(9, F32, 1030, 2048, " in parts")


CASES: tuple[Case, ...] = (*_few(), *_by_matrices())
