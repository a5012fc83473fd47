"""Cases of the op table: products with one weight, with experts by id, with several weights of one input."""

from itertools import product

from ..ir.dtypes import DType
from .case import Case, Operand, integers, uniform, values
from .views import broadcast, flat_offset, one_inf, outer_cut, plain, rows_apart, swapped, transpose

F32, F16, BF16, I32 = DType.F32, DType.F16, DType.BF16, DType.I32
BLOCKS = tuple(t for t in DType if t.is_quantised)
WEIGHTS = (F32, F16, BF16, *BLOCKS)
FEW_OF_EXPERTS = (1, 1), (1, 3), (2, 1), (8, 3), (23, 1), (23, 3)  # tokens, and columns of each for three experts
K_QUANTS = tuple(t for t in BLOCKS if t.block == 256)


def _inner(dtype: DType, n_blocks: int, plain: int) -> int:
    """A row length for any type: so many blocks, or `plain` numbers."""
    return n_blocks * dtype.block if dtype.is_quantised else plain


def _mm(what: str, w: Operand, x: Operand, strided_out: bool = False, nmse: float = 1e-10) -> Case:
    return Case("mul_mat", f"{w.dtype.name}: {what}", (w, x), strided_out=strided_out, nmse=nmse, row=1e-4)


def _columns(dtype: DType, n: int) -> Operand:
    """x [n, k] cut out of wider rows, one element in."""
    k = _inner(dtype, 3, 100)
    return Operand((n, k + 9), view=lambda t: t.slice(1, 1, 1 + k))


def _mul_mat() -> list[Case]:
    cases = [case for t in WEIGHTS for case in _typed(t)]
    for m, n, k in (
        (1, 1, 1),
        (1, 7, 31),
        (7, 1, 33),
        (31, 3, 7),
        (257, 9, 65),
        (63, 33, 63),
        (64, 64, 64),
        (3, 257, 2),
    ):
        cases += [_mm(f"{m} x {n} x {k}", Operand((m, k), t), Operand((n, k))) for t in (F32, F16, BF16)]
    return cases


def _typed(t: DType) -> list[Case]:
    """Of one type of weights."""
    k = _inner(t, 3, 100)
    some = [
        _mm("5 columns, offset rows", Operand((65, k), t), _columns(t, 5), strided_out=True),
        _mm("70 columns, offset rows", Operand((130, k), t), _columns(t, 70)),
    ]
    if t.is_rare:
        return some
    return [
        *some,
        _mm("vector", Operand((33, k), t), Operand((1, k))),
        _mm("20 columns", Operand((37, k), t), _columns(t, 20), strided_out=True),
        _mm("rows 3 to 60", Operand((70, k), t, lambda w: w.slice(0, 3, 60)), Operand((2, k)), strided_out=True),
        _mm(
            "every second row, grouped heads",
            Operand((2, 62, k), t, lambda w: w.slice(1, 0, 62, 2)),
            Operand((3, 6, k), view=lambda x: x.permute(1, 0, 2)),
        ),
    ]


def _caches() -> list[Case]:
    """Caches as weights."""
    k = 48
    heads = Operand((2, 5, 8, k), view=lambda t: t.permute(0, 2, 1, 3))  # [2, 8, 5, k]
    cache = Operand((2, 70, 2, k), view=lambda t: t.slice(1, 0, 57).permute(0, 2, 1, 3))  # [2, 2, 57, k]
    values_t = Operand((2, 57, 2, 24), view=lambda t: t.permute(0, 2, 3, 1))  # [2, 2, 24, 57]
    half = Operand((70, 2, k), F16, lambda t: t.slice(0, 7, 57).permute(1, 0, 2))
    odd = Operand((40, 67), F16, lambda t: t.slice(1, 3, 66))
    return [
        _mm("keys of a cache by grouped queries", cache, heads),
        _mm("two batch axes, both grouped", Operand((2, 3, 31, 40)), Operand((4, 6, 5, 40))),
        _mm("keys, one query a head", cache, Operand((2, 8, 1, k))),
        _mm("keys, one query a head, permuted", cache, Operand((2, 1, 8, k), view=lambda t: t.permute(0, 2, 1, 3))),
        _mm("values transposed", values_t, Operand((2, 8, 5, 57)), strided_out=True),
        _mm("values transposed, one query", values_t, Operand((2, 8, 1, 60), view=lambda t: t.slice(3, 2, 59))),
        _mm("half keys of a slot", half, Operand((2, 4, k))),
        _mm("half rows at odd offsets", odd, Operand((5, 63)), strided_out=True),
    ]


