"""Cases of the op table: routing to experts, their gate and up, their weighted sum."""

from collections.abc import Iterator
from dataclasses import replace

from ..ir.dtypes import DType
from .case import Case, Fill, Operand, View, integers, normal, uniform, values
from .views import STRIDED, Make, flat_offset, named, outer_cut, permuted, plain, rows_apart, stepped

F32, F16, I32, Q4_0, Q8_0 = DType.F32, DType.F16, DType.I32, DType.Q4_0, DType.Q8_0
WEIGHTS = tuple(t for t in DType if t is not I32)
INF, NAN = float("inf"), float("nan")


def _inner(dtype: DType) -> int:
    return dtype.block if dtype.is_quantised else 64


def _shared_types(t: DType) -> tuple[DType, ...]:
    """Types of a shared expert beside experts of type t."""
    others = () if t.is_rare else (F32, F16, Q8_0) if t.is_quantised else (F32,)
    return tuple(dict.fromkeys((t, *others)))


def _route(what: str, logits: Operand, k: int, strided_out: bool = False, in_parts: bool = True) -> Case:
    return Case("route", what, (logits,), {"k": k}, strided_out, 1e-11, 1e-5, in_parts)


def _routes() -> list[Case]:
    sizes = (1, 4, 1), (1, 16, 4), (8, 512, 10), (33, 12, 3), (7, 31, 7), (3, 65, 16), (200, 100, 8), (2, 512, 1)
    edges = values(1.0, -2.0, INF, 3.0, NAN, -INF, 3.0, 0.0, -0.0, 1e-41, 50.0)
    return [
        *(_route(f"{n} x {x}, {k}", plain((n, x)), k) for n, x, k in sizes),
        *(_route(f"{name} 9 x 40", make((9, 40)), 5, True) for name, make in STRIDED.items()),
        _route("strided out", plain((512, 16)), 4, True),
        _route("ties", Operand((5, 60), fill=values(1.0, 2.0, 2.0, 1.0)), 9, True),
        _route("wide range", Operand((5, 60), fill=uniform(-200, 200)), 8),
        # in parts the softmax comes first: it makes NaN of infinities, and ties of numbers far below the largest
        _route(
            "NaN and -inf",
            Operand((5, 8), fill=values(1.0, NAN, -INF, 2.0, 3.0, 0.5, -7.0, 4.0)),
            5,
            in_parts=False,
        ),
        _route(
            "edges without inf", Operand((4, 9), fill=values(0.0, -0.0, 1e-41, 5.0, -1e30)), 4, True, in_parts=False
        ),
        _route("all -inf", Operand((2, 9), fill=values(-INF)), 3, True, in_parts=False),
        _route("inf", Operand((3, 11), fill=edges), 2, in_parts=False),
    ]


def _ids(n: int, k: int, n_experts: int, spare: int = 0) -> Operand:
    """The first k of some ranked ids a token; with `spare` some of them out of range."""
    fill = integers(-spare, n_experts + spare)
    return Operand((n, k + 3), I32, lambda t: t.slice(1, 0, k), fill)


def _cut(start: int, stop: int) -> View:
    return lambda t: t.slice(1, start, stop)


def _gate_up(
    what: str,
    x: Operand,
    experts: tuple[Operand, Operand],
    ids: Operand,
    shared: tuple[Operand, Operand],
    strided_out: bool = False,
) -> Case:
    what = f"{experts[0].dtype.name}, {shared[0].dtype.name}: {what}"
    return Case("experts_gate_up", what, (x, *experts, ids, *shared), strided_out=strided_out)


