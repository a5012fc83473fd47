"""Cases of the op table of prompts' sizes, where kernels may take operands as halves: their limits allow for that."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.ops import OPS
from ..ir.tensor import Kind, Storage, Tensor
from .case import Case, Fill, Operand, integers, normal, uniform, values
from .cases_attention import cached_in_halves, sharp_queries, sized_operands
from .cases_caches import cached_in_blocks
from .views import one_inf, transpose

F32, F16, I32, Q4_0, Q8_0 = DType.F32, DType.F16, DType.I32, DType.Q4_0, DType.Q8_0
Q6_K, IQ4_NL, MXFP4, NVFP4 = DType.Q6_K, DType.IQ4_NL, DType.MXFP4, DType.NVFP4
WEIGHTS = tuple(t for t in DType if t is not I32)
BEYOND = values(*(1.0,) * 37, 1e5, -2.0, 3e6)  # what no half can hold


def _prompt(
    op: str, what: str, operands: tuple[Operand, ...], attrs: dict | None = None, strided: bool = False
) -> Case:
    return Case(op, what, operands, attrs or {}, strided, in_one=op != "attention").in_halves()


def _inner_columns(t: Tensor) -> Tensor:
    return t.slice(t.ndim - 1, 4, t.shape[-1] - 4)


def _columns(n: int, k: int) -> Operand:
    """x [n, k] cut out of wider rows."""
    return Operand((n, k + 8), view=_inner_columns)


def _mm(what: str, w: Operand, x: Operand, strided: bool = False) -> Case:
    return _prompt("mul_mat", f"{w.dtype.name}: {what}", (w, x), strided=strided)


def _products() -> Iterator[Case]:
    for t in WEIGHTS:
        yield _mm("150 columns of 1024", Operand((130, 1024), t), _columns(150, 1024), True)
    yield _mm("150 columns of 2048", Operand((130, 2048), Q6_K), _columns(150, 2048))  # rows of whole 16 bytes
    for t in (F32, F16, Q4_0, Q8_0, IQ4_NL, MXFP4):
        yield _mm("260 columns of 96", Operand((700, 96), t), _columns(260, 96), True)
        yield _mm("tiles of rows apart", Operand((2400, 160), t, lambda w: w.slice(0, 1, 2400, 2)), _columns(513, 160))
    for t, n_inner in ((F16, 64), (Q4_0, 256)):  # enough for larger tiles
        yield _mm(f"1000 columns of {n_inner}", Operand((1030, n_inner), t), _columns(1000, n_inner), True)
    for t in (Q4_0, Q8_0, Q6_K, MXFP4, NVFP4):  # so few that several teams of subgroups share the inner dimension
        yield _mm("9 columns of 512", Operand((4096, 512), t), _columns(9, 512))
    for t, n_rows, n_cols, n in ((F16, 1030, 1000, 64), (DType.BF16, 130, 40, 1024)):  # no rows of whole 16 bytes
        w = Operand((n_rows, n + 3), t, lambda w: w.slice(1, 3, w.shape[1]))
        yield _mm("w at odd places", w, _columns(n_cols, n))
    yield _mm("grouped heads", Operand((2, 200, 128)), Operand((4, 200, 128)), True)
    yield _mm("x at odd places", Operand((130, 1024), Q4_0), Operand((150, 1027), view=lambda t: t.slice(1, 3, 1027)))
    yield _mm("x beyond halves", Operand((130, 1024), Q4_0), Operand((150, 1024), fill=BEYOND))
    yield _mm("w beyond halves", Operand((130, 1024), fill=BEYOND), Operand((150, 1024)))
    for what, largest in (("beyond halves", 2**14), ("of denormal halves", 2**-18)):
        yield _mm(f"w {what}", Operand((130, 1024), MXFP4, amplitude=largest), Operand((150, 1024)))
    yield _mm("inf and NaN", Operand((130, 1024), Q4_0), Operand((150, 1024), fill=one_inf), True)


def _id(what: str, w: Operand, x: Operand, ids: Operand, strided: bool = False) -> Case:
    return _prompt("mul_mat_id", f"{w.dtype.name}: {what}", (w, x, ids), strided=strided)


def _ids(n: int, k: int, n_experts: int) -> Operand:
    """The first k of k + 3 ids a token, some out of range."""
    return Operand((n, k + 3), I32, lambda t: t.slice(1, 0, k), integers(-1, n_experts + 1))


def _halved(*shape: int) -> tuple[Operand, Operand]:
    """x and its halves."""
    x = np.random.default_rng(shape[0]).standard_normal(shape, np.float32)
    (halves,) = OPS["halves"].compute(x)
    return _known(x), _known(halves, F16)


def _known(a: np.ndarray, dtype: DType = F32) -> Operand:
    return Operand(a.shape, dtype, fill=lambda _rng, _shape: a)


def _products_of_halves() -> Iterator[Case]:
    for t in (F32, Q4_0, Q6_K, IQ4_NL):
        yield _halves("mul_mat", f"{t.name}: halves of 150 columns", Operand((260, 1024), t), *_halved(150, 1024))
    for t in (Q4_0, DType.Q4_1):  # an odd number of stages
        yield _halves(
            "mul_mat", f"{t.name}: halves of 150 columns of 1088", Operand((260, 1088), t), *_halved(150, 1088)
        )
    yield _halves("mul_mat", "Q4_0: halves of heads", Operand((516, 512), Q4_0), *_halved(3, 46, 512), strided=True)
    for t, n, slots, n_experts in ((Q4_0, 72, 1, 6), (Q8_0, 100, 3, 15), (DType.Q5_0, 72, 1, 6)):
        (x, halves), w = _halved(n, slots, 512), Operand((n_experts, 516, 512), t)
        what, more = f"{t.name}: halves of {n} x {slots}", (x, *_listed(n, 3, n_experts), halves)
        yield _halves("mul_mat_id", what, w, *more, n_spare=2)
        yield replace(_halves("mul_mat_id_swiglu", what, w, w, *more, strided=True), in_one=False)
    for shape in ((1, 8), (70, 3, 264)):
        yield Case("halves", f"{shape}", (Operand(shape),), nmse=1e-6, row=1e-3, guard=72)
    for what, fill in (("beyond", BEYOND), ("inf and NaN", one_inf)):
        yield Case("halves", what, (Operand((7, 64), fill=fill),), nmse=1e-6, row=1e-3, guard=72)


def _many_products_of_halves() -> Iterator[Case]:
    """As many tiles as large kernels want; slow on a CPU."""
    for t, n_rows, n_cols, n_inner in ((Q4_0, 15300, 70, 320), (Q6_K, 7700, 100, 512)):
        what = f"{t.name}: halves, {n_rows} rows by {n_cols} columns of {n_inner}"
        yield _halves("mul_mat", what, Operand((n_rows, n_inner), t), *_halved(n_cols, n_inner))


def _halves(op: str, what: str, *operands: Operand, strided: bool = False, n_spare: int = 1) -> Case:
    """Of a product whose last operand is the halves of another."""
    made = _prompt(op, what, operands, strided=strided)
    return replace(made, n_spare=n_spare, kept=frozenset(range(1, len(operands))))


def _experts() -> Iterator[Case]:
    for t in WEIGHTS:
        yield _id("120 tokens of 6 experts", Operand((6, 130, 512), t), Operand((120, 1, 512)), _ids(120, 3, 6), True)
    yield _id(
        "120 tokens of 6 experts, 2048 long", Operand((6, 130, 2048), Q6_K), Operand((120, 1, 2048)), _ids(120, 3, 6)
    )
    for t, n in ((IQ4_NL, 160), (MXFP4, 160), (MXFP4, 2880)):  # the last alone of whole 16 bytes, by zeros
        yield _id(f"400 tokens of 2 experts, {n} long", Operand((2, 130, n), t), Operand((400, 1, n)), _ids(400, 3, 2))
    for t in (Q4_0, F16):
        yield _id("100 tokens of 40 experts", Operand((40, 130, 512), t), Operand((100, 1, 512)), _ids(100, 3, 40))
        yield _id("a row a slot", Operand((15, 130, 512), t), Operand((100, 3, 512)), _ids(100, 3, 15), True)
    w = Operand((6, 130, 512), Q8_0)
    yield _id("all ids alike, a prompt", w, Operand((600, 1, 512)), Operand((600, 1), I32, fill=values(2)))
    yield _id(
        "ids of slots permuted, a prompt", w, Operand((120, 1, 512)), Operand((3, 120), I32, transpose, integers(0, 6))
    )
    yield _id("x beyond halves", w, Operand((120, 1, 512), fill=BEYOND), _ids(120, 3, 6))
    merged = Operand((6, 260, 512), Q4_0, lambda t: t.slice(1, 130, 260))
    yield _id("up rows of merged", merged, Operand((120, 1, 512)), _ids(120, 3, 6))
    for t in (Q4_0, Q8_0, Q6_K, MXFP4, NVFP4):
        operands = Operand((2, 130, 512), t), Operand((400, 1, 512)), *_listed(400, 3, 2)
        made = _prompt("mul_mat_id", f"{t.name}: 400 tokens of 2 experts, listed", operands)
        yield replace(made, n_spare=1, kept=frozenset({2, 3}))


def _listed(n: int, k: int, n_experts: int, first: int | None = None) -> tuple[Operand, Operand]:
    """Ids, the first one of each token as given, and lists of them, as list_experts makes them."""
    ids = np.random.default_rng(n).integers(-1, n_experts + 1, (n, k), np.int32)
    if first is not None:
        ids[:, 0] = first
    (lists,) = OPS["expert_lists"].compute(ids, n_experts)
    ids, lists = (Operand(a.shape, I32, fill=lambda _rng, _shape, a=a: a) for a in (ids, lists))
    return ids, lists


def _swiglu(
    what: str,
    gate: Operand,
    up: Operand,
    x: Operand,
    n: int,
    k: int,
    strided: bool = False,
    first: int | None = None,
) -> Case:
    n_experts = gate.view(Storage("w", Kind.STATE, F32, gate.shape).tensor()).shape[0]
    what, operands = f"{gate.dtype.name}: {what}", (gate, up, x, *_listed(n, k, n_experts, first))
    return replace(_prompt("mul_mat_id_swiglu", what, operands, strided=strided), in_one=False, kept=frozenset({3, 4}))


def _gates_and_ups() -> Iterator[Case]:
    for t in WEIGHTS:
        w = Operand((6, 130, 512), t)
        yield _swiglu("120 tokens of 6 experts", w, w, Operand((120, 1, 512)), 120, 3, True)
    w = Operand((6, 130, 2048), Q6_K)
    yield _swiglu("120 tokens of 6 experts, 2048 long", w, w, Operand((120, 1, 2048)), 120, 3)
    for t in (IQ4_NL, MXFP4):  # no rows of whole 16 bytes
        w = Operand((2, 130, 160), t)
        yield _swiglu("400 tokens of 2 experts, 160 long", w, w, Operand((400, 1, 160)), 400, 3)
    w = Operand((40, 140, 512), Q4_0)
    yield _swiglu("100 tokens of 40 experts", w, w, Operand((100, 3, 512)), 100, 3)
    for t in (Q8_0, Q6_K, MXFP4, NVFP4):
        w = Operand((2, 130, 512), t)
        yield _swiglu("400 tokens of 2 experts", w, w, Operand((400, 1, 512)), 400, 3)
    w = Operand((40, 70, 512), Q4_0)
    yield _swiglu("300 tokens of 40 experts, all of one too", w, w, Operand((300, 1, 512)), 300, 3, first=2)
    gate, up = (
        Operand((6, 260, 512), Q8_0, view) for view in (lambda t: t.slice(1, 0, 130), lambda t: t.slice(1, 130, 260))
    )
    yield _swiglu("merged", gate, up, Operand((120, 1, 512)), 120, 3)
    w = Operand((6, 130, 512), Q4_0)
    yield _swiglu("x beyond halves", w, w, Operand((120, 1, 512), fill=BEYOND), 120, 3)


def _lists() -> Iterator[Case]:
    for n, k, n_experts in ((1, 1, 1), (7, 2, 5), (40, 3, 6), (65, 10, 33), (512, 10, 512)):
        ids = _ids(n, k, n_experts)
        yield Case("expert_lists", f"{n} x {k} of {n_experts}", (ids,), {"n_experts": n_experts})
    ids = Operand((3, 50), I32, transpose, integers(0, 9))
    yield Case("expert_lists", "ids of slots permuted", (ids,), {"n_experts": 9})


# sequences, tokens, heads, key heads, dim, keys looked at, context
SIZES = (
    (1, 70, 8, 2, 64, 300, 512),
    (2, 130, 4, 1, 128, 100, 128),
    (1, 65, 6, 2, 256, 257, 300),
    (3, 33, 8, 8, 96, 200, 256),
)
WAYS: tuple[dict, ...] = (
    {},
    {"extra": ("gate",)},
    {"window": 40},
    {"cap": 3.0},
    {"extra": ("sinks",)},
    {"extra": ("gate", "sinks"), "window": 70, "cap": 1.5},
)


def _attention() -> Iterator[Case]:
    for size in SIZES:
        *operands, gate = sized_operands(*size)
        more = {"gate": gate, "sinks": Operand((size[2],), fill=uniform(-3, 3))}
        what = "{} x {} tokens, {} heads on {} of {}, {} of {} keys".format(*size)
        for way in WAYS:
            attrs = {"scale": size[4] ** -0.5, "n_kv": size[5], **way}
            ins = (*operands, *(more[name] for name in way.get("extra", ())))
            yield _prompt("attention", f"{what}, {way or 'no gate'}", ins, attrs, strided=size[4] == 64)
            if len(way) != 1 or "extra" in way:
                halves = cached_in_halves(ins)
                yield _prompt("attention", f"{what}, {way or 'no gate'}, F16", halves, attrs, strided=size[4] != 64)
                if "cap" in way:
                    yield _prompt("attention", f"{what}, {way}, Q8_0", cached_in_blocks(ins), attrs)
        sharp = (sharp_queries(operands[0]), *operands[1:])
        case = _prompt("attention", f"{what}, sharp", sharp, {"scale": size[4] ** -0.5, "n_kv": size[5]})
        yield replace(case, nmse=1e-5, row=1e-1)  # logits of hundreds, halves of which are known to a tenth
    for n_rows, way in ((96, {"window": 32}), (101, {"window": 100, "extra": ("gate",)}), (200, {"window": 130})):
        operands = sized_operands(2, 70, 4, 2, 64, 330, n_rows)
        attrs = {"scale": 0.125, "n_kv": 330, **way}
        what = f"2 x 70 tokens, 330 keys in {n_rows} rows, {way}"
        yield _prompt("attention", what, operands[: 5 + ("extra" in way)], attrs)
        halves = cached_in_halves(operands[: 5 + ("extra" in way)])
        yield _prompt("attention", f"{what}, F16", halves, attrs, strided=True)
    q, k, v, *rest = sized_operands(*SIZES[0])[:5]
    large = (q, k, replace(v, fill=BEYOND), *rest)
    attrs = {"scale": 0.125, "n_kv": SIZES[0][5]}
    yield _prompt("attention", "values beyond halves", large, attrs)
    apart = (replace(t, shape=(*t.shape[:2], t.shape[2] + 8), view=_inner_columns) for t in (k, v))
    yield _prompt("attention", "keys of wider rows", (q, *apart, *rest), attrs)


def _spoilt(number: float, good: Fill = normal) -> Fill:
    """Good numbers, but for token 35 of the first sequence."""

    def fill(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        x = good(rng, shape)
        x[0, 35] = number
        return x

    return fill


def _times(factor: float) -> Fill:
    return lambda rng, shape: factor * normal(rng, shape)


def _leaning(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Keys and queries that are seldom nearly orthogonal, where little is left of an output but its rounding."""
    return 1 + normal(rng, shape)


