"""Kernels of the ops that move elements: any layout in, any layout out, 16-bit types in 32-bit words."""

from dataclasses import replace
from itertools import product

from ...runtime.ir.dtypes import DType
from ...runtime.ir.graph import Node
from ...runtime.ir.layout import Layout, collapse_together
from ...runtime.ir.tensor import Tensor
from ..common.walk import TYPE_DEFINES, Walk, four, lanes_of, walk, walk_apart
from ..kernel import Arguments, Defines, Features, Kernel, KernelCall, Variant, grid_of, placed, strides
from ..matmul.mul_mat_args import in_words
from ..operands import FLOATS, INTS, NUMBERS, WORDS, Operand
from . import cast_blocks, get_rows_blocks

F32, F16, BF16, I32, Q8_0 = DType.F32, DType.F16, DType.BF16, DType.I32, DType.Q8_0
HALVES = Operand((F16, BF16))


def _types(src: DType, dst: DType) -> Defines:
    """-DSRC and -DDST; equal types copy bits, whatever they mean."""
    names = [TYPE_DEFINES[d] for d in (src, dst)]
    if src is dst is BF16:
        names = ["F16", "F16"]
    return ("SRC", names[0]), ("DST", names[1])


_SAME = tuple((("SRC", t), ("DST", t)) for t in ("F32", "F16"))
_ALL = tuple(dict.fromkeys(_types(a, b) for a, b in product((F32, F16, BF16), repeat=2)))
_TO_HALF = tuple(d for d in _ALL if d[1][1] != "F32")


def _variants(stem: str, defines: tuple[Defines, ...]) -> tuple[Variant, ...]:
    return tuple((stem, d) for d in defines)


def _no_cast(node: Node, _features: Features) -> str:
    """Integers stay integers."""
    (x, *_), (y,) = node.inputs, node.outputs
    return "" if (x.dtype is I32) == (y.dtype is I32) else f"no cast from {x.dtype.name} to {y.dtype.name}"


def _alike(node: Node, features: Features) -> str:
    """The table's numbers are integers where the rows' are."""
    return _no_cast(replace(node, inputs=node.inputs[-2:]), features)


def _copied(node: Node) -> tuple[Tensor, Tensor]:
    return node.inputs[0], node.outputs[0]


# contiguous, cpy, cast


def _in_rows(node: Node, features: Features) -> str:
    x, y = _copied(node)
    rows = collapse_together((x.layout, y.layout))[1].rows_contiguous
    return _no_cast(node, features) if rows else f"rows of {y} have strides {y.layout.strides}"


