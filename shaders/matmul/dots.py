"""The host's side of dots.glsl: kernels that multiply several weights in one dispatch."""

from collections.abc import Iterable
from itertools import product

from ...runtime.ir.dtypes import DType
from ...runtime.ir.tensor import Tensor
from ..kernel import Defines, Features
from .mul_mat_args import in_words, type_define
from .wide import DOT_TYPES, takes_wide

LANES = 8  # of a subgroup that lanes.glsl asks for
MAX_COLS = 32  # rows of x: for more of them the products apart are faster
MAX_COLS_SOFTWARE = 12  # of experts on CPUs, where tokens of one expert share no load
SHORT_ROW = 512  # numbers, which keep half of the invocations of wide.glsl idle; 256 was slower there, 2048 faster
FORMS = (("LANES",), ("WIDE", "DOT"), ("WIDE",), ("SUBGROUPS",), ())


def form_of(features: Features, *weights: Tensor, n_cols: int = 1) -> tuple[str, ...]:
    """The flags of dots.glsl for a device and weights."""
    if features.software and features.subgroup_size >= LANES:
        return ("LANES",)
    lengths = [w.shape[-1] for w in weights]
    if not takes_wide(features, *lengths) or max(lengths, default=SHORT_ROW + 1) <= SHORT_ROW:
        return ("SUBGROUPS",) if features.subgroup_size and not features.software else ()
    dots = features.int_dot and n_cols == 1 and _dots(*(w.dtype for w in weights))
    return ("WIDE", "DOT") if dots else ("WIDE",)


def _dots(*dtypes: DType) -> bool:
    """Products by integers, of weights of one type, to spare drivers a kernel twice as large. Integers of three bytes
    pay for one column: for several, products of floats are fewer."""
    return set(dtypes) <= DOT_TYPES and len(set(dtypes)) == 1


def defines(first: DType, second: DType, form: Iterable[str]) -> Defines:
    """Of a kernel of weights of two types (weights.glsl)."""
    more = () if second is first else ((f"SECOND_{second.name}", ""),)
    return (type_define(first), *more, *((flag, "") for flag in form))


def variants(stem: str, pairs: Iterable[tuple[DType, DType]]) -> tuple[tuple[str, Defines], ...]:
    made = ((pair, form) for pair, form in product(pairs, FORMS) if "DOT" not in form or _dots(*pair))
    return tuple((stem, defines(*pair, form)) for pair, form in made)


def local_of(n_inner: int, features: Features) -> int:
    """Invocations a workgroup: a subgroup on CPUs; one or two of a GPU's, an octet of a row each at a time."""
    if features.software:
        return LANES
    return 32 if features.subgroup_size == 32 and n_inner <= 1024 else 64


def row_words(t: Tensor) -> tuple[int, ...]:
    """A weight's strides but the last, in elements or in words of packed rows, innermost first."""
    return tuple(reversed(in_words(t).strides[:-1]))


def most_tokens(features: Features) -> int:
    """Of the experts' kernels."""
    return MAX_COLS_SOFTWARE if features.software else MAX_COLS