def _delta(
    what: str, *fills: Fill, scale: float = 1.0, spread: bool = False, sizes: tuple[int, ...] = (260, 4, 8, 64)
) -> Case:
    """Long enough for kernels that take chunks of tokens by products; `fills`: of keys and values.

    `scale`: of the state; `spread`: value heads tiled, and snapshots; `sizes`: tokens, heads of keys and of values,
    numbers of a head.
    """
    (n_tokens, n_keys, n_values, dim), n_slots = sizes, 8
    keys, rows, gates = (
        (2, n_tokens, *rest) for rest in ((n_keys, dim), (n_values, dim), (n_keys, n_values // n_keys))
    )
    slots = np.array([[6, 0, -1, 7, 99, 1], [2, -1, 3, 4, -1, -1]], np.int32)
    slots = slots if spread else slots[:, 0]
    operands = (
        *(Operand(keys, fill=_leaning), Operand(keys, fill=fills[0]), Operand(rows, fill=fills[1])),
        *(Operand(gates, fill=uniform(-6, 6)), Operand(gates, fill=uniform(-6, 2))),
        *(Operand((n_values,), fill=uniform(-3, -0.01)), Operand((n_values,))),
        Operand((n_slots, n_values * dim * dim), fill=_times(scale)),
        Operand(slots.shape, I32, fill=lambda _rng, _shape: slots),
        Operand((2,), I32, fill=lambda _rng, _shape: np.array((n_tokens, n_tokens * 15 // 26), np.int32)),
    )
    return _prompt("gated_delta_net", what, operands, {"tiled": True} if spread else {}, strided=spread)


def _delta_net() -> Iterator[Case]:
    nan = float("nan")
    yield _delta("260 tokens", _leaning, normal)
    yield _delta("80 tokens", _leaning, normal, sizes=(80, 2, 4, 32))
    yield _delta("260 tokens, tiled, snapshots", _leaning, normal, spread=True)
    yield _delta("260 tokens, large values", _leaning, _times(1e9), scale=1e7)
    yield _delta("260 tokens, small values", _leaning, _times(1e-9), scale=1e-9)
    # the chunks of the decomposition take NaN to the tokens before it
    yield replace(_delta("260 tokens, NaN in a value", _leaning, _spoilt(nan)), in_parts=False)
    yield replace(_delta("260 tokens, NaN in a key", _spoilt(nan, _leaning), normal), in_parts=False)


CASES: tuple[Case, ...] = (
    *_products(),
    *_products_of_halves(),
    *_experts(),
    *_gates_and_ups(),
    *_lists(),
    *_attention(),
    *_delta_net(),
)
GPU_CASES: tuple[Case, ...] = tuple(_many_products_of_halves())
