"""Matrix products, the triangular solve, the short convolution and rope."""

import numpy as np

from ..dtypes import DType
from ..tensor import Tensor
from .op import Op, Spec, register, require, require_dtype

F32 = DType.F32


def _mul_mat_infer(w: Tensor, x: Tensor) -> tuple[Spec]:
    """w [..., M, K], x [..., N, K] -> [..., N, M]: out[n, m] = sum_k x[n, k] w[m, k].

    Batch axes of w divide x's: head h of x meets head h // (H / Hw) of w, as grouped queries want it.
    """
    require_dtype("mul_mat", x, F32)
    require(w.ndim >= 2 and x.ndim >= w.ndim, "mul_mat", f"w {w.shape}, x {x.shape}")
    require(w.shape[-1] == x.shape[-1], "mul_mat", f"inner axes differ: w {w.shape}, x {x.shape}")
    batch = zip(reversed(w.shape[:-2]), reversed(x.shape[:-2]), strict=False)
    require(all(m and n % m == 0 for m, n in batch), "mul_mat", f"batch axes do not divide: w {w.shape}, x {x.shape}")
    return (Spec((*x.shape[:-1], w.shape[-2])),)


def _mul_mat(w, x: np.ndarray) -> tuple[np.ndarray]:
    a = np.asarray(w)
    for axis in range(-3, -a.ndim - 1, -1):
        a = np.repeat(a, x.shape[axis] // a.shape[axis], axis)
    with np.errstate(all="ignore"):  # inf and NaN are data
        return (x @ np.swapaxes(a, -1, -2),)


def _mul_mat_id_infer(w: Tensor, x: Tensor, ids: Tensor) -> tuple[Spec]:
    """Expert products. w [X, M, K], x [N, 1 or k, K], ids [N, k] -> [N, k, M] = x[n, j] . w[ids[n, j]].

    Ids are clamped and may repeat.
    """
    require_dtype("mul_mat_id", x, F32)
    require_dtype("mul_mat_id", ids, DType.I32)
    shapes = f"w {w.shape}, x {x.shape}, ids {ids.shape}"
    require(w.ndim == 3 and x.ndim == 3 and ids.ndim == 2, "mul_mat_id", shapes)
    ok = x.shape[0] == ids.shape[0] and x.shape[1] in (1, ids.shape[1]) and x.shape[2] == w.shape[2]
    require(ok, "mul_mat_id", shapes)
    return (Spec((*ids.shape, w.shape[1])),)


def _mul_mat_id(w, x: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray]:
    ids = np.clip(ids, 0, w.shape[0] - 1)
    wide = np.broadcast_to(x, (*ids.shape, x.shape[-1]))
    out = np.empty((*ids.shape, w.shape[1]), np.float32)
    for e in np.unique(ids):
        hit = ids == e
        with np.errstate(all="ignore"):
            out[hit] = wide[hit] @ w[int(e)].T
    return (out,)


def _solve_tri_infer(a: Tensor, b: Tensor) -> tuple[Spec]:
    """x with a x = b for lower triangular a [..., n, n] (the upper triangle is not read), b [..., n, m]."""
    require_dtype("solve_tri", a, F32)
    require_dtype("solve_tri", b, F32)
    ok = a.ndim == b.ndim >= 2 and a.shape[:-1] == b.shape[:-1] and a.shape[-1] == a.shape[-2]
    require(ok, "solve_tri", f"a {a.shape}, b {b.shape}")
    return (Spec(b.shape),)


def _solve_tri(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray]:
    x = b.astype(np.float64)
    for i in range(a.shape[-1]):
        done = np.einsum("...j,...jm->...m", a[..., i, :i], x[..., :i, :])
        x[..., i, :] = (x[..., i, :] - done) / a[..., i, i, None]
    return (x,)


def _ssm_conv_infer(x: Tensor, w: Tensor) -> tuple[Spec]:
    """Depthwise causal convolution. x [B, T + c - 1, C], w [C, c] -> [B, T, C] = sum_j x[b, t + j, ch] w[ch, j]."""
    require_dtype("ssm_conv", x, F32)
    require_dtype("ssm_conv", w, F32)
    ok = x.ndim == 3 and w.ndim == 2 and x.shape[2] == w.shape[0] and x.shape[1] >= w.shape[1]
    require(ok, "ssm_conv", f"x {x.shape}, w {w.shape}")
    return (Spec((x.shape[0], x.shape[1] - w.shape[1] + 1, x.shape[2])),)


def _ssm_conv(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray]:
    n = x.shape[1] - w.shape[1] + 1
    return (sum((x[:, j : j + n].astype(np.float64) * w[:, j] for j in range(w.shape[1])), np.zeros(1)),)


def _rope_infer(x: Tensor, pos: Tensor, table: Tensor) -> tuple[Spec]:
    """Rotary embedding, NEOX pairs (i, i + n/2) of the first n dims; the others are copied.

    x [B, T, H, D], pos [B, T] (clamped to the table), table [n_ctx, n] = cos (n/2), then sin (n/2) -> x's shape.
    """
    require_dtype("rope", x, F32)
    require_dtype("rope", pos, DType.I32)
    require_dtype("rope", table, F32)
    n = table.shape[-1]
    require(x.ndim == 4 and pos.shape == x.shape[:2], "rope", f"x {x.shape}, pos {pos.shape}")
    require(table.ndim == 2 and n % 2 == 0 and n <= x.shape[-1], "rope", f"table {table.shape}, x {x.shape}")
    return (Spec(x.shape),)


def _rope(x: np.ndarray, pos: np.ndarray, table: np.ndarray) -> tuple[np.ndarray]:
    half = table.shape[1] // 2
    row = table[np.clip(pos, 0, table.shape[0] - 1)][:, :, None].astype(np.float64)
    cos, sin, a, b = row[..., :half], row[..., half:], x[..., :half], x[..., half : 2 * half]
    return (np.concatenate([a * cos - b * sin, a * sin + b * cos, x[..., 2 * half :]], -1),)


register(Op("mul_mat", _mul_mat_infer, _mul_mat))
register(Op("mul_mat_id", _mul_mat_id_infer, _mul_mat_id))
register(Op("solve_tri", _solve_tri_infer, _solve_tri))
register(Op("ssm_conv", _ssm_conv_infer, _ssm_conv))
register(Op("rope", _rope_infer, _rope))
