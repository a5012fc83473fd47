"""What a kernel takes: the one form in which it declares each operand, and the one wording in which it refuses one.

    Kernel("experts_sum", takes={"routed": FLOATS, "weights": FLOATS, ...}, gives={"y": FLOATS}, ...)
    {"q": FLOATS.rows, "k": FLOATS.rows.strided_as("q"), "slots": INTS, "mask?": FLOATS, "w*": WEIGHTS.rows}

Names are those of the op, in its order; "mask?" may be missing, "w*" occurs any number of times, last. Beyond what is
declared every operand fits 32-bit indices, and no output has two elements in one place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..runtime.ir.dtypes import DType
from ..runtime.ir.graph import Node
from ..runtime.ir.layout import Layout, Shape, collapse_together
from ..runtime.ir.quants import packed_row_nbytes
from ..runtime.ir.tensor import Tensor

COUNT_LIMIT = 2**31  # elements of a tensor: walk.glsl's fast_div is exact below
INDEX_LIMIT = 2**32  # elements of a storage, or its 32-bit words where it holds blocks


@dataclass(frozen=True)
class Operand:
    """Any tensor of these dtypes, until a property or method below says more."""

    dtypes: tuple[DType, ...]
    is_rows: bool = False
    is_whole: bool = False
    n_joined: int = 0
    alignment: int = 1
    is_in_words: bool = False
    may_be_cut: bool = False
    sizes: tuple[tuple[int, int, int, int], ...] = ()  # axis, least, most, multiple
    same_dtype: str = ""
    same_strides: str = ""
    same_shape: str = ""

    @property
    def rows(self) -> "Operand":
        """The last axis has stride 1."""
        return replace(self, is_rows=True)

    @property
    def contiguous(self) -> "Operand":
        return replace(self, is_whole=True)

    def joined(self, n: int) -> "Operand":
        """The first n axes have a common stride: they are one axis to the kernel."""
        return replace(self, n_joined=n)

    def aligned(self, n: int) -> "Operand":
        """Offset and all strides but the last are multiples of n elements."""
        return replace(self, alignment=n)

    @property
    def in_words(self) -> "Operand":
        """Offset and all strides but the last are whole 32-bit words."""
        return replace(self, is_in_words=True)

    @property
    def cut(self) -> "Operand":
        """Of a block type rows may be the first blocks of longer ones."""
        return replace(self, may_be_cut=True)

    def axis(self, axis: int, least: int = 0, most: int = INDEX_LIMIT, multiple: int = 1) -> "Operand":
        """The axis has `least` to `most` entries, and a multiple of `multiple`."""
        return replace(self, sizes=(*self.sizes, (axis, least, most, multiple)))

    def typed_as(self, other: str) -> "Operand":
        """The dtype of another operand."""
        return replace(self, same_dtype=other)

    def strided_as(self, other: str) -> "Operand":
        """The strides of another operand of the same shape."""
        return replace(self, same_strides=other)

    def shaped_as(self, other: str) -> "Operand":
        return replace(self, same_shape=other)


Operands = dict[str, Operand]

FLOATS = Operand((DType.F32,))
INTS = Operand((DType.I32,))
WORDS = Operand((DType.F32, DType.I32))
NUMBERS = Operand((DType.F32, DType.F16, DType.BF16, DType.I32))
WEIGHTS = Operand(tuple(d for d in DType if d is not DType.I32))
BLOCKS = Operand(tuple(d for d in DType if d.is_quantised))


def refusal(takes: Operands, gives: Operands, node: Node) -> str:
    """Empty when every operand is as declared; otherwise the first that is not, what it is and what it should be."""
    for declared, tensors in ((takes, node.inputs), (gives, node.outputs)):
        if not _counts(declared, len(tensors)):
            return f"{len(tensors)} operands, expected {', '.join(declared)}"
    ins, outs = list(_paired(takes, node.inputs)), list(_paired(gives, node.outputs))
    named = {name: t for name, _, t in (*outs, *ins)}
    for name, operand, t in (*ins, *outs):
        if why := _problem(operand, t) or _unlike(operand, t, named):
            return f"{name} {t} {why}"
    return next((f"{name} {t} {why}" for name, _, t in outs if (why := _overlaid(t.layout))), "")


def _counts(declared: Operands, n: int) -> bool:
    fewest = sum(name[-1] not in "?*" for name in declared)
    return fewest <= n and (n <= len(declared) or any(name.endswith("*") for name in declared))


def _paired(declared: Operands, tensors: Sequence[Tensor]) -> Iterator[tuple[str, Operand, Tensor]]:
    """Names, declarations and tensors; those of "w*" are w0, w1, ..."""
    names = list(declared)
    for i, t in enumerate(tensors):
        name = names[min(i, len(names) - 1)]
        shown = f"{name[:-1]}{i - len(names) + 1}" if name.endswith("*") else name.rstrip("?")
        yield shown, declared[name], t


def _problem(operand: Operand, t: Tensor) -> str:
    """What is wrong with a tensor by itself."""
    a = t.layout
    if t.dtype not in operand.dtypes:
        return f"is {t.dtype.name}, expected {_one_of(operand.dtypes)}"
    if t.is_cut and not operand.may_be_cut:
        return f"has the first {a.shape[-1]} of rows of {t.storage.shape[-1]}, expected whole ones"
    if operand.is_rows and not a.rows_contiguous:
        return f"has inner stride {a.strides[-1]}, expected 1"
    if operand.is_whole and not a.is_contiguous:
        return f"has strides {a.strides}, expected to be contiguous"
    if operand.n_joined and not _joins(a, operand.n_joined):
        return f"has strides {a.strides}, expected one for its first {operand.n_joined} axes"
    n = max(operand.alignment, 4 // t.dtype.block_bytes if operand.is_in_words else 1)
    if any(at % n for at in (a.offset, *strides_that_count(t)[:-1])):
        return f"has offset {a.offset} and strides {a.strides}, expected multiples of {n}"
    return _missized(operand, a.shape) or _too_large(t)


def _one_of(dtypes: Sequence[DType]) -> str:
    if len(dtypes) > 4:
        return "floats or blocks" if DType.F32 in dtypes else "blocks"
    return " or ".join(d.name for d in dtypes)


def _joins(a: Layout, n: int) -> bool:
    return a.n_elements == 0 or collapse_together((Layout(a.shape[:n], a.strides[:n]),))[0].ndim == 1


def _missized(operand: Operand, shape: Shape) -> str:
    for axis, least, most, multiple in operand.sizes:
        if not least <= shape[axis] <= most:
            return f"has {shape[axis]} entries on axis {axis}, expected {least} to {most}"
        if shape[axis] % multiple:
            return f"has {shape[axis]} entries on axis {axis}, expected a multiple of {multiple}"
    return ""


def _too_large(t: Tensor) -> str:
    last = t.layout.span[1]
    if t.dtype.is_quantised:
        n = t.storage.shape[-1]
        last = -(-last // n) * packed_row_nbytes(t.dtype, n) // 4 if t.layout.n_elements else 0
    elif t.layout.n_elements >= COUNT_LIMIT:
        return f"has {t.layout.n_elements} elements, expected less than {COUNT_LIMIT}"
    return f"ends at {last} of its storage, expected at most {INDEX_LIMIT}" if last > INDEX_LIMIT else ""


def _unlike(operand: Operand, t: Tensor, given: Mapping[str, Tensor]) -> str:
    """What is wrong with a tensor beside another."""
    if (name := operand.same_shape) and given[name].shape != t.shape:
        return f"has shape {t.shape}, expected {given[name].shape} as {name} has"
    if (name := operand.same_dtype) and given[name].dtype is not t.dtype:
        return f"is {t.dtype.name}, expected {given[name].dtype.name} as {name} is"
    if (name := operand.same_strides) and strides_that_count(given[name]) != strides_that_count(t):
        return f"has strides {t.layout.strides}, expected {given[name].layout.strides} as {name} has"
    return ""


def strides_that_count(t: Tensor) -> Shape:
    """Strides, with 0 for axes of one entry, whose stride says nothing."""
    return tuple(s if n > 1 else 0 for n, s in zip(t.shape, t.layout.strides, strict=True))


def _overlaid(a: Layout) -> str:
    """Two entries of an output in one place would be written by two invocations at once."""
    axes = sorted((s, n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1)
    reach = 1
    for stride, n in axes if a.n_elements else ():
        if stride < reach:
            return f"has strides {a.strides}, which lay elements over each other"
        reach += stride * (n - 1)
    return ""
