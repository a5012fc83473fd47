"""Cases of the op table: copies, which must agree with the reference bit for bit (conversions too)."""

from collections.abc import Iterator
from itertools import cycle, product
from typing import Any

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from ..ir.tensor import Tensor
from .case import Case, Fill, Operand, integers, normal, values
from .views import (
    STRIDED,
    VIEWS,
    broadcast,
    flat_offset,
    named,
    outer_cut,
    permuted,
    plain,
    rows_apart,
    stepped,
    transpose,
)

F32, F16, BF16, I32 = DType.F32, DType.F16, DType.BF16, DType.I32
FLOATS = (F32, F16, BF16)
INF, NAN = float("inf"), float("nan")
EDGES = values(0, -0.0, INF, -INF, NAN, 1, 2049, 2051, 65504, 6e-8, -2.9e-8, 3e-8, 6.1e-5, 1e-7)
LARGE = values(65519, 65520, -7e4, 3e38, -3.4028235e38, 1e-40, 1.00390625, 1.01171875)
COUNTS = integers(-1000, 1000)


def _exact(op: str, what: str, operands: tuple[Operand, ...], strided_out: bool = False, **attrs: Any) -> Case:
    return Case(op, what, operands, attrs, strided_out, nmse=0.0, row=0.0)


def _fill(dtype: DType) -> Fill:
    return COUNTS if dtype is I32 else normal


def _contiguous() -> Iterator[Case]:
    shapes = cycle(((3, 33), (2, 5, 31), (2, 3, 4, 7)))
    for dtype, (name, make) in product((F32, F16, BF16, I32), VIEWS.items()):
        shape = next(shapes)
        what = f"{dtype.name} {named(shape)} {name}"
        yield _exact("contiguous", what, (make(shape, dtype, _fill(dtype)),), name in ("stepped", "permuted"))
    for n in (1, 7, 63, 65, 100, 257, 2048):
        yield _exact("contiguous", f"F16 2x{n} rows apart", (rows_apart((2, n), F16),), n % 2 == 1)
    yield _exact("contiguous", "I32 3 axes permuted", (Operand((5, 7, 3), I32, lambda t: t.permute(2, 0, 1), COUNTS),))


def _cast() -> Iterator[Case]:
    for src, dst in product(FLOATS, FLOATS):
        both = f"{src.name} to {dst.name}"
        yield _exact("cast", f"{both} 3x33", (plain((3, 33), src),), dtype=dst)
        yield _exact("cast", f"{both} 5x31 permuted, rows apart out", (permuted((5, 31), src),), True, dtype=dst)
        yield _exact("cast", f"{both} edge values", (flat_offset((3, 36), src, EDGES),), dtype=dst)
    for dst in FLOATS:
        yield _exact("cast", f"F32 to {dst.name} large values", (stepped((3, 9), fill=LARGE),), dtype=dst)


def _cpy() -> Iterator[Case]:
    types = (*product(FLOATS, FLOATS), (I32, I32))
    targets = cycle(
        (
            ("columns 3 to 36", rows_apart((5, 33), F32)),
            ("stepped columns", stepped((5, 33), F32)),
            ("every second row", outer_cut((5, 33), F32)),
            ("transposed", permuted((5, 33), F32)),
        )
    )
    for (src, dst), (name, make) in zip(types * 2, cycle(STRIDED.items()), strict=False):
        where, target = next(targets)
        into = Operand(target.shape, dst, target.view, _fill(dst))
        yield _exact("cpy", f"{src.name} {name} to {dst.name} {where}", (make((5, 33), src, _fill(src)), into))
    for n in (1, 2, 3, 8, 65):
        slot = Operand((4, 6, n), F16, lambda t: t.select(0, 2).slice(0, 1, 4))
        yield _exact("cpy", f"3x{n} to rows of a slot of F16", (plain((3, n)), slot))


def _concat() -> Iterator[Case]:
    views = cycle(VIEWS.values())
    for axis in range(4):
        a, b = [2, 3, 4, 5], [2, 3, 4, 5]
        b[axis] = 7
        for dtype in (F32, F16, I32):
            pair = (next(views)(tuple(a), dtype, _fill(dtype)), next(views)(tuple(b), dtype, _fill(dtype)))
            yield _exact("concat", f"{dtype.name} axis {axis}", pair, dtype is F16, axis=axis)
    yield _exact("concat", "state and tokens", (rows_apart((1, 3, 65)), rows_apart((1, 7, 65))), axis=1)
    yield _exact("concat", "columns", (permuted((33, 31)), broadcast((33, 1))), True, axis=1)
    yield _exact("concat", "BF16 rows", (plain((3, 7), BF16), plain((1, 7), BF16)), axis=0)
    yield _exact("concat", "with nothing", (Operand((0, 7)), stepped((3, 7))), axis=0)
    yield _exact("concat", "nothing after", (stepped((3, 7)), Operand((3, 0))), axis=1)
    yield _exact("concat", "slices of one buffer", (_columns(0, 5), _columns(5, 9)), axis=1)