def _gate_ups() -> list[Case]:
    cases = []
    for t in WEIGHTS:
        for s in _shared_types(t):
            e = _inner(t)
            both = Operand((5, 33, e), t), Operand((5, 33, e), t)
            merged = Operand((5, 40, e), t, _cut(0, 20)), Operand((5, 40, e), t, _cut(20, 40))
            shared = Operand((17, e), s), Operand((17, e), s)
            cases += [
                _gate_up("one token", plain((1, e)), both, _ids(1, 3, 5), shared, True),
                _gate_up("merged, four tokens", rows_apart((4, e)), merged, _ids(4, 2, 5, 3), shared),
            ]
    e = 96
    w = Operand((6, 9, e), Q4_0), Operand((6, 9, e), Q4_0)
    s = Operand((40, e), Q8_0), Operand((40, e), Q8_0)
    apart = Operand((80, e), Q8_0, lambda t: t.slice(0, 0, 80, 2)), Operand((80, e), Q8_0, lambda t: t.slice(0, 3, 43))
    some = Operand((9, 9, e), Q4_0, lambda t: t.slice(0, 2, 8)), Operand((6, 9, e), Q4_0)
    slots = Operand((4, 3), I32, lambda t: t.permute(1, 0), integers(0, 6))
    large = Operand((6, 33, 64), fill=uniform(-200, 200)), Operand((6, 33, 64))
    return [
        *cases,
        *_long_gate_ups(),
        _gate_up("shared rows apart", outer_cut((8, e)), w, _ids(8, 5, 6), apart, True),
        _gate_up("experts 2 to 8", flat_offset((2, e)), some, _ids(2, 2, 6), s),
        _gate_up("ids of slots permuted", plain((3, e)), w, slots, s),
        _gate_up("one row, ten of one", plain((1, e)), w, Operand((1, 10), I32, fill=values(4)), s),
        _gate_up("silu far out", rows_apart((2, 64)), large, _ids(2, 4, 6), (plain((3, 64)), plain((3, 64)))),
        _gate_up("NaN", Operand((2, 64), fill=values(*(1.0,) * 70, NAN)), large, _ids(2, 2, 6), _wide(64)),
    ]


def _routed(n: int, k: int, n_experts: int, e: int, types: tuple[DType, DType], fill: Fill = normal) -> Case:
    """Experts of 33 rows, a shared one of 17."""
    shapes = ((n_experts, 33, e),) * 2, ((17, e),) * 2
    weights = (Operand(shape, t) for both, t in zip(shapes, types, strict=True) for shape in both)
    logits, whole = (plain if n == 1 else rows_apart)((n, n_experts), fill=fill), n == 1
    operands = logits, (plain if whole else outer_cut)((n, e)), *weights
    name = f"{types[0].name}, {types[1].name}: {n} tokens of {e}, {k} of {n_experts}"
    parts = fill is normal  # in parts, as route's, infinite logits mean something else
    return Case("route_gate_up", name, operands, {"k": k}, not whole, in_parts=parts, in_one=False)


def _unshared(case: Case) -> Case:
    """Of route_gate_up, without the shared expert."""
    return replace(case, what=f"{case.what}, alone", operands=case.operands[:4], attrs={**case.attrs, "extra": ()})


def _routed_gate_ups() -> Iterator[Case]:
    for t in WEIGHTS:
        for s in _shared_types(t):
            yield _routed(1, 3, 5, _inner(t), (t, s))
    yield _routed(1, 10, 64, 2048, (Q4_0, Q4_0))
    yield _routed(1, 2, 3, 12800, (Q4_0, Q4_0))  # longer than what is held
    yield _routed(2, 10, 40, 2048, (Q4_0, Q8_0))
    yield _routed(2, 2, 300, 96, (Q8_0, Q8_0))
    yield _routed(2, 4, 9, 64, (Q8_0, F32), values(*(1.0, 2.0, 2.0, -INF) * 11, 5.0))
    yield _routed(2, 3, 9, 64, (F16, F16), values(-INF))
    for t in WEIGHTS:
        yield _unshared(_routed(1, 3, 5, _inner(t), (t, t)))
    yield _unshared(_routed(1, 8, 128, 2048, (Q4_0, Q4_0)))
    yield _unshared(_routed(2, 2, 8, 96, (Q8_0, Q8_0)))


def _long_gate_ups() -> Iterator[Case]:
    for t, s in ((F32, F32), (Q4_0, Q4_0), (Q4_0, Q8_0)):
        w, beside = Operand((5, 33, 1024), t), Operand((17, 1024), s)
        yield _gate_up("long rows", rows_apart((2, 1024)), (w, w), _ids(2, 3, 5), (beside, beside), True)
    w, beside = Operand((2, 9, 12800), Q4_0), Operand((5, 12800), Q4_0)
    yield _gate_up("rows longer than what is held", plain((1, 12800)), (w, w), _ids(1, 2, 2), (beside, beside))


