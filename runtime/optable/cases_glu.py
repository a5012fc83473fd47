"""Cases of the op table: gated linear units on their way into a product."""

from ..ir.dtypes import DType
from .case import Case, Operand, uniform
from .views import one_inf, plain, rows_apart

SHAPES = ((1, 1, 1), (1, 33, 70), (5, 7, 64), (1, 40, 2048), (9, 12, 600), (2, 65, 4096), (32, 17, 96))  # rows, out, in


def _halves(n: int, k: int, side: int) -> Operand:
    """Gate or up out of one projection."""
    return Operand((n, 2 * k), view=lambda t: t.slice(1, side * k, (side + 1) * k), fill=uniform(-4, 4))


def _glu(what: str, w: Operand, gate: Operand, up: Operand, *residual: Operand, **attrs: str) -> Case:
    extra = ("residual",) * len(residual)
    named = f"{w.dtype.name}: {what}{', residual' if residual else ''}{''.join(f', {v}' for v in attrs.values())}"
    ins, options = (w, gate, up, *residual), {**attrs, **({"extra": extra} if extra else {})}
    return Case("glu_mul_mat", named, ins, options, strided_out=bool(residual), in_one=False)


def _cases() -> list[Case]:
    cases = []
    for i, (n, m, k) in enumerate(SHAPES):
        w, pair = Operand((m, k)), (_halves(n, k, 0), _halves(n, k, 1))
        cases += [_glu(f"{n} x {m} x {k}", w, *pair), _glu(f"{n} x {m} x {k}", w, *pair, rows_apart((n, m)))]
        cases.append(_glu(f"{n} x {m} x {k}", w, *pair, *([plain((n, m))] if i % 2 else []), activation="gelu"))
    for t in (t for t in DType if (t.is_quantised or t.name in ("F16", "BF16")) and not t.is_rare):
        k = 2 * t.block if t.is_quantised else 96
        cases.append(_glu("one row", Operand((33, k), t), _halves(1, k, 0), _halves(1, k, 1), plain((1, 33))))
        k = 4 * t.block if t.is_quantised else 1024
        cases.append(_glu("long rows", Operand((9, k), t), _halves(3, k, 0), _halves(3, k, 1), activation="gelu"))
    n, w = 12800, Operand((5, 12800), DType.Q4_0)
    cases.append(_glu("a row longer than what is held", w, _halves(1, n, 0), _halves(1, n, 1)))
    bad = Operand((3, 64), fill=one_inf)
    return [*cases, _glu("inf and NaN", Operand((20, 64), DType.Q8_0), bad, plain((3, 64)), rows_apart((3, 20)))]


CASES: tuple[Case, ...] = tuple(_cases())