def _mul_mat_views() -> list[Case]:
    """Activations as weights, batches, broadcasts."""
    return [
        _mm("both transposed", swapped(3, 33, 17), swapped(3, 9, 17)),
        _mm("w transposed, x whole", swapped(2, 64, 64), Operand((2, 64, 64))),
        _mm("x transposed, w whole", Operand((2, 64, 64)), swapped(2, 64, 64)),
        _mm("large transposed", swapped(2, 128, 96), swapped(2, 70, 96), strided_out=True),
        _mm("half transposed", Operand((33, 65), F16, lambda t: t.permute(1, 0)), Operand((3, 33))),
        _mm("x one row for all", Operand((31, 40)), Operand((1, 40), view=lambda t: t.broadcast_to(12, 40))),
        _mm("x every third number", Operand((31, 40), BF16), Operand((6, 120), view=lambda t: t.slice(1, 1, 119, 3))),
        _mm("block weights, x transposed", Operand((40, 64), DType.Q8_0), swapped(11, 64)),
        _mm("block weights, x strided", Operand((40, 256), DType.Q6_K), Operand((3, 512), view=_every_other)),
        _mm("batch in one weight", Operand((40, 64), DType.Q4_0), Operand((3, 4, 2, 64))),
        _mm("permuted batch in one weight", Operand((40, 64), DType.Q4_0), _outer_swapped),
        _mm("a slot at a time", Operand((40, 64), DType.Q8_0), Operand((4, 3, 64), view=lambda t: t.slice(1, 1, 2))),
        _mm("slots of two tokens", Operand((40, 64), F32), Operand((4, 3, 64), view=lambda t: t.slice(1, 1, 3))),
        _mm("a weight's heads", Operand((4, 3, 32, 64), DType.Q5_1, lambda t: t.select(1, 2)), Operand((8, 3, 64))),
        _mm("long rows", Operand((9, 4096), DType.Q4_K), _columns_of(3, 4096)),
        *(_mm("many long rows", Operand((4100, 2304), t), _columns_of(1, 2304)) for t in (DType.Q4_K, DType.Q6_K)),
        _mm("rows longer than what is held", Operand((5, 12800), DType.Q4_0), Operand((1, 12800))),
        _mm("long float rows", Operand((9, 4099)), Operand((3, 4099)), nmse=1e-9),
    ]


def _every_other(t):
    return t.slice(1, 0, 512, 2)


def _columns_of(n: int, k: int) -> Operand:
    return Operand((n, 2 * k), view=lambda t: t.slice(1, k, 2 * k))


_outer_swapped = Operand((2, 4, 3, 64), view=lambda t: t.permute(2, 1, 0, 3))

EDGE = values(0.0, -0.0, 1e-41, 3e-39, 1e-20, -1e20, 1.5, float("inf"), float("-inf"), float("nan"), -2.0)
SMALL = values(5.9604645e-08, -5.9604645e-08, 6.1e-05, -3e-06, 0.0, 1.0, -65504.0)


def _edges() -> list[Case]:
    positive = uniform(0.1, 1)
    cases = [
        _mm("half denormals", Operand((13, 42), F16, fill=SMALL), Operand((3, 42), fill=positive)),
        _mm("zeros", Operand((13, 42), fill=values(0.0, -0.0)), Operand((3, 42))),
        _mm("w edges", Operand((13, 11), F32, fill=EDGE), Operand((3, 11), fill=positive)),
        _mm(
            "w half edges",
            Operand((13, 11), F16, fill=values(1.0, float("inf"), -2.0)),
            Operand((3, 11), fill=positive),
        ),
    ]
    for t in (F32, F16, BF16, DType.Q8_0, DType.Q4_K):
        k = _inner(t, 2, 72)
        x = Operand((5, k), fill=one_inf)
        cases.append(_mm("inf and NaN stay in their columns", Operand((40, k), t), x))
        x = Operand((40, k + 4), fill=one_inf, view=lambda v, k=k: v.slice(1, 0, k))
        cases.append(_mm("inf and NaN among many columns", Operand((70, k), t), x, strided_out=True))
    return cases


def _id(what: str, w: Operand, x: Operand, ids: Operand, strided_out: bool = False) -> Case:
    return Case("mul_mat_id", f"{w.dtype.name}: {what}", (w, x, ids), strided_out=strided_out)


def _ids(n: int, k: int, low: int = 0, high: int = 6) -> Operand:
    """The first k of k + 3 ranked ids a token, as top-k of a router gives them."""
    return Operand((n, k + 3), I32, lambda t: t.slice(1, 0, k), integers(low, high))


