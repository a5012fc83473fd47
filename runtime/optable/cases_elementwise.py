"""Cases of the op table: elementwise."""

from collections.abc import Iterator
from itertools import cycle

import numpy as np

from ..ir.dtypes import DType
from ..ir.layout import Shape
from .case import Case, Fill, Operand, uniform, values
from .views import STRIDED, VIEWS, flat_offset, named, permuted, plain, rows_apart, stepped

INF, NAN = float("inf"), float("nan")
EDGES = values(0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 1e-40, -1e-40, 1e-6, -1e-6, 100.0, -100.0, 88.0, -88.0, 20.0, 0.3)
NORMALS = values(
    0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 8e37, -8e37, 1e-30, -1e-30, 80.0, -80.0
)  # no denormals, which some flush, not as exp(-100) either, and no denominators beyond 2^126, for which Vulkan
# promises nothing
SHAPES: tuple[Shape, ...] = ((1,), (7,), (257,), (3, 33), (5, 1, 31), (2, 3, 5, 7), (65, 63), (1, 2048), (3, 100, 129))
POSITIVE = ("sqrt", "log")
UNARY = ("neg", "abs", "sqr", "sqrt", "exp", "log", "tanh", "relu", "sigmoid", "silu", "softplus", "gelu", "gelu_erf")
ATTRS = {"scale": {"factor": -1.7, "bias": 0.3}, "clamp": {"low": -0.5, "high": 0.75}}


def _unary() -> Iterator[Case]:
    views = cycle(STRIDED.items())
    for op in (*UNARY, *ATTRS):
        fill = uniform(1e-6, 50) if op in POSITIVE else uniform(-12, 12)
        attrs = ATTRS.get(op, {})
        yield Case(op, "edge values", (plain((257,), fill=EDGES),), attrs, nmse=1e-9)
        yield Case(op, "2x2048 tiny and small", (plain((2, 2048), fill=_wide),), attrs)
        yield Case(op, "edge values, stepped, rows apart out", (stepped((3, 33), fill=EDGES),), attrs, True, 1e-9)
        for shape in SHAPES[2:5] if op in UNARY else SHAPES:
            name, make = next(views) if len(shape) > 1 else ("stepped", stepped)
            yield Case(op, f"{named(shape)} {name}", (make(shape, fill=fill),), attrs, strided_out=name == "rows apart")


def _wide(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Positive, of all sizes from 1e-8 to 10."""
    return (10 ** rng.uniform(-8, 1, shape)).astype(np.float32)


# two operands' shapes under numpy's broadcasting
PAIRS: tuple[tuple[Shape, Shape], ...] = (
    ((1,), (1,)),
    ((33,), (1,)),
    ((7, 65), (65,)),
    ((7, 65), (7, 1)),
    ((7, 1), (1, 31)),
    ((63,), (3, 5, 63)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((2, 1, 100), (1, 257, 100)),
)


def _binary() -> Iterator[Case]:
    views = cycle(VIEWS.items())
    for op in ("add", "sub", "mul", "div", "swiglu", "geglu"):
        fill = uniform(0.5, 9) if op == "div" else uniform(-5, 5)
        edges = (plain((13, 13), fill=NORMALS), permuted((13, 13), fill=NORMALS))
        yield Case(op, "edge values against each other", edges, nmse=1e-9)
        for a, b in PAIRS:
            yield Case(op, f"{named(a)} with {named(b)}", (plain(a, fill=fill), plain(b, fill=fill)))
        yield Case(op, "2048 plain", (plain((1, 2048), fill=fill), plain((1, 2048), fill=fill)))
        yield Case(op, "gate and up of one projection", _halves(fill))
        yield Case(op, "rows apart out", (plain((5, 33), fill=fill), rows_apart((5, 33), fill=fill)), strided_out=True)
        for shape in ((3, 33), (2, 5, 31), (2, 3, 5, 9)):
            (name, first), (other, second) = next(views), next(views)
            yield Case(op, f"{named(shape)} {name}, {other}", (first(shape, fill=fill), second(shape, fill=fill)))


def _halves(fill: Fill) -> tuple[Operand, Operand]:
    return (
        Operand((3, 130), view=lambda t: t.slice(-1, 0, 65), fill=fill),
        Operand((3, 130), view=lambda t: t.slice(-1, 65, 130), fill=fill),
    )


def _clamps() -> Iterator[Case]:
    yield Case("clamp", "no upper limit", (flat_offset((65,), fill=EDGES),), {"low": 0.0, "high": INF})
    yield Case("clamp", "infinite limits", (stepped((65,), fill=EDGES),), {"low": -INF, "high": INF})
    yield Case("scale", "by 0 at an offset", (flat_offset((3, 7), fill=EDGES),), {"factor": 0.0, "bias": 0.0})


def _selects() -> Iterator[Case]:
    views = cycle(VIEWS.items())
    for shape in ((1, 1), (1, 257), (3, 33), (2, 5, 31), (2, 3, 5, 9)):
        for number in (0, 1, -3):
            (name, first), (other, second) = next(views), next(views)
            which = Operand((7,), DType.I32, lambda t: t.slice(0, 4, 5), values(0, 0, 0, 0, number, 0, 0))
            what = f"{number} of {named(shape)} {name}, {other}"
            yield Case(
                "select", what, (which, first(shape), second(shape)), {"decision": "it"}, len(shape) == 3, 0.0, 0.0
            )


CASES: tuple[Case, ...] = (*_unary(), *_binary(), *_clamps(), *_selects())
