"""What attention is made of beside products and softmax: rotary embedding."""

import numpy as np

from ..dtypes import DType
from ..tensor import Tensor
from .op import Op, Spec, Work, n_picked, register, require, require_dtype

F32 = DType.F32


def _rope_infer(x: Tensor, pos: Tensor, table: Tensor, *, neighbours: bool = False) -> tuple[Spec]:
    """Rotary embedding of the first n dims, in pairs (i, i + n/2) or of neighbours (2i, 2i + 1); the rest is copied.

    x [B, T, H, D], pos [B, T] (clamped to the table), table [n_ctx, n] = cos (n/2), then sin (n/2) -> x's shape.
    """
    require_dtype("rope", x, F32)
    require_dtype("rope", pos, DType.I32)
    require_dtype("rope", table, F32)
    n = table.shape[-1]
    require(x.ndim == 4 and pos.shape == x.shape[:2], "rope", f"x {x.shape}, pos {pos.shape}")
    ok = table.ndim == 2 and table.shape[0] > 0 and n % 2 == 0 and n <= x.shape[-1]
    require(ok, "rope", f"table {table.shape}, x {x.shape}")
    return (Spec(x.shape),)


def _rope(x: np.ndarray, pos: np.ndarray, table: np.ndarray, neighbours: bool = False) -> tuple[np.ndarray]:
    half = table.shape[1] // 2
    row = table[np.clip(pos, 0, table.shape[0] - 1)][:, :, None].astype(np.float64)
    cos, sin, out = row[..., :half], row[..., half:], x.astype(np.float64)
    first, second = (
        (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if neighbours else (slice(half), slice(half, 2 * half))
    )
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return (out,)


def rope_work(_x: Tensor, pos: Tensor, table: Tensor, **_options: bool) -> Work:
    return Work(reads={2: n_picked(table, pos)})


register(Op("rope", _rope_infer, _rope, work=rope_work))