def _mul_mat_id() -> list[Case]:
    cases = []
    for t in WEIGHTS:
        k = _inner(t, 2, 72)
        w = Operand((6, 40, k), t)
        cases += [
            _id("one token", w, Operand((1, 1, k)), _ids(1, 4)),
            _id("40 tokens", Operand((6, 67, k), t), Operand((40, 1, k + 5), view=_cut(k)), _ids(40, 3), True),
        ]
        if not t.is_rare:
            cases.append(_id("9 tokens, a row a slot", w, Operand((9, 2, k)), _ids(9, 2)))
    for t in (F32, F16, DType.Q4_0, DType.Q4_K):
        cases.append(_id("long rows", Operand((6, 40, 1024), t), Operand((3, 1, 1024)), _ids(3, 2), True))
    w = Operand((2, 9, 12800), DType.Q4_0)
    cases.append(_id("rows longer than what is held", w, Operand((1, 1, 12800)), _ids(1, 2, 0, 2)))
    return [*cases, *_few_of_experts(), *_mul_mat_id_views()]


def _few_of_experts() -> list[Case]:
    """Of tokens so few that GPUs take experts' rows for each, rows longer than a subgroup's."""
    cases = []
    for t, (n, slots) in product((DType.MXFP4, DType.Q8_0, DType.Q4_K, DType.Q6_K, F16, F32), FEW_OF_EXPERTS):
        k = 768 if t in K_QUANTS else 1056
        what = f"{n} tokens, {'a column' if slots == 1 else 'columns'} of {k} each"
        x = Operand((n, slots, k + 5), view=_cut(k)) if n == 2 else Operand((n, slots, k))
        cases.append(_id(what, Operand((5, 37, k), t), x, _ids(n, 3, -1, 7), n == 8))
    return cases


def _mul_mat_id_views() -> list[Case]:
    q8, k = Operand((6, 33, 64), DType.Q8_0), 63
    some = Operand((6, 33, 64), DType.Q4_0, lambda t: t.slice(0, 2, 5))
    gate, up = (
        Operand((6, 66, 64), dtype, lambda t, low=low: t.slice(1, low, low + 33))
        for dtype, low in ((DType.Q4_0, 0), (DType.Q8_0, 33))
    )
    return [
        _id("ids out of range", q8, Operand((20, 1, 64)), _ids(20, 3, -5, 12)),
        _id("all ids alike", q8, Operand((70, 1, 64)), Operand((70, 2), I32, fill=values(2))),
        _id("ids of slots permuted", q8, Operand((7, 1, 64)), Operand((3, 7), I32, transpose, integers(0, 6))),
        _id("experts 2 to 5", some, Operand((7, 1, 64)), _ids(7, 2, 0, 3)),
        _id("gate rows of merged", gate, Operand((12, 1, 64)), _ids(12, 2)),
        _id("up rows of merged", up, Operand((65, 1, 64)), _ids(65, 2)),
        _id("x by slots, permuted", q8, Operand((2, 31, 64), view=lambda t: t.permute(1, 0, 2)), _ids(31, 2)),
        _id("x transposed", q8, Operand((31, 64, 2), view=lambda t: t.permute(0, 2, 1)), _ids(31, 2), True),
        _id("w transposed", Operand((6, k, 33), view=lambda t: t.permute(0, 2, 1)), Operand((9, 1, k)), _ids(9, 2)),
        _id("odd rows", Operand((6, 31, k), F16), Operand((65, 2, k)), _ids(65, 2)),
        _id("one expert", Operand((1, 31, k)), Operand((5, 1, k)), _ids(5, 2, 0, 1)),
        _id("64 experts", Operand((64, 20, 32), DType.Q4_0), Operand((50, 1, 32)), _ids(50, 8, 0, 64)),
        _id("inf and NaN", q8, Operand((12, 1, 64), fill=one_inf), _ids(12, 2)),
        _id("many inf and NaN", q8, Operand((90, 1, 64), fill=one_inf), _ids(90, 3)),
    ]


def _cut(k: int):
    return lambda t: t.slice(t.ndim - 1, 3, 3 + k)


def _mats_inner(dtype: DType) -> int:
    return 2 * dtype.block if dtype.is_quantised else 70


def _mats(what: str, x: Operand, *weights: Operand, strided_out: bool = False) -> Case:
    return Case("mul_mats", f"{weights[0].dtype.name}: {what}", (x, *weights), strided_out=strided_out)