def _columns(start: int, stop: int) -> Operand:
    return Operand((7, 9), view=lambda t: t.slice(1, start, stop))


def _repeat() -> Iterator[Case]:
    views = cycle(STRIDED.values())
    for old, new in (
        ((3, 7), (6, 7)),
        ((3, 7), (3, 21)),
        ((3, 7), (9, 14)),
        ((1, 33), (5, 33)),
        ((2, 1, 31), (2, 4, 31)),
        ((2, 3, 1, 5), (4, 6, 7, 10)),
        ((2, 3, 4, 5), (2, 6, 4, 15)),
    ):
        for dtype, strided in ((F32, False), (F16, True), (I32, False)):
            what = f"{dtype.name} {named(old)} to {named(new)}"
            yield _exact("repeat", what, (next(views)(old, dtype, _fill(dtype)),), strided, shape=new)
    yield _exact("repeat", "plain", (plain((3, 65)),), shape=(6, 130))


def _pad() -> Iterator[Case]:
    views = cycle(VIEWS.values())
    for shape, before, after in (
        ((7,), (0,), (9,)),
        ((3, 33), (0, 0), (0, 31)),
        ((3, 33), (2, 0), (0, 0)),
        ((3, 33), (1, 2), (3, 4)),
        ((2, 5, 31), (0, 0, 0), (0, 59, 0)),
        ((2, 5, 31), (1, 1, 1), (1, 1, 1)),
        ((2, 3, 5, 7), (0, 0, 0, 0), (0, 0, 3, 0)),
        ((2, 3, 5, 7), (1, 2, 3, 4), (4, 3, 2, 1)),
        ((2, 3, 65), (0, 0, 0), (0, 0, 0)),
    ):
        for strided in (False, True):
            make = plain if len(shape) == 1 else next(views)
            what = f"{named(shape)} by {before}, {after}{', rows apart out' if strided else ''}"
            yield _exact("pad", what, (make(shape),), strided, before=before, after=after)
    yield _exact("pad", "nothing at all", (Operand((0, 5)),), before=(2, 0), after=(1, 1))


def _set() -> Iterator[Case]:
    views = cycle(VIEWS.values())
    for what, shape, src, strides, offset in (
        ("one row of many", (5, 33), (1, 33), (33, 1), 66),
        ("a column", (5, 33), (5,), (33,), 7),
        ("a block inside", (7, 9), (3, 4), (9, 1), 20),
        ("a transposed block", (7, 9), (4, 3), (1, 9), 20),
        ("every second row and third column", (8, 12), (4, 4), (24, 3), 1),
        ("a chunk of a batch", (2, 5, 3, 7), (2, 3, 7), (105, 7, 1), 42),
        ("4 axes permuted", (4, 6, 5, 7), (2, 3, 2, 3), (3, 35, 14, 210), 8),
        ("the last element", (3, 7), (1,), (1,), 20),
        ("all of it", (3, 31), (3, 31), (31, 1), 0),
        ("a diagonal", (9, 9), (9,), (10,), 0),
        ("across rows", (4, 10), (3, 4), (11, 2), 3),
        ("nothing", (3, 7), (0, 7), (7, 1), 0),
    ):
        for dtype in (F32, F16):
            x, part = next(views)(shape, dtype), next(views)(src, dtype) if len(src) > 1 else stepped(src, dtype)
            part = part if min(src) else Operand(src, dtype)
            yield _exact("set", f"{dtype.name} {what}", (x, part), dtype is F16, strides=strides, offset=offset)
    yield _exact("set", "I32", (plain((33,), I32, COUNTS), plain((3,), I32, COUNTS)), strides=(4,), offset=5)


def _get_rows() -> Iterator[Case]:
    tables = cycle((plain, rows_apart, outer_cut, stepped, permuted, flat_offset))
    for dtype, n in product((F32, F16, BF16, I32), (1, 7, 33, 257)):
        table = next(tables)((9, n), dtype, _fill(dtype))
        yield _exact("get_rows", f"{dtype.name} rows of {n}", (table, _ids((5,), 0, 9)), n == 33)
    for ids in ((1,), (65,), (3, 7), (2, 3, 5)):
        yield _exact("get_rows", f"ids {named(ids)}", (rows_apart((31, 63)), _ids(ids, 0, 31)), len(ids) == 2)
    yield _exact("get_rows", "ids out of range", (plain((7, 33)), _ids((65,), -9, 20)))
    yield _exact("get_rows", "ids stepped", (plain((7, 33)), stepped((5,), I32, integers(0, 7))), True)
    yield _exact("get_rows", "ids permuted", (plain((7, 33), F16), permuted((3, 5), I32, integers(0, 7))))
    for make, dtype in ((plain, F32), (outer_cut, F16), (permuted, F32), (stepped, BF16)):
        batch = (make((3, 7, 31), dtype), rows_apart((3, 5), I32, integers(-1, 8)))
        yield _exact("get_rows", f"batches of {dtype.name} {make.__name__}", batch, dtype is F16)
    yield _exact("get_rows", "router weights", (plain((3, 16, 1)), permuted((3, 4), I32, integers(0, 16))))
    yield _exact("get_rows", "rows of 2048", (plain((3, 2048), BF16), _ids((2,), 0, 3)))


