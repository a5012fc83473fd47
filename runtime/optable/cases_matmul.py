"""Cases of the op table: products, get_rows over block types, the triangular solve, the short convolution, rope."""

import numpy as np

from ..dtypes import DType
from ..layout import Shape
from .case import Case, Operand, integers, normal, uniform, values

F32, F16, BF16, I32 = DType.F32, DType.F16, DType.BF16, DType.I32
BLOCKS = tuple(t for t in DType if t.is_quantised)
WEIGHTS = (F32, F16, BF16, *BLOCKS)
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
    cases = []
    for t in WEIGHTS:
        k = _inner(t, 3, 100)
        cases += [
            _mm("vector", Operand((33, k), t), Operand((1, k))),
            _mm("5 columns, offset rows", Operand((65, k), t), _columns(t, 5), strided_out=True),
            _mm("20 columns", Operand((37, k), t), _columns(t, 20), strided_out=True),
            _mm("70 columns, offset rows", Operand((130, k), t), _columns(t, 70)),
            _mm("rows 3 to 60", Operand((70, k), t, lambda w: w.slice(0, 3, 60)), Operand((2, k)), strided_out=True),
            _mm(
                "every second row, grouped heads",
                Operand((2, 62, k), t, lambda w: w.slice(1, 0, 62, 2)),
                Operand((3, 6, k), view=lambda x: x.permute(1, 0, 2)),
            ),
        ]
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


def _swapped(*shape: int) -> Operand:
    """A tensor of `shape` whose last two axes stand transposed in memory."""
    axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    return Operand((*shape[:-2], shape[-1], shape[-2]), view=lambda t: t.permute(*axes))


def _mul_mat_views() -> list[Case]:
    """Activations and caches as weights, batches, broadcasts."""
    k = 48
    heads = Operand((2, 5, 8, k), view=lambda t: t.permute(0, 2, 1, 3))  # [2, 8, 5, k]
    cache = Operand((2, 70, 2, k), view=lambda t: t.slice(1, 0, 57).permute(0, 2, 1, 3))  # [2, 2, 57, k]
    values_t = Operand((2, 57, 2, 24), view=lambda t: t.permute(0, 2, 3, 1))  # [2, 2, 24, 57]
    half = Operand((70, 2, k), F16, lambda t: t.slice(0, 7, 57).permute(1, 0, 2))
    odd = Operand((40, 67), F16, lambda t: t.slice(1, 3, 66))
    return [
        _mm("keys of a cache by grouped queries", cache, heads),
        _mm("keys, one query a head", cache, Operand((2, 8, 1, k))),
        _mm("keys, one query a head, permuted", cache, Operand((2, 1, 8, k), view=lambda t: t.permute(0, 2, 1, 3))),
        _mm("values transposed", values_t, Operand((2, 8, 5, 57)), strided_out=True),
        _mm("values transposed, one query", values_t, Operand((2, 8, 1, 60), view=lambda t: t.slice(3, 2, 59))),
        _mm("half keys of a slot", half, Operand((2, 4, k))),
        _mm("half rows at odd offsets", odd, Operand((5, 63)), strided_out=True),
        _mm("both transposed", _swapped(3, 33, 17), _swapped(3, 9, 17)),
        _mm("w transposed, x whole", _swapped(2, 64, 64), Operand((2, 64, 64))),
        _mm("x transposed, w whole", Operand((2, 64, 64)), _swapped(2, 64, 64)),
        _mm("large transposed", _swapped(2, 128, 96), _swapped(2, 70, 96), strided_out=True),
        _mm("half transposed", Operand((33, 65), F16, lambda t: t.permute(1, 0)), Operand((3, 33))),
        _mm("x one row for all", Operand((31, 40)), Operand((1, 40), view=lambda t: t.broadcast_to(12, 40))),
        _mm("x every third number", Operand((31, 40), BF16), Operand((6, 120), view=lambda t: t.slice(1, 1, 119, 3))),
        _mm("block weights, x transposed", Operand((40, 64), DType.Q8_0), _swapped(11, 64)),
        _mm("block weights, x strided", Operand((40, 256), DType.Q6_K), Operand((3, 512), view=_every_other)),
        _mm("batch in one weight", Operand((40, 64), DType.Q4_0), Operand((3, 4, 2, 64))),
        _mm("permuted batch in one weight", Operand((40, 64), DType.Q4_0), _outer_swapped),
        _mm("a slot at a time", Operand((40, 64), DType.Q8_0), Operand((4, 3, 64), view=lambda t: t.slice(1, 1, 2))),
        _mm("slots of two tokens", Operand((40, 64), F32), Operand((4, 3, 64), view=lambda t: t.slice(1, 1, 3))),
        _mm("a weight's heads", Operand((4, 3, 32, 64), DType.Q5_1, lambda t: t.select(1, 2)), Operand((8, 3, 64))),
        _mm("long rows", Operand((9, 4096), DType.Q4_K), _columns_of(3, 4096)),
        _mm("long float rows", Operand((9, 4099)), Operand((3, 4099)), nmse=1e-9),
    ]


