"""Judges of the copies. That a copy rounds rightly to its output's dtype is seen where outputs are compared."""

import numpy as np

from .judge import Array, Judge, clamped
from .onnx_ops import onnx_op


def _same(x: Array, *_into: Array, **_attrs) -> tuple[Array]:
    return (onnx_op("Identity", x),)


def _concat(a: Array, b: Array, axis: int) -> tuple[Array]:
    return (onnx_op("Concat", a, b, axis=axis),)


def _repeat(x: Array, shape: tuple[int, ...]) -> tuple[Array]:
    times = [wide // n for wide, n in zip(shape, x.shape, strict=True)]
    return (onnx_op("Tile", x, np.array(times, np.int64)),)


def _pad(x: Array, before: tuple[int, ...], after: tuple[int, ...]) -> tuple[Array]:
    return (onnx_op("Pad", x, np.array([*before, *after], np.int64)),)


def _set(x: Array, src: Array, strides: tuple[int, ...], offset: int) -> tuple[Array]:
    flat = [*x.reshape(-1)]
    for index in np.ndindex(src.shape):
        flat[offset + sum(i * stride for i, stride in zip(index, strides, strict=True))] = src[index]
    return (np.array(flat).reshape(x.shape),)


def _get_rows(table: Array, ids: Array) -> tuple[Array]:
    rows = clamped(ids, table.shape[-2])
    if table.ndim == 2:
        return (onnx_op("Gather", table, rows, axis=0),)
    return (np.stack([onnx_op("Gather", part, of, axis=0) for part, of in zip(table, rows, strict=True)]),)


def _rows_within(into: Array, table: Array, ids: Array, first: int, n_rows: int) -> tuple[Array]:
    """By loops: an id is clamped to all rows, and its row copied where the table has it."""
    made = into.copy()
    for at in np.ndindex(ids.shape):
        row = min(max(int(ids[at]), 0), n_rows - 1)
        if first <= row < first + table.shape[-2]:
            made[at] = (table if table.ndim == 2 else table[at[0]])[row - first]
    return (made,)


def set_rows(dst: Array, ids: Array, src: Array) -> tuple[Array]:
    """Rows whose id is no row of dst are dropped; of equal ids the last counts."""
    kept = [i for i, row in enumerate(ids) if 0 <= row < len(dst)]
    return (onnx_op("ScatterND", dst, ids[kept, None], src[kept]),)


JUDGES = {
    "contiguous": Judge(_same),
    "cpy": Judge(_same),
    "cast": Judge(_same),
    "concat": Judge(_concat),
    "repeat": Judge(_repeat),
    "pad": Judge(_pad),
    "set": Judge(_set),
    "get_rows": Judge(_get_rows),
    "get_rows_within": Judge(_rows_within),
    "set_rows": Judge(set_rows),
}