def _rows_within() -> Iterator[Case]:
    """Of a table in parts: the last rows, to which what is out of range is clamped, the first ones, some between."""
    for (first, n), dtype in product(((5, 4), (0, 7), (3, 5)), (F32, BF16)):
        table, into = rows_apart((n, 33), dtype), stepped((12, 33))
        yield _exact(
            "get_rows_within",
            f"{n} from {first}, {dtype.name}",
            (into, table, _ids((12,), -2, 12)),
            first=first,
            n_rows=9,
        )
    batch = (plain((3, 5, 31)), permuted((3, 7, 31), F16), rows_apart((3, 5), I32, integers(-1, 22)))
    yield _exact("get_rows_within", "batches", batch, first=6, n_rows=20)
    numbers = (plain((6, 7), I32, COUNTS), rows_apart((4, 7), I32, COUNTS), _ids((6,), 0, 9))
    yield _exact("get_rows_within", "I32", numbers, first=2, n_rows=9)
    for dtype in (DType.Q4_0, DType.Q6_K, DType.IQ2_XS):
        k = 2 * dtype.block
        blocks = (rows_apart((3, 5, k)), Operand((11, k), dtype, lambda w: w.slice(0, 3, 9)), _ids((3, 5), -2, 24))
        yield Case("get_rows_within", f"{dtype.name}: rows 7 to 12 of 20", blocks, {"first": 7, "n_rows": 20})


def _ids(shape: Shape, low: int, high: int) -> Operand:
    return Operand(shape, I32, fill=integers(low, high))


def _distinct(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Ids without repeats, of which a few lie outside of 0..8."""
    return rng.permutation(np.arange(-2, 11))[: shape[0]].astype(np.int32)


def _set_rows() -> Iterator[Case]:
    targets = (("plain", plain), ("rows apart", rows_apart), ("stepped", stepped), ("permuted", permuted))
    sources = cycle((plain, rows_apart, permuted, stepped))
    for dtype, (name, make), n in product((F32, F16), targets, (1, 7, 64, 257)):
        operands = (make((9, n), dtype), Operand((6,), I32, fill=_distinct), next(sources)((6, n)))
        yield _exact("set_rows", f"{dtype.name} {name} rows of {n}", operands)
    for dtype, src in product((F32, F16), (F16, BF16)):
        operands = (plain((9, 31), dtype), stepped((6,), I32, _distinct), rows_apart((6, 31), src))
        yield _exact("set_rows", f"{src.name} into {dtype.name}", operands)
    for dtype, src in product((F32, F16), (F32, F16, BF16)):
        repeats = (rows_apart((5, 33), dtype), _ids((65,), 0, 5), plain((65, 33), src))
        yield _exact("set_rows", f"of repeated ids the last counts, {src.name} into {dtype.name}", repeats)
    yield _exact("set_rows", "one row", (plain((5, 256), F16), _ids((1,), 3, 4), plain((1, 256))))
    yield _exact("set_rows", "a slot of a cache", (Operand((3, 5, 33), F16, _slot), _ids((1,), 2, 3), plain((1, 33))))


def _slot(t: Tensor) -> Tensor:
    return t.select(0, 1)


def _block_rows(what: str, table: Operand, ids: Operand, strided_out: bool = False) -> Case:
    return Case("get_rows", f"{table.dtype.name}: {what}", (table, ids), strided_out=strided_out)


def _get_block_rows() -> list[Case]:
    cases = []
    for t in [t for t in DType if t.is_quantised]:
        k = 3 * t.block
        cases += [
            _block_rows("blocks", Operand((33, k), t), Operand((7,), I32, fill=integers(0, 33))),
            _block_rows(
                "blocks, rows 5 to 30", Operand((33, k), t, lambda w: w.slice(0, 5, 30)), _ids((4, 3), -2, 27), True
            ),
        ]
    ids = Operand((5, 3), I32, transpose, integers(0, 20))
    return [
        *cases,
        _block_rows("blocks, batched", Operand((3, 20, 64), DType.Q8_0), ids),
        _block_rows(
            "blocks, three axes of ids", Operand((20, 64), DType.Q4_0), Operand((2, 3, 5), I32, fill=integers(0, 20))
        ),
        _block_rows("long row", Operand((3, 8192), DType.Q4_0), Operand((2,), I32, fill=integers(0, 3))),
    ]


CASES: tuple[Case, ...] = (
    *_contiguous(),
    *_cast(),
    *_cpy(),
    *_concat(),
    *_repeat(),
    *_pad(),
    *_set(),
    *_get_rows(),
    *_get_block_rows(),
    *_rows_within(),
    *_set_rows(),
)