def _wide(e: int) -> tuple[Operand, Operand]:
    return Operand((65, e)), rows_apart((65, e))


def _down(
    what: str, t: DType, s: DType, n: int, k: int, sizes: tuple[int, int, int] = (33, 0, 0), strided_out: bool = False
) -> Case:
    """Sizes: rows of down, and the hidden widths of the experts and of the shared one, a block or two of 0."""
    e, f, f_shared = sizes[0], sizes[1] or _inner(t), sizes[2] or 2 * _inner(s)
    whole = not strided_out
    make = plain if whole else rows_apart
    operands = (
        make((n, k, f)),
        Operand((5, e, f), t) if whole else Operand((7, e + 2, f), t, lambda w: w.slice(0, 1, 6).slice(1, 2, e + 2)),
        _ids(n, k, 5, 2),
        (plain if whole else stepped)((n, k)),
        make((n, f_shared)),
        Operand((e, f_shared), s),
        (plain if whole else permuted)((n, 1)),
        (plain if whole else outer_cut)((n, e)),
    )
    return Case("experts_down", f"{t.name}, {s.name}: {what}", operands, strided_out=strided_out)


def _downs() -> list[Case]:
    cases = []
    for t in WEIGHTS:
        for s in _shared_types(t):
            cases += [
                _down("one token", t, s, 1, 3),
                _down("five tokens, apart", t, s, 5, 2, (20, 0, 0), True),
            ]
    sizes = ((1, 32, 32), (7, 96, 64), (65, 512, 512), (256, 128, 256))
    return [
        *cases,
        *(_down(f"one token {named(z)}", Q4_0, Q8_0, 1, 10, z) for z in sizes),
        *(_down(f"eight tokens {named(z)}", Q8_0, F32, 8, 1, z, True) for z in sizes),
        _down("rows longer than what is held", Q4_0, Q4_0, 2, 12, (9, 1024, 512)),
    ]


def _sum(what: str, n: int, k: int, e: int, make: Make = plain, strided_out: bool = False) -> Case:
    shapes = (n, k, e), (n, k), (n, e), (n, 1), (n, e)
    return Case("experts_sum", f"{what} {n}x{k}x{e}", tuple(make(s) for s in shapes), strided_out=strided_out)


def _sums() -> list[Case]:
    sizes = (1, 1, 1), (1, 10, 2048), (65, 4, 257), (512, 3, 63), (3, 7, 1025)
    edges = Operand((2, 3, 8), fill=values(1.0, -2.0, INF, 3.0, 0.5, NAN, 7.0))
    rest = plain((2, 3)), plain((2, 8)), plain((2, 1)), plain((2, 8))
    return [
        *(_sum("plain", *z) for z in sizes),
        *(_sum(name, 9, 3, 70, make, True) for name, make in STRIDED.items()),
        Case("experts_sum", "inf and NaN", (edges, *rest), strided_out=True),
    ]


def _ways_to_route() -> Iterator[Case]:
    """What families vary, one by one and together; no scores are so near that rounding decides."""
    ways: tuple[dict, ...] = (
        {"score": "sigmoid"},
        {"normalise": False},
        {"score": "sigmoid", "normalise": False, "scale": 2.5},
        {"extra": ("bias",)},
        {"score": "sigmoid", "extra": ("bias",), "n_groups": 4, "n_groups_used": 2, "scale": 1.5},
        {"n_groups": 8, "n_groups_used": 3, "normalise": False},
        {"score": "sigmoid", "n_groups": 16, "n_groups_used": 7},
    )
    for way in ways:
        bias = [Operand((16,), fill=uniform(-0.2, 0.2))] * len(way.get("extra", ()))
        for n, make in ((1, plain), (9, rows_apart)):
            yield Case("route", f"{n} x 16, {way}", (make((n, 16)), *bias), {"k": 4, **way}, n == 9)
    wide = {"score": "sigmoid", "extra": ("bias",), "n_groups": 8, "n_groups_used": 4, "scale": 2.5, "k": 8}
    bias = Operand((256,), fill=uniform(-0.2, 0.2))
    yield Case("route", "3 x 256 in groups", (plain((3, 256)), bias), wide)
    for way in ({"score": "sigmoid", "n_groups": 8, "n_groups_used": 4}, {"normalise": False}):
        yield Case("route", f"3 x 512, {way}", (plain((3, 512)),), {"k": 8, **way})


