"""What the recurrent layers are made of: the triangular solve and the short causal convolution."""

import numpy as np

from ..dtypes import DType
from ..tensor import Tensor
from .op import Op, OpKind, Spec, Work, register, require, require_dtype

F32 = DType.F32


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


def _solve_tri_work(a: Tensor, b: Tensor) -> Work:
    return Work(flops=b.layout.n_elements * a.shape[-1])


def _ssm_conv_work(x: Tensor, w: Tensor) -> Work:
    n_seqs, n_rows, n_channels = x.shape
    return Work(flops=2 * n_seqs * (n_rows - w.shape[1] + 1) * n_channels * w.shape[1])


register(Op("solve_tri", _solve_tri_infer, _solve_tri, kind=OpKind.PRODUCT, work=_solve_tri_work))
register(Op("ssm_conv", _ssm_conv_infer, _ssm_conv, work=_ssm_conv_work))
