"""The host's side of dots.glsl: kernels that multiply several weights in one dispatch."""

from collections.abc import Iterable
from itertools import product

from ...runtime.ir.dtypes import DType
from ...runtime.ir.tensor import Tensor
from ..kernel import Defines, Features
from .mul_mat_args import in_words, type_define

LANES = 8  # of a subgroup that lanes.glsl asks for
MAX_COLS = 32  # rows of x: for more of them the products apart are faster
MAX_COLS_SOFTWARE = 12  # of experts on CPUs, where tokens of one expert share no load
FORMS = (("LANES",), ("SUBGROUPS",), ())


def form_of(features: Features) -> tuple[str, ...]:
    """The flags of dots.glsl and of vec.glsl for a device."""
    if features.software and features.subgroup_size >= LANES:
        return ("LANES",)
    return ("SUBGROUPS",) if features.subgroup_size and not features.software else ()


def defines(first: DType, second: DType, form: Iterable[str]) -> Defines:
    """Of a kernel of weights of two types (weights.glsl)."""
    more = () if second is first else ((f"SECOND_{second.name}", ""),)
    return (type_define(first), *more, *((flag, "") for flag in form))


def variants(stem: str, pairs: Iterable[tuple[DType, DType]]) -> tuple[tuple[str, Defines], ...]:
    return tuple((stem, defines(*pair, form)) for pair, form in product(pairs, FORMS))


def local_of(n_inner: int, features: Features) -> int:
    """Invocations a workgroup: a subgroup on CPUs; one or two of a GPU's, an octet of a row each at a time."""
    if features.software:
        return LANES
    return 32 if features.subgroup_size == 32 and n_inner <= 1024 else 64


def tile_of(local: int, rows: int, features: Features) -> int:
    """Rows a workgroup: TILE_OF of dots.glsl."""
    return local * rows if "LANES" in form_of(features) else rows


def row_words(t: Tensor) -> tuple[int, ...]:
    """A weight's strides but the last, in elements or in words of packed rows, innermost first."""
    return tuple(reversed(in_words(t).strides[:-1]))


def most_tokens(features: Features) -> int:
    """Of the experts' kernels."""
    return MAX_COLS_SOFTWARE if features.software else MAX_COLS
