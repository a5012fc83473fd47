"""Ops that move elements and compute nothing: what the passes look for and take out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import GraphError
from ..arrays import elements_of
from ..dtypes import DType
from ..layout import Layout, Shape
from ..tensor import Tensor
from .op import Cut, Op, OpKind, Out, Spec, Work, register, require, require_dtype

Compute = Callable[..., tuple[np.ndarray, ...]]
NUMBERS = (DType.F32, DType.F16, DType.BF16, DType.I32)


def _contiguous(x: Tensor) -> tuple[Spec]:
    require_dtype("contiguous", x, *NUMBERS)
    return (Spec(x.shape, x.dtype),)


def _cpy(src: Tensor, dst: Tensor) -> tuple[Tensor]:
    require(src.shape == dst.shape, "cpy", f"shapes differ: src {src.shape}, dst {dst.shape}")
    require((src.dtype is DType.I32) == (dst.dtype is DType.I32), "cpy", f"no cast from {src.dtype} to {dst.dtype}")
    require_dtype("cpy", dst, *NUMBERS)
    return (dst,)


def _cast(x: Tensor, dtype: DType) -> tuple[Spec]:
    require_dtype("cast", x, DType.F32, DType.F16, DType.BF16, DType.Q8_0)
    require(dtype in (DType.F32, DType.F16, DType.BF16), "cast", f"no cast to {dtype.name}")
    return (Spec(x.shape, dtype),)


def _concat(a: Tensor, b: Tensor, axis: int) -> tuple[Spec]:
    ok = a.ndim == b.ndim and all(n == m for i, (n, m) in enumerate(zip(a.shape, b.shape, strict=True)) if i != axis)
    require(ok and 0 <= axis < a.ndim, "concat", f"along axis {axis}: {a.shape}, {b.shape}")
    require_dtype("concat", b, a.dtype)
    return (Spec((*a.shape[:axis], a.shape[axis] + b.shape[axis], *a.shape[axis + 1 :]), a.dtype),)


def _repeat(x: Tensor, shape: Shape) -> tuple[Spec]:
    ok = len(shape) == x.ndim and all(n and m % n == 0 for n, m in zip(x.shape, shape, strict=True))
    require(ok, "repeat", f"{x.shape} does not tile {shape}")
    return (Spec(tuple(shape), x.dtype),)


def _repeat_compute(x: np.ndarray, shape: Shape) -> tuple[np.ndarray]:
    return (np.tile(x, [m // n for n, m in zip(x.shape, shape, strict=True)]),)


def _pad(x: Tensor, before: Shape, after: Shape) -> tuple[Spec]:
    require_dtype("pad", x, DType.F32)
    return (Spec(x.layout.pad_extents(before, after).shape),)


def set_region(x: Tensor, src: Tensor, strides: Shape, offset: int) -> Layout:
    """The region of a contiguous tensor of x's shape that `set` overwrites."""
    region = Layout(src.shape, tuple(strides), offset)
    if region.span[1] > x.layout.n_elements:
        raise GraphError(f"[set] region {region.span} lies outside of {x.layout.n_elements} elements")
    return region


def _set(x: Tensor, src: Tensor, strides: Shape, offset: int) -> tuple[Spec]:
    require_dtype("set", src, x.dtype)
    set_region(x, src, strides, offset)
    return (Spec(x.shape, x.dtype),)


def _set_compute(x: np.ndarray, src: np.ndarray, strides: Shape, offset: int) -> tuple[np.ndarray]:
    out = x.copy(order="C")
    elements_of(out.reshape(-1), Layout(src.shape, tuple(strides), offset))[...] = src
    return (out,)


def _get_rows(table: Tensor, ids: Tensor) -> tuple[Spec]:
    """table [R, K], ids [...] -> [..., K]; or table [B, R, K], ids [B, n] -> [B, n, K]. Ids are clamped."""
    require_dtype("get_rows", ids, DType.I32)
    batched = table.ndim == 3 and ids.ndim == 2 and table.shape[0] == ids.shape[0]
    require(batched or (table.ndim == 2 and ids.ndim <= 3), "get_rows", f"table {table.shape}, ids {ids.shape}")
    require(table.shape[-2] > 0, "get_rows", f"table {table.shape} has no rows")
    return (Spec((*ids.shape, table.shape[-1]), DType.I32 if table.dtype is DType.I32 else DType.F32),)


def _get_rows_compute(table, ids: np.ndarray) -> tuple[np.ndarray]:
    rows = np.clip(ids, 0, table.shape[-2] - 1)
    return (table[rows] if table.ndim == 2 else table[np.arange(table.shape[0])[:, None], rows],)