def _every_other(t):
    return t.slice(1, 0, 512, 2)


def _columns_of(n: int, k: int) -> Operand:
    return Operand((n, 2 * k), view=lambda t: t.slice(1, k, 2 * k))


_outer_swapped = Operand((2, 4, 3, 64), view=lambda t: t.permute(2, 1, 0, 3))

EDGE = values(0.0, -0.0, 1e-41, 3e-39, 1e-20, -1e20, 1.5, float("inf"), float("-inf"), float("nan"), -2.0)
SMALL = values(5.9604645e-08, -5.9604645e-08, 6.1e-05, -3e-06, 0.0, 1.0, -65504.0)


def _one_inf(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ones with an infinity in the second row and a NaN in the last."""
    made = np.ones(shape, np.float32)
    made.reshape(-1, shape[-1])[1, 3], made.reshape(-1, shape[-1])[-1, 0] = np.inf, np.nan
    return made


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
        x = Operand((5, k), fill=_one_inf)
        cases.append(_mm("inf and NaN stay in their columns", Operand((40, k), t), x))
        x = Operand((40, k + 4), fill=_one_inf, view=lambda v, k=k: v.slice(1, 0, k))
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
            _id("9 tokens, a row a slot", w, Operand((9, 2, k)), _ids(9, 2)),
        ]
    q8 = Operand((6, 33, 64), DType.Q8_0)
    k = 63
    cases += [
        _id("ids out of range", q8, Operand((20, 1, 64)), _ids(20, 3, -5, 12)),
        _id("all ids alike", q8, Operand((70, 1, 64)), Operand((70, 2), I32, fill=values(2))),
        _id("ids of slots permuted", q8, Operand((7, 1, 64)), Operand((3, 7), I32, _transpose, integers(0, 6))),
        _id(
            "experts 2 to 5",
            Operand((6, 33, 64), DType.Q4_0, lambda t: t.slice(0, 2, 5)),
            Operand((7, 1, 64)),
            _ids(7, 2, 0, 3),
        ),
        _id(
            "gate rows of merged",
            Operand((6, 66, 64), DType.Q4_0, lambda t: t.slice(1, 0, 33)),
            Operand((12, 1, 64)),
            _ids(12, 2),
        ),
        _id(
            "up rows of merged",
            Operand((6, 66, 64), DType.Q8_0, lambda t: t.slice(1, 33, 66)),
            Operand((65, 1, 64)),
            _ids(65, 2),
        ),
        _id("x by slots, permuted", q8, Operand((2, 31, 64), view=lambda t: t.permute(1, 0, 2)), _ids(31, 2)),
        _id("x transposed", q8, Operand((31, 64, 2), view=lambda t: t.permute(0, 2, 1)), _ids(31, 2), True),
        _id("w transposed", Operand((6, k, 33), view=lambda t: t.permute(0, 2, 1)), Operand((9, 1, k)), _ids(9, 2)),
        _id("odd rows", Operand((6, 31, k), F16), Operand((65, 2, k)), _ids(65, 2)),
        _id("one expert", Operand((1, 31, k)), Operand((5, 1, k)), _ids(5, 2, 0, 1)),
        _id("64 experts", Operand((64, 20, 32), DType.Q4_0), Operand((50, 1, 32)), _ids(50, 8, 0, 64)),
        _id("inf and NaN", q8, Operand((12, 1, 64), fill=_one_inf), _ids(12, 2)),
        _id("many inf and NaN", q8, Operand((90, 1, 64), fill=_one_inf), _ids(90, 3)),
    ]
    return cases


def _cut(k: int):
    return lambda t: t.slice(t.ndim - 1, 3, 3 + k)


def _transpose(t):
    return t.permute(1, 0)


def _rows(what: str, table: Operand, ids: Operand, strided_out: bool = False) -> Case:
    return Case("get_rows", f"{table.dtype.name}: {what}", (table, ids), strided_out=strided_out)


def _get_rows() -> list[Case]:
    cases = []
    for t in BLOCKS:
        k = 3 * t.block
        cases += [
            _rows("blocks", Operand((33, k), t), Operand((7,), I32, fill=integers(0, 33))),
            _rows("blocks, rows 5 to 30", Operand((33, k), t, lambda w: w.slice(0, 5, 30)), _ids(4, 3, -2, 27), True),
        ]
    ids = Operand((5, 3), I32, _transpose, integers(0, 20))
    return [
        *cases,
        _rows("blocks, batched", Operand((3, 20, 64), DType.Q8_0), ids),
        _rows(
            "blocks, three axes of ids", Operand((20, 64), DType.Q4_0), Operand((2, 3, 5), I32, fill=integers(0, 20))
        ),
        _rows("long row", Operand((3, 8192), DType.Q4_0), Operand((2,), I32, fill=integers(0, 3))),
    ]


def _lower(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Well-conditioned: diagonal near 1, small below it, and NaN above, which must not be read."""
    made = np.tril(normal(rng, shape) * np.float32(0.5 / np.sqrt(shape[-1])), -1)
    made += np.eye(shape[-1], dtype=np.float32) * rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return np.where(np.tril(np.ones(shape[-2:], bool)), made, np.nan).astype(np.float32)


def _solve_tri() -> list[Case]:
    sizes = ((1, 1), (2, 3), (7, 31), (16, 16), (31, 65), (33, 7), (63, 1), (64, 64), (64, 128), (65, 9))
    cases = [Case("solve_tri", f"{n} x {m}", (Operand((n, n), fill=_lower), Operand((n, m)))) for n, m in sizes]
    views = (
        ("batches", Operand((2, 3, 16, 16), fill=_lower), Operand((2, 3, 16, 20)), True),
        ("b transposed", Operand((3, 16, 16), fill=_lower), _swapped(3, 16, 20), False),
        (
            "batches permuted",
            Operand((3, 2, 16, 16), fill=_lower, view=_outer),
            Operand((3, 2, 16, 20), view=_outer),
            False,
        ),
        (
            "heads inside",
            Operand((2, 16, 16), fill=_lower),
            Operand((16, 2, 20), view=lambda t: t.permute(1, 0, 2)),
            True,
        ),
        ("one a for all", _one_a(), Operand((4, 33, 12)), False),
        (
            "a from rows apart",
            Operand((40, 70), view=lambda t: t.slice(0, 3, 35).slice(1, 5, 37), fill=_near_one),
            Operand((32, 3)),
            True,
        ),
        ("sliced b", Operand((64, 64), fill=_lower), Operand((64, 100), view=lambda t: t.slice(1, 7, 40)), False),
    )
    return cases + [Case("solve_tri", what, (a, b), strided_out=strided) for what, a, b, strided in views]


def _one_a() -> Operand:
    return Operand((1, 33, 33), fill=_lower, view=lambda t: t.broadcast_to(4, 33, 33))


def _near_one(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Any square cut of it has a triangle that can be solved: ones on the 2nd diagonal, small numbers elsewhere."""
    return (np.eye(*shape, k=2) + rng.uniform(-0.02, 0.02, shape)).astype(np.float32)


def _outer(t):
    return t.permute(1, 0, 2, 3)


def _ssm_conv() -> list[Case]:
    cases = []
    for batch, tokens, channels, taps in ((1, 1, 1, 1), (1, 1, 64, 4), (1, 7, 65, 4), (2, 33, 257, 3), (3, 5, 31, 2)):
        x = Operand((batch, tokens + taps - 1, channels))
        cases.append(Case("ssm_conv", f"{batch} x {tokens} x {channels}, {taps} taps", (x, Operand((channels, taps)))))
    w = Operand((40, 4))
    views = (
        ("slice of channels", Operand((2, 10, 90), view=lambda t: t.slice(2, 5, 45)), w, True),
        ("slice of tokens", Operand((2, 10, 40), view=lambda t: t.slice(1, 2, 9)), w, False),
        ("channels first", Operand((2, 40, 10), view=lambda t: t.permute(0, 2, 1)), w, True),
        ("taps first", Operand((2, 10, 40)), Operand((4, 40), view=_transpose), False),
        ("a row a sequence", Operand((1, 10, 40), view=lambda t: t.broadcast_to(3, 10, 40)), w, False),
        ("inf and NaN", Operand((1, 10, 40), fill=_one_inf), w, True),
        ("exactly the taps", Operand((5, 4, 40)), w, True),
    )
    return cases + [Case("ssm_conv", what, (x, w), strided_out=strided) for what, x, w, strided in views]


def _angles(_rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """A table of cosines, then sines."""
    angles = np.outer(np.arange(shape[0]), 10000.0 ** -np.linspace(0, 1, shape[1] // 2))
    return np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def _rope() -> list[Case]:
    table = Operand((50, 16), fill=_angles)
    cases = []
    for b, t, h, d, n in ((1, 1, 1, 2, 2), (1, 1, 8, 64, 64), (1, 7, 3, 33, 16), (2, 5, 2, 256, 64), (1, 3, 1, 7, 2)):
        pos = Operand((b, t), I32, fill=integers(0, 50))
        operands = (Operand((b, t, h, d)), pos, Operand((50, n), fill=_angles))
        cases.append(Case("rope", f"{b} x {t} x {h} x {d}, {n} rotated", operands))
    pos = Operand((2, 5), I32, fill=integers(0, 50))
    x = Operand((2, 5, 3, 24))
    views = (
        ("heads before tokens", Operand((2, 3, 5, 24), view=lambda t: t.permute(0, 2, 1, 3)), pos, table, False),
        ("query half of a head", Operand((2, 5, 3, 48), view=lambda t: t.slice(3, 0, 24)), pos, table, True),
        ("odd offset", Operand((2, 5, 3, 27), view=lambda t: t.slice(3, 1, 25)), pos, table, False),
        ("inner axis strided", Operand((2, 5, 24, 3), view=lambda t: t.permute(0, 1, 3, 2)), pos, table, True),
        ("positions transposed", x, Operand((5, 2), I32, _transpose, integers(0, 50)), table, False),
        ("positions out of range", x, Operand((2, 5), I32, fill=integers(-9, 90)), table, True),
        (
            "one position row for all",
            x,
            Operand((1, 5), I32, lambda t: t.broadcast_to(2, 5), integers(0, 50)),
            table,
            False,
        ),
        (
            "table sliced",
            x,
            pos,
            Operand((60, 40), fill=_angles, view=lambda t: t.slice(0, 4, 54).slice(1, 0, 20)),
            True,
        ),
        ("inf and NaN", Operand((2, 5, 3, 24), fill=_one_inf), pos, table, False),
    )
    return cases + [Case("rope", what, tuple(operands), strided_out=strided) for what, *operands, strided in views]


CASES: tuple[Case, ...] = (
    *_mul_mat(),
    *_mul_mat_views(),
    *_edges(),
    *_mul_mat_id(),
    *_get_rows(),
    *_solve_tri(),
    *_ssm_conv(),
    *_rope(),
)
