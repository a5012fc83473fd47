"""Cases of the op table: the projections of one input, and the residual norm."""

import numpy as np

from ..dtypes import DType
from ..layout import Shape
from .case import Case, Operand, values
from .views import VIEWS, broadcast, named, outer_cut, permuted, plain, rows_apart, stepped

WEIGHTS = tuple(t for t in DType if t is not DType.I32)


def _inner(dtype: DType) -> int:
    return 2 * dtype.block if dtype.is_quantised else 70


def _mats(what: str, x: Operand, *weights: Operand, strided_out: bool = False) -> Case:
    return Case("mul_mats", f"{weights[0].dtype.name}: {what}", (x, *weights), strided_out=strided_out)


def _mul_mats() -> list[Case]:
    cases = []
    for t in WEIGHTS:
        k = _inner(t)
        cases += [
            _mats("one row, two weights", plain((1, k)), Operand((33, k), t), Operand((7, k), t), strided_out=True),
            _mats("five rows, three weights", rows_apart((5, k)), *(Operand((m, k), t) for m in (65, 1, 31))),
        ]
    q8, first, last = DType.Q8_0, lambda w: w.slice(0, 3, 40), lambda w: w.slice(0, 1, 60, 2)
    return [
        *cases,
        _mats("rows of larger weights", plain((2, 96)), Operand((50, 96), q8, first), Operand((61, 96), q8, last)),
        _mats("float rows apart", rows_apart((3, 63)), rows_apart((9, 63)), outer_cut((12, 63)), plain((5, 63))),
        _mats("one row for all", broadcast((4, 64)), *(Operand((m, 64), q8) for m in (16, 16)), strided_out=True),
        _mats("eight rows", plain((8, 2048)), *(Operand((m, 2048), DType.Q4_0) for m in (40, 24, 8))),
        _mats("nine rows", plain((9, 256)), *(Operand((m, 256), q8) for m in (40, 24, 8))),
        _mats("twenty rows", rows_apart((20, 64)), *(Operand((m, 64), DType.Q4_0) for m in (33, 65)), strided_out=True),
        _mats("long rows", rows_apart((1, 4096)), *(Operand((m, 4096), DType.Q4_K) for m in (12, 9))),
        _mats("tiny", plain((1, 1)), plain((1, 1)), plain((3, 1)), plain((2, 1))),
        _mats("inf and NaN", Operand((3, 64), fill=_one_inf), *(Operand((m, 64), q8) for m in (20, 4))),
    ]


def _one_inf(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    made = np.ones(shape, np.float32)
    made[1, 3], made[-1, 0] = np.inf, np.nan
    return made


EDGE = values(0.0, -0.0, 1e-41, 3e-39, 1e-20, 1.5, float("inf"), float("-inf"), float("nan"), -2.0, 7.0)


def _norm(what: str, x: Operand, y: Operand, w: Operand, strided_out: bool = False) -> Case:
    return Case("add_rms_norm", what, (x, y, w), {"eps": 1e-6}, strided_out, 1e-11, 1e-5)


def _add_rms_norm() -> list[Case]:
    shapes = (1, 1), (1, 256), (7, 31), (33, 65), (3, 257), (2, 4099), (100, 63)
    cases = [_norm(named(s), plain(s), plain(s), plain(s[1:])) for s in shapes]
    for name, make in VIEWS.items():
        cases += [
            _norm(f"{name} x", make((9, 100)), plain((9, 100)), plain((100,)), True),
            _norm(f"{name} y", rows_apart((5, 33)), make((5, 33)), stepped((33,))),
        ]
    return [
        *cases,
        _norm("edges", Operand((11, 7), fill=EDGE), plain((11, 7)), plain((7,))),
        _norm("zeros", Operand((3, 8), fill=values(0.0)), Operand((3, 8), fill=values(0.0)), plain((8,)), True),
        _norm("both transposed", permuted((12, 40)), permuted((12, 40)), plain((40,))),
    ]


CASES: tuple[Case, ...] = (*_mul_mats(), *_add_rms_norm())