def _rows_within(into: Tensor, table: Tensor, ids: Tensor, first: int, n_rows: int) -> tuple[Tensor]:
    """into [..., K] of get_rows over n_rows, of which the table has those from `first` on: the rows of it that are
    picked; all others stay."""
    (spec,) = _get_rows(table, ids)
    ok = into.shape == spec.shape and into.dtype is spec.dtype and 0 <= first <= n_rows - table.shape[-2]
    shapes = f"into {into.shape} {into.dtype.name}, table {table.shape}, ids {ids.shape}"
    require(ok, "get_rows_within", f"{shapes}, rows from {first} of {n_rows}")
    return (into,)


def _rows_within_compute(into: np.ndarray, table, ids: np.ndarray, first: int, n_rows: int) -> tuple[np.ndarray]:
    rows = np.clip(ids, 0, n_rows - 1) - first
    is_here = (rows >= 0) & (rows < table.shape[-2])
    return (np.where(is_here[..., None], _get_rows_compute(table, rows)[0], into),)


def _set_rows(dst: Tensor, ids: Tensor, src: Tensor) -> tuple[Tensor]:
    """dst [R, K], ids [n], src [n, K]: dst[ids[i]] = src[i]; rows outside of dst are dropped."""
    require_dtype("set_rows", ids, DType.I32)
    ok = dst.ndim == 2 and ids.ndim == 1 and src.shape == (ids.shape[0], dst.shape[1])
    require(ok, "set_rows", f"dst {dst.shape}, ids {ids.shape}, src {src.shape}")
    require_dtype("set_rows", dst, DType.F32, DType.F16, DType.Q8_0)
    return (dst,)


def _set_rows_compute(dst: np.ndarray, ids: np.ndarray, src: np.ndarray) -> tuple[np.ndarray]:
    out, keep = dst.copy(), (ids >= 0) & (ids < dst.shape[0])
    out[ids[keep]] = src[keep]
    return (out,)


def _repeat_view(x: Tensor, shape: Shape) -> Tensor | None:
    repeats = all(n in (1, m) for n, m in zip(x.shape, shape, strict=True))
    return x.broadcast_to(*shape) if repeats else None


def _concat_places(out: Tensor, a: Tensor, _b: Tensor, axis: int) -> dict[int, Tensor]:
    n = a.shape[axis]
    return {0: out.slice(axis, 0, n), 1: out.slice(axis, n, out.shape[axis])}


def _set_places(out: Tensor, x: Tensor, src: Tensor, strides: Shape, offset: int) -> dict[int, Tensor]:
    return {1: replace(out, layout=set_region(x, src, strides, offset))}  # out is contiguous


def _picked_rows(table: Tensor, ids: Tensor) -> Work:
    return Work(reads={0: ids.layout.n_elements * table.shape[-1]})


def _written_rows(_dst: Tensor, _ids: Tensor, src: Tensor) -> Work:
    return Work(reads={0: 0}, writes={0: src.layout.n_elements})


def _register(name: str, infer: Callable[..., tuple[Out, ...]], compute: Compute, **facts: Any) -> None:
    register(Op(name, infer, compute, kind=OpKind.COPY, **facts))


_register(
    "contiguous",
    _contiguous,
    lambda x: (x.copy(order="C"),),
    view=lambda x: x,
    places=lambda out, x: {0: out},
)
_register(
    "cpy",
    _cpy,
    lambda src, dst: (src,),
    work=lambda src, dst: Work(reads={1: 0}),
    places=lambda out, src, dst: {0: out},
)
_register("cast", _cast, lambda x, dtype: (x,))
_register("concat", _concat, lambda a, b, axis: (np.concatenate([a, b], axis),), places=_concat_places)
_register("repeat", _repeat, _repeat_compute, view=_repeat_view)
_register("pad", _pad, lambda x, before, after: (np.pad(x, list(zip(before, after, strict=True))),))
_register("set", _set, _set_compute, places=_set_places)
_WITHIN = "get_rows_within"
_register("get_rows", _get_rows, _get_rows_compute, work=_picked_rows, cuts=lambda *_: (Cut({0: -2}, {}, _WITHIN),))
_register(
    _WITHIN,
    _rows_within,
    _rows_within_compute,
    work=lambda into, table, ids, **_: Work({**_picked_rows(table, ids).reads, 0: 0}),
    cuts=lambda *_, **_attrs: (Cut({1: -2}, {}, _WITHIN),),
)
_register("set_rows", _set_rows, _set_rows_compute, work=_written_rows)