def _ways_of_experts() -> Iterator[Case]:
    """Without a shared expert, with biases, with other activations."""
    n, k, x, f, e, shared = 4, 2, 5, 32, 64, 33
    first, ids = (plain((n, e)), *(Operand((x, f, e), Q8_0),) * 2), _ids(n, k, x, 2)
    more = {name: Operand((shared, e), Q8_0) for name in ("shared_gate", "shared_up")}
    more |= {name: Operand((x, f)) for name in ("gate_bias", "up_bias")}
    biases = ("gate_bias", "up_bias")
    for way in (
        {"extra": ()},
        {"extra": biases, "activation": "clamped"},
        {"extra": ("shared_gate", "shared_up", *biases)},
        {"activation": "gelu"},
    ):
        named = way.get("extra", ("shared_gate", "shared_up"))
        operands = (*first, ids, *(more[name] for name in named))
        yield Case("experts_gate_up", f"Q8_0, {way}", operands, way, in_one=way == {"extra": ()})
    more = {"shared": plain((n, f)), "shared_down": Operand((e, f), Q8_0), "shared_gate": plain((n, 1))}
    more |= {"residual": rows_apart((n, e)), "down_bias": Operand((x, e))}
    first = plain((n, k, f)), Operand((x, e, f), Q8_0), ids, plain((n, k))
    for extra in (("residual",), (), ("shared", "shared_down", "residual"), ("residual", "down_bias"), tuple(more)):
        operands = (*first, *(more[name] for name in extra))
        fused = extra in (("residual",), ("shared", "shared_down", "residual"))
        yield Case("experts_down", f"Q8_0, {extra}", operands, {"extra": extra}, True, in_one=fused)
    more |= {"shared": plain((n, e)), "ids": ids}
    alone = (), ("residual",), ("residual", "ids", "down_bias")
    for extra in (*alone, ("shared", "residual"), ("shared", "shared_gate"), ("ids", "down_bias")):
        operands = (rows_apart((n, k, e)), permuted((n, k)), *(more[name] for name in extra))
        yield Case(
            "experts_sum", f"{extra}", operands, {"extra": extra}, strided_out=extra not in alone, in_one=extra in alone
        )
    yield from _glus()


def _glus() -> Iterator[Case]:
    for n, k, f, x in ((1, 4, 2880, 32), (7, 3, 65, 5), (2, 1, 1, 1)):
        for activation in ("clamped", "silu", "gelu"):
            sides, biases = (rows_apart((n, k, f), fill=uniform(-12, 12)),) * 2, (outer_cut((x, f)), plain((x, f)))
            operands = (*sides, _ids(n, k, x, 2), *biases)
            yield Case("experts_glu", f"{activation} {n}x{k}x{f} of {x}", operands, {"activation": activation})


CASES: tuple[Case, ...] = (
    *_routes(),
    *_gate_ups(),
    *_routed_gate_ups(),
    *_downs(),
    *_sums(),
    *_ways_to_route(),
    *_ways_of_experts(),
)


def _batches() -> list[Case]:
    """More tokens than the experts' kernels for CPUs take."""
    cases = []
    for n in (9, 20):
        pair = (Operand((5, 40, 64), Q4_0), Operand((5, 40, 64), Q4_0))
        shared = (Operand((33, 64), Q8_0), Operand((33, 64), Q8_0))
        cases.append(_gate_up(f"{n} tokens", plain((n, 64)), pair, _ids(n, 3, 5), shared))
        cases.append(_down(f"{n} tokens", Q4_0, Q8_0, n, 3))
    return cases


GPU_CASES: tuple[Case, ...] = tuple(_batches())
