"""The host's side of dots.glsl: kernels that multiply several weights in one dispatch."""

from collections.abc import Iterable
from itertools import product

from ...runtime.ir.dtypes import DType
from ...runtime.ir.tensor import Tensor
from ..kernel import Defines, Features
from .mul_mat_args import in_words, type_define
from .wide import takes_wide

LANES = 8  # of a subgroup that lanes.glsl asks for
MAX_COLS = 32  # rows of x: for more of them the products apart are faster
MAX_COLS_SOFTWARE = 12  # of experts on CPUs, where tokens of one expert share no load
SHORT_ROW = 512  # numbers, which keep half of the invocations of wide.glsl idle; 256 was slower there, 2048 faster
FORMS = (("LANES",), ("WIDE", "DOT"), ("WIDE",), ("SUBGROUPS",), ())


def form_of(features: Features, *weights: Tensor, n_cols: int = 1) -> tuple[str, ...]:
    """The flags of dots.glsl for a device and weights."""
    if features.software and features.subgroup_size >= LANES:
        return ("LANES",)
    lengths, dtypes = [w.shape[-1] for w in weights], [w.dtype for w in weights]
    by_subgroups = has_form(("SUBGROUPS",), *dtypes)
    is_short = max(lengths, default=SHORT_ROW + 1) <= SHORT_ROW and by_subgroups
    if is_short or not takes_wide(features, *lengths):
        return ("SUBGROUPS",) if features.subgroup_size and by_subgroups and not features.software else ()
    dots = features.int_dot and n_cols == 1 and has_form(("WIDE", "DOT"), *dtypes)
    return ("WIDE", "DOT") if dots else ("WIDE",)


def has_form(form: tuple[str, ...], *dtypes: DType) -> bool:
    """Products by integers are of weights of one type, to spare drivers a kernel twice as large; integers of three
    bytes pay for one column: for several, products of floats are fewer. Rare types have no form for short rows."""
    if "DOT" in form:
        return all(t.is_quantised for t in dtypes) and len(set(dtypes)) == 1
    return form != ("SUBGROUPS",) or not any(t.is_rare for t in dtypes)


def defines(first: DType, second: DType, form: Iterable[str]) -> Defines:
    """Of a kernel of weights of two types (weights.glsl)."""
    more = () if second is first else ((f"SECOND_{second.name}", ""),)
    return (type_define(first), *more, *((flag, "") for flag in form))


def variants(stem: str, pairs: Iterable[tuple[DType, DType]]) -> tuple[tuple[str, Defines], ...]:
    made = ((pair, form) for pair, form in product(pairs, FORMS) if has_form(form, *pair))
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
    """Of the experts' kernels, where matrices do not take them over earlier."""
    if features.software:
        return MAX_COLS_SOFTWARE
    return MAX_COLS if features.cooperative_matrix else features.tuning.list_tokens - 1
