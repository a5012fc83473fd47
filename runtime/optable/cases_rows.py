"""Cases of the op table: along rows."""

from collections.abc import Iterator
from itertools import cycle
from math import prod
from typing import Any

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from .case import Case, Fill, Operand, integers, masked, normal, uniform, values
from .views import (
    STRIDED,
    VIEWS,
    broadcast,
    flat_offset,
    named,
    outer_permuted,
    permuted,
    plain,
    rows_apart,
    stepped,
)

I32 = DType.I32
INF, NAN = float("inf"), float("nan")
SHAPES: tuple[Shape, ...] = (
    (1, 1),
    (5, 3),
    (3, 7),
    (65, 31),
    (2, 5, 33),
    (2, 3, 4, 63),
    (7, 65),
    (3, 100),
    (2, 3, 257),
)
LONG: tuple[Shape, ...] = ((1, 2048), (2, 5000))


def _small(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return (1e-4 * rng.standard_normal(shape)).astype(np.float32)


def _one_bad(bad: float) -> Fill:
    """Ordinary numbers, with one bad one in the second row."""

    def fill(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        made = normal(rng, shape)
        made.reshape(-1, shape[-1])[1, -1] = bad
        return made

    return fill


def _zero_row(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    made = normal(rng, shape)
    made.reshape(-1, shape[-1])[0] = 0
    return made


def _along(op: str, fill: Fill = normal, **attrs: Any) -> Iterator[Case]:
    """Each shape plain or strided in turn, and every view once."""
    views = cycle(VIEWS.items())
    for shape in (*SHAPES, *LONG):
        name, make = next(views)
        strided = shape[-1] % 2 == 1 and name != "plain"
        yield Case(op, f"{named(shape)} {name} {attrs or ''}".strip(), (make(shape, fill=fill),), attrs, strided)
    for name, make in STRIDED.items():
        yield Case(
            op, f"2x3x5x9 {name} {attrs or ''}".strip(), (make((2, 3, 5, 9), fill=fill),), attrs, name == "offset"
        )
    yield Case(op, f"300x33 heads {attrs or ''}".strip(), (outer_permuted((100, 3, 33), fill=fill),), attrs)


def _norms() -> Iterator[Case]:
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("rms_norm", {"eps": 1e-6}),
        ("l2_norm", {"eps": 1e-6, "eps_inside": True}),
        ("l2_norm", {"eps": 1e-6, "eps_inside": False}),
    )
    for op, attrs in kinds:
        yield from _along(op, **attrs)
        for name, fill in (("small", _small), ("a row of zeros", _zero_row)):
            yield Case(op, f"{name} {attrs}", (rows_apart((3, 65), fill=fill),), attrs)
        for bad in (INF, NAN):
            yield Case(op, f"{bad} in one row {attrs}", (stepped((3, 31), fill=_one_bad(bad)),), attrs)
    yield Case("l2_norm", "eps that counts", (permuted((7, 33)),), {"eps": 8.0, "eps_inside": False})
    yield Case("l2_norm", "eps inside that counts", (permuted((7, 33)),), {"eps": 8.0, "eps_inside": True})


def _scaled_norms() -> Iterator[Case]:
    views, gates = cycle(VIEWS.items()), cycle(STRIDED.items())
    weights = cycle((plain, flat_offset, stepped, broadcast))
    for shape in (*SHAPES, *LONG, (2, 64, 4, 128)):
        name, make = next(views)
        weight = next(weights)((shape[-1],))
        yield Case("rms_norm_scale", f"{named(shape)} {name}", (make(shape), weight), {"eps": 1e-6}, name == "offset")
        other, gate = next(gates)
        operands = (make(shape), weight, gate(shape, fill=uniform(-9, 9)))
        yield Case("gated_norm", f"{named(shape)} {name}, gate {other}", operands, {"eps": 1e-5}, name == "plain")
    bad = (stepped((3, 31), fill=_one_bad(NAN)), plain((31,)))
    yield Case("rms_norm_scale", "NaN in one row", bad, {"eps": 1e-6})
    steep = (plain((3, 64)), plain((64,)), permuted((3, 64), fill=values(-100, 100, 0, -88, 20)))
    yield Case("gated_norm", "gates of 100", steep, {"eps": 1e-6})


def _added_norms() -> Iterator[Case]:
    views, others = cycle(VIEWS.items()), cycle(STRIDED.items())
    weights = cycle((plain, flat_offset, stepped))
    for shape in (*SHAPES, *LONG):
        (name, make), (other, second) = next(views), next(others)
        weight, bias = (next(weights)(shape[-1:]) for _ in "wb")
        what, far = f"{named(shape)} {name}", uniform(3, 9)
        added = make(shape), weight, second(shape, fill=far)
        yield Case("rms_norm_add", f"{what}, residual {other}", added, {"eps": 1e-6}, name == "offset")
        yield Case("layer_norm", what, (second(shape, fill=far), weight, bias), {"eps": 1e-5}, name == "plain")
    bad = stepped((3, 31), fill=_one_bad(NAN)), plain((31,))
    yield Case("rms_norm_add", "NaN in one row", (*bad, permuted((3, 31))), {"eps": 1e-6})
    yield Case("layer_norm", "NaN in one row", (*bad, plain((31,))), {"eps": 1e-6})
    yield Case("layer_norm", "eps that counts", (permuted((7, 33)), plain((33,)), plain((33,))), {"eps": 2.0})


def _softmax() -> Iterator[Case]:
    yield from _along("softmax", scale=1.0)
    yield from _along("softmax", fill=uniform(-90, 90), scale=0.125)
    for x, mask, make in (
        ((5, 33), (5, 33), permuted),
        ((2, 3, 7, 65), (2, 1, 7, 65), plain),
        ((2, 4, 5, 31), (1, 1, 5, 31), rows_apart),
        ((2, 4, 5, 31), (5, 31), outer_permuted),
        ((3, 4, 1, 257), (3, 1, 1, 257), stepped),
        ((7, 100), (100,), broadcast),
        ((1, 2, 9, 700), (1, 1, 9, 700), plain),
    ):
        operands = (make(x), plain(mask, fill=masked))
        yield Case("softmax", f"{named(x)} masked by {named(mask)}", operands, {"scale": 0.3}, make is rows_apart)
        strided = (make(x), rows_apart(mask, fill=masked))
        yield Case("softmax", f"{named(x)} masked by {named(mask)} rows apart", strided, {"scale": 2.0})
    biased = (plain((2, 3, 7, 65)), plain((2, 1, 7, 65)))
    yield Case("softmax", "2x3x7x65 with a bias 2x1x7x65", biased, {"scale": 0.3})
    for what, fill in (
        ("NaN in one row", _one_bad(NAN)),
        ("inf in one row", _one_bad(INF)),
        ("-inf in one row", _one_bad(-INF)),
        ("all -inf", values(-INF)),
        ("far apart", values(-1e30, 0, 1e30, 3, 1e30)),
        ("very negative", uniform(-3e4, -2e4)),
    ):
        yield Case("softmax", what, (rows_apart((3, 65), fill=fill),), {"scale": 1.0})
    yield Case("softmax", "router of 512", (plain((4, 512)),), {"scale": 1.0})


def _sums() -> Iterator[Case]:
    for op in ("sum_rows", "cumsum"):
        yield from _along(op, fill=uniform(0.1, 1))
        yield Case(op, "decays", (permuted((3, 5, 64), fill=uniform(-20, -1e-4)),), {})
        yield Case(op, "NaN in one row", (stepped((3, 31), fill=_one_bad(NAN)),), {})
        yield Case(op, "-inf in one row", (stepped((3, 31), fill=_one_bad(-INF)),), {})


def _few(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Many equals."""
    return rng.integers(-2, 3, shape).astype(np.float32)


TOPS: tuple[tuple[Shape, int], ...] = (
    ((1, 1), 1),
    ((5, 7), 7),
    ((3, 16), 4),
    ((65, 31), 1),
    ((2, 5, 64), 10),
    ((33, 512), 10),
    ((2, 3, 4, 33), 8),
    ((3, 100), 64),
    ((2, 1023), 32),
    ((2, 1025), 16),
    ((2, 3000), 1),
    ((2, 5000), 64),
    ((1, 2000), 300),
)


TOP_EDGES = values(0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, 1e-40, -1e-40, INF, NAN)


def _top_k() -> Iterator[Case]:
    views = cycle(VIEWS.items())
    for shape, k in TOPS:
        for what, fill in (("random", normal), ("many equals", _few)):
            name, make = next(views)
            yield Case("top_k", f"{k} of {named(shape)} {what} {name}", (make(shape, fill=fill),), {"k": k}, k == 64)
    for shape, k in (((3, 31), 31), ((2, 5000), 40), ((2, 300), 200), ((1, 3000), 2)):
        yield Case("top_k", f"{k} of {named(shape)} edge values", (rows_apart(shape, fill=TOP_EDGES),), {"k": k})
    yield Case("top_k", "64 of a vocabulary", (plain((1, 151936)),), {"k": 64})
    yield Case("top_k", "1 of a vocabulary", (flat_offset((1, 151936)),), {"k": 1})
    yield Case("top_k", "40 of a vocabulary all equal", (plain((1, 151936), fill=values(-INF)),), {"k": 40})


TOPS_OF_PARTS: tuple[tuple[Shape, int, int], ...] = (
    ((3, 100), 1, 32),
    ((2, 2, 640), 2, 160),
    ((2, 5000), 1, 20),
    ((2, 1023), 8, 128),
    ((2, 5000), 64, 1024),
    ((1, 2000), 300, 1000),
)


def _top_k_of_parts() -> Iterator[Case]:
    views, of_ids = cycle(VIEWS.items()), cycle(reversed(VIEWS.values()))
    for shape, k, n_part in TOPS_OF_PARTS:
        for what, fill in (("random", normal), ("many equals", _few), ("edge values", TOP_EDGES)):
            name, make = next(views)
            x, m, found = make(shape, fill=fill), k * -(-shape[-1] // n_part), f"{named(shape)} {what} {name}"
            ids = next(of_ids)((*shape[:-1], m), I32, _different(shape[-1]))
            yield Case("top_k_parts", f"{k} of each {n_part} of {found}", (x,), {"k": k, "n_part": n_part}, k == 8)
            yield Case("top_k_among", f"{k} of {m} of {found}", (x, ids), {"k": k}, k == 8)
    equals, ids = stepped((1, 5000), fill=values(-INF)), rows_apart((1, 1000), I32, _different(5000))
    yield Case("top_k_parts", "64 of each 1000 of 1x5000 all equal", (equals,), {"k": 64, "n_part": 1000})
    yield Case("top_k_among", "64 of 1000 of 1x5000 all equal", (equals, ids), {"k": 64})
    edges = (rows_apart((3, 31), fill=TOP_EDGES),)
    yield Case("top_k_parts", "15 of each 16 of 3x31 edge values", edges, {"k": 15, "n_part": 16})
    x, ids = plain((5, 100), fill=_few), plain((5, 100), I32, _all_columns)
    yield Case("top_k_among", "all of 5x100, named in another order", (x, ids), {"k": 100})


def _different(n: int) -> Fill:
    """Ids below n, of which none occurs twice."""
    return lambda rng, shape: rng.permutation(n)[: prod(shape)].reshape(shape)


def _all_columns(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.permuted(np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape), axis=-1)


def _masks() -> Iterator[Case]:
    views = cycle(VIEWS.items())
    for shape in ((1, 1), (7, 7), (33, 33), (3, 64, 64), (2, 3, 31, 31)):
        for lower, diagonal in ((True, True), (True, False), (False, True), (False, False)):
            name, make = next(views)
            what = f"{named(shape)} {name} {'lower' if lower else 'upper'}{', diagonal' if diagonal else ''}"
            attrs = {"lower": lower, "diagonal": diagonal}
            yield Case("tri", what, (make(shape),), attrs, name in ("offset", "permuted"), 0.0, 0.0)
    yield Case("tri", "NaN outside", (stepped((9, 9), fill=values(NAN, 1, 2)),), {"lower": True, "diagonal": True})
    for shape, n_kv in (((1, 1), 1), ((1, 1), 256), ((3, 7), 33), ((2, 65), 100), ((4, 1), 257)):
        for make in (plain, permuted, rows_apart):
            pos = make(shape, I32, integers(-2, n_kv + 2))
            what = f"{named(shape)} of {n_kv} {make.__name__}"
            yield Case("causal_mask", what, (pos,), {"n_kv": n_kv}, n_kv == 33)
            yield Case("causal_mask", f"{what}, window", (pos,), {"n_kv": n_kv, "window": 7})
    for n_seqs, n_tokens in ((1, 1), (3, 8), (5, 65)):
        for make in (plain, rows_apart):
            n_valid = make((n_seqs,), I32, integers(-1, n_tokens + 2))
            attrs = {"n_tokens": n_tokens}
            yield Case("valid_mask", f"{n_seqs} of {n_tokens} {make.__name__}", (n_valid,), attrs, n_tokens == 8)


ADD_EDGES = values(0.0, -0.0, 1e-41, 3e-39, 1e-20, 1.5, float("inf"), float("-inf"), float("nan"), -2.0, 7.0)


def _add_norm(what: str, x: Operand, y: Operand, w: Operand, strided_out: bool = False) -> Case:
    return Case("add_rms_norm", what, (x, y, w), {"eps": 1e-6}, strided_out, 1e-11, 1e-5)


def _add_rms_norm() -> list[Case]:
    shapes = (1, 1), (1, 256), (7, 31), (33, 65), (3, 257), (2, 4099), (100, 63)
    cases = [_add_norm(named(s), plain(s), plain(s), plain(s[1:])) for s in shapes]
    for name, make in VIEWS.items():
        cases += [
            _add_norm(f"{name} x", make((9, 100)), plain((9, 100)), plain((100,)), True),
            _add_norm(f"{name} y", rows_apart((5, 33)), make((5, 33)), stepped((33,))),
        ]
    return [
        *cases,
        _add_norm("edges", Operand((11, 7), fill=ADD_EDGES), plain((11, 7)), plain((7,))),
        _add_norm("zeros", Operand((3, 8), fill=values(0.0)), Operand((3, 8), fill=values(0.0)), plain((8,)), True),
        _add_norm("both transposed", permuted((12, 40)), permuted((12, 40)), plain((40,))),
    ]


CASES: tuple[Case, ...] = (
    *_norms(),
    *_scaled_norms(),
    *_added_norms(),
    *_softmax(),
    *_sums(),
    *_top_k(),
    *_top_k_of_parts(),
    *_masks(),
    *_add_rms_norm(),
)