def _lower_words(node: Node, features: Features) -> KernelCall:
    x, y = _copied(node)
    rows = collapse_together((x.layout, y.layout))
    n = rows[0].shape[-1]
    words = Walk(tuple(Layout((*a.shape[:-1], n // 2 + 1), a.strides, a.offset) for a in rows))
    return words.call(("copy_words", _types(x.dtype, y.dtype)), {"x": x, "y": y}, features, {"n_cols": n})


def _lower_copy(node: Node, features: Features) -> KernelCall:
    x, y = _copied(node)
    return walk(x.layout, y.layout).call(("copy", _types(x.dtype, y.dtype)), {"x": x, "y": y}, features)


# concat, repeat, pad, set


def _lower_concat(node: Node, features: Features) -> KernelCall:
    (a, b), (y,) = node.inputs, node.outputs
    axis, n_a = node.attrs["axis"], a.shape[node.attrs["axis"]]
    wide = (Layout(y.shape, t.layout.strides, t.layout.offset) for t in (a, b, y))
    walked, (place,) = walk_apart(*wide, fences=[axis])
    full = [t if t.layout.n_elements else y for t in (a, b)]  # nothing is read from an empty one, but it must be bound
    variant, buffers = ("concat", _types(y.dtype, y.dtype)), {"a": full[0], "b": full[1], "y": y}
    return walked.call(variant, buffers, features, {"split": n_a}, {"AXIS": place})


def _lower_repeat(node: Node, features: Features) -> KernelCall:
    x, y = _copied(node)
    tiled = [i for i, (n, m) in enumerate(zip(x.shape, y.shape, strict=True)) if n not in (1, m)]
    steps = tuple(0 if n == 1 else s for n, s in zip(x.shape, x.layout.strides, strict=True))
    walked, places = walk_apart(Layout(y.shape, steps, x.layout.offset), y.layout, fences=tiled)
    sizes = _sizes("n", places, [x.shape[i] for i in tiled], 1)
    variant, axes = ("repeat", _types(y.dtype, y.dtype)), {"TILED": sum(1 << p for p in places)}
    return walked.call(variant, {"x": x, "y": y}, features, sizes, axes)


def _lower_pad(node: Node, features: Features) -> KernelCall:
    x, y = _copied(node)
    before = node.attrs["before"]
    padded = [i for i, (n, m) in enumerate(zip(x.shape, y.shape, strict=True)) if n != m]
    walked, places = walk_apart(Layout(y.shape, x.layout.strides, x.layout.offset), y.layout, fences=padded)
    sizes = _sizes("n", places, [x.shape[i] for i in padded], 2**32 - 1)
    starts = _sizes("before", places, [before[i] for i in padded], 0)
    full = x if x.layout.n_elements else y
    return walked.call(("pad", ()), {"x": full, "y": y}, features, {**sizes, **starts})


def _sizes(name: str, places: tuple[int, ...], values: list[int], fill: int) -> Arguments:
    """Of four axes, as NAME0 to NAME3."""
    at = dict(zip(places, values, strict=True))
    return {f"{name}{i}": at.get(i, fill) for i in range(4)}


def _region(node: Node) -> tuple[Layout, Layout]:
    """The region that `set` overwrites and the layout of its source, collapsed, largest stride first."""
    src = node.inputs[1].layout
    pair = (Layout(src.shape, node.attrs["strides"], node.attrs["offset"]), src)
    region, src = collapse_together(pair)
    order = sorted(range(region.ndim), key=lambda i: -region.strides[i])
    return region.permute(*order), src.permute(*order)


def _is_nested(node: Node, _features: Features) -> str:
    """set.comp finds an element's place in the region by its strides, the largest first."""
    region, inner = _region(node)[0], 1
    for n, stride in reversed(list(zip(region.shape, region.strides, strict=True))):
        if stride < inner:
            return f"region of shape {region.shape} and strides {region.strides} is interleaved"
        inner += (n - 1) * stride
    return ""


def _lower_set(node: Node, features: Features) -> KernelCall:
    (x, src), (y,) = node.inputs, node.outputs
    region, source = _region(node)
    full = src if src.layout.n_elements else y
    more = {
        **strides("src", (full, *four(source.strides, 0)), "at 0 1 2 3"),
        **strides("size", four(region.shape, 1), "0 1 2 3"),
        **strides("stride", four(region.strides, 2**31), "0 1 2 3"),
        "offset": region.offset,
    }
    variant, buffers = ("set", _types(y.dtype, y.dtype)), {"x": x, "y": y, "src": full}
    return walk(x.layout, y.layout).call(variant, buffers, features, more, {"REGION_AXES": region.ndim})


# get_rows, set_rows


def _lower_get_rows(node: Node, features: Features) -> KernelCall:
    """All three over y's shape: the table has strides for batches and columns only, ids none for columns."""
    table, ids, y = *node.inputs[-2:], *node.outputs
    *batch, row, column = table.layout.strides
    columns = Layout(y.shape, (*batch, *(0,) * (y.ndim - 1 - len(batch)), column), table.layout.offset)
    walked = walk(columns, ids.layout.unsqueeze(-1).broadcast_to(y.shape), y.layout)
    variant, buffers = ("get_rows", _types(table.dtype, y.dtype)), {"table": table, "ids": ids, "y": y}
    return walked.call(variant, buffers, features, {**get_rows_blocks.held(node), "row_stride": row})


def _lower_set_rows(node: Node, features: Features) -> KernelCall:
    (_, ids, src), (dst,) = node.inputs, node.outputs
    n_rows, n_cols = src.shape
    lanes = lanes_of(0, features)[0]
    arguments = {
        **dict(n_src=n_rows, n_cols=n_cols, n_rows=dst.shape[0]),
        **placed("ids", ids, "row"),
        **placed("src", src, "row col"),
        **strides("y", (dst, *in_words(dst).strides), "at row col"),
    }
    constants = {"local_size_x": lanes, "PAIRS": int(dst.dtype is F16 and dst.layout.rows_contiguous)}
    defines = _types(src.dtype, dst.dtype) if dst.dtype is not Q8_0 else _blocks_of(src.dtype)
    buffers = {"ids": ids, "src": src, "y": dst}
    return KernelCall("set_rows", defines, buffers, arguments, grid_of(n_rows), constants)


def _blocks_of(src: DType) -> Defines:
    return ("SRC", TYPE_DEFINES[src]), ("DST", "Q8_0")


# Of cpy the second input is what it writes into.
_SOURCES = {"contiguous": {"x": NUMBERS}, "cpy": {"x": NUMBERS, "dst": NUMBERS}, "cast": {"x": NUMBERS}}
_TO_ROWS = (*(d for d in _ALL if d[1][1] != "BF16"), *map(_blocks_of, (F32, F16, BF16)))
_ROWS = Operand((F32, F16, Q8_0))
_TO_WORDS = tuple(d for d in _ALL if d[1][1] == "F32")
_TABLE = {"table": NUMBERS, "ids": INTS}
_X, _ALIKE = {"x": NUMBERS}, {"y": NUMBERS.typed_as("x")}

KERNELS = (
    *(
        Kernel(op, x, {"y": HALVES}, _lower_words, _variants("copy_words", _TO_HALF), _in_rows)
        for op, x in _SOURCES.items()
    ),
    *(Kernel(op, x, {"y": NUMBERS}, _lower_copy, _variants("copy", _ALL), _no_cast) for op, x in _SOURCES.items()),
    Kernel(
        "concat",
        {"a": NUMBERS, "b": NUMBERS.typed_as("a")},
        {"y": NUMBERS.typed_as("a")},
        _lower_concat,
        _variants("concat", _SAME),
    ),
    Kernel("repeat", _X, _ALIKE, _lower_repeat, _variants("repeat", _SAME)),
    Kernel("pad", {"x": FLOATS}, {"y": FLOATS}, _lower_pad, (("pad", ()),)),
    Kernel("set", _X | {"src": NUMBERS.typed_as("x")}, _ALIKE, _lower_set, _variants("set", _SAME), _is_nested),
    *(
        Kernel(op, into | _TABLE, {"y": WORDS}, _lower_get_rows, _variants("get_rows", _TO_WORDS), _alike)
        for op, into in (("get_rows", {}), ("get_rows_within", {"into": WORDS}))
    ),
    Kernel(
        "set_rows",
        {"dst": _ROWS, "ids": INTS, "src": Operand((F32, F16, BF16))},
        {"y": _ROWS},
        _lower_set_rows,
        _variants("set_rows", _TO_ROWS),
    ),
    *get_rows_blocks.KERNELS,
    *cast_blocks.KERNELS,
)