def _mul_mats() -> list[Case]:
    cases = []
    for t in WEIGHTS:
        k = _mats_inner(t)
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
        _mats("long float rows", rows_apart((1, 1056)), *(Operand((m, 1056), F16) for m in (12, 9))),
        _mats("rows longer than what is held", plain((1, 12800)), *(Operand((m, 12800), DType.Q4_0) for m in (3, 2))),
        _mats("tiny", plain((1, 1)), plain((1, 1)), plain((3, 1)), plain((2, 1))),
        _mats("inf and NaN", Operand((3, 64), fill=one_inf), *(Operand((m, 64), q8) for m in (20, 4))),
    ]


def _normed(what: str, x: Operand, norm: Operand, *weights: Operand, strided_out: bool = False) -> Case:
    name = f"{weights[0].dtype.name}: {what}"
    return Case("norm_mul_mats", name, (x, norm, *weights), {"eps": 1e-6}, strided_out=strided_out, in_one=False)


def _norm_mul_mats() -> list[Case]:
    cases = []
    for t in WEIGHTS:
        k = _mats_inner(t)
        cases += [
            _normed("a row", plain((1, k)), plain((k,)), *(Operand((m, k), t) for m in (33, 7)), strided_out=True),
            _normed("four rows", rows_apart((4, k)), flat_offset((k,)), *(Operand((m, k), t) for m in (65, 1, 31))),
        ]
    q4, q8 = DType.Q4_0, DType.Q8_0
    return [
        *cases,
        _normed("a lone row", rows_apart((3, 96)), plain((96,)), Operand((70, 96), q8), Operand((1, 96), q8)),
        _normed("long rows", rows_apart((1, 4096)), plain((4096,)), *(Operand((m, 4096), q4) for m in (12, 9))),
        _normed("rows of 21 groups", plain((1, 672)), plain((672,)), *(Operand((m, 672), q4) for m in (40, 24))),
        _normed("long rows of many", plain((4, 2048)), plain((2048,)), *(Operand((m, 2048), q4) for m in (40, 24, 8))),
        _normed("long float rows", plain((1, 2048)), plain((2048,)), *(Operand((m, 2048)) for m in (70, 1))),
        _normed(
            "float rows of odd length", rows_apart((3, 63)), plain((63,)), rows_apart((9, 63)), outer_cut((12, 63))
        ),
        _normed("held in parts", plain((1, 12800)), plain((12800,)), *(Operand((m, 12800), q4) for m in (3, 2))),
        _normed("tiny", plain((1, 1)), plain((1,)), plain((3, 1)), plain((1, 1))),
        _normed("small numbers", Operand((3, 64), fill=uniform(-1e-4, 1e-4)), plain((64,)), Operand((20, 64), q8)),
        _normed("inf and NaN", Operand((3, 64), fill=one_inf), plain((64,)), *(Operand((m, 64), q8) for m in (20, 4))),
    ]


def _sum(what: str, w: Operand, x: Operand, residual: Operand, strided_out: bool = False) -> Case:
    return Case("mul_mat_add", f"{w.dtype.name}: {what}", (w, x, residual), strided_out=strided_out, in_one=False)


def _mul_mat_add() -> list[Case]:
    cases = []
    for t in WEIGHTS:
        k = _mats_inner(t)
        cases += [
            _sum("a row", Operand((33, k), t), plain((1, k)), plain((1, 33)), strided_out=True),
            _sum("five rows", Operand((65, k), t), rows_apart((5, k)), rows_apart((5, 65))),
        ]
    q4, q8 = DType.Q4_0, DType.Q8_0
    return [
        *cases,
        _sum("long rows", Operand((40, 4096), q4), rows_apart((1, 4096)), plain((1, 40))),
        _sum("long rows of many", Operand((40, 2048), q4), plain((9, 2048)), rows_apart((9, 40)), strided_out=True),
        _sum("rows longer than what is held", Operand((5, 12800), q4), plain((1, 12800)), plain((1, 5))),
        _sum("long float rows", rows_apart((9, 1099)), rows_apart((2, 1099)), plain((2, 9))),
        *(_sum("a bias", Operand((39, 1056), t), plain((n, 1056)), broadcast((n, 39))) for t, n in ((q8, 1), (F32, 3))),
        _sum("rows of odd length", rows_apart((9, 63)), rows_apart((3, 63)), broadcast((3, 9))),
        _sum("inf and NaN", Operand((20, 64), q8), Operand((3, 64), fill=one_inf), plain((3, 20))),
    ]


CASES: tuple[Case, ...] = (
    *(*_mul_mat(), *_caches(), *_mul_mat_views(), *_edges(), *_mul_mat_id()),
    *(*_mul_mats(), *_norm_mul_mats(), *_mul_mat_add()),
)
