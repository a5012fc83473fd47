"""Judges of the products."""

import numpy as np
from vkrun.runtime.ir.dtypes import DType

from .judge import Array, Judge, clamped
from .numbers import rounded
from .onnx_ops import onnx_op
from .rows import rms_norm

LIMIT = 1e-5  # the reference sums in float32


def product(x: Array, w: Array) -> Array:
    """x [..., K] by the rows of w [M, K]."""
    return onnx_op("MatMul", x, onnx_op("Transpose", w, perm=(1, 0)))


def _mul_mat(w: Array, x: Array, *_halves: Array) -> tuple[Array]:
    out, n_batch = np.empty((*x.shape[:-1], w.shape[-2])), w.ndim - 2
    for index in np.ndindex(x.shape[:-2]):
        sizes = zip(index[len(index) - n_batch :], x.shape[-2 - n_batch : -2], w.shape[:-2], strict=True)
        out[index] = product(x[index], w[tuple(i // (n // m) for i, n, m in sizes)])
    return (out,)


def mul_mat_id(w: Array, x: Array, ids: Array) -> Array:
    """x [N, 1 or k, K] by the experts ids [N, k] of w [X, M, K]: [N, k, M]."""
    out, experts = np.empty((*ids.shape, w.shape[1])), clamped(ids, len(w))
    for n, j in np.ndindex(ids.shape):
        out[n, j] = onnx_op("MatMul", w[experts[n, j]], x[n, j if x.shape[1] > 1 else 0])
    return out


def _expert_lists(ids: Array, n_experts: int) -> tuple[Array]:
    """Where each expert's pairs start and all end, then the pairs, expert after expert."""
    picked = clamped(ids, n_experts).reshape(-1).tolist()
    lists = [[pair for pair, expert in enumerate(picked) if expert == e] for e in range(n_experts)]
    starts = [sum(map(len, lists[:e])) for e in range(n_experts + 1)]
    return (np.array(starts + [pair for pairs in lists for pair in pairs]),)


def _halves(x: Array) -> tuple[Array]:
    """Of each four the middle two change places."""
    made = np.empty_like(x)
    for *place, i in np.ndindex(x.shape):
        made[(*place, i - i % 4 + (0, 2, 1, 3)[i % 4])] = x[(*place, i)]
    return (rounded(made, DType.F16),)


def _mul_mat_id_swiglu(gate: Array, up: Array, x: Array, ids: Array, *_more: Array) -> tuple[Array]:
    return (onnx_op("Mul", onnx_op("Swish", mul_mat_id(gate, x, ids)), mul_mat_id(up, x, ids)),)


def _glu_mul_mat(
    w: Array, gate: Array, up: Array, *residual: Array, extra: tuple[str, ...] = (), activation: str = "silu"
) -> tuple[Array]:
    opened = onnx_op("Swish", gate) if activation == "silu" else onnx_op("Gelu", gate, approximate="tanh")
    made = product(onnx_op("Mul", opened, up), w)
    return (onnx_op("Add", made, residual[0]) if extra else made,)


def _norm_mul_mats(x: Array, norm: Array, *weights: Array, eps: float) -> tuple[Array, ...]:
    normed = rms_norm(x, eps, norm)
    return normed, *(product(normed, w) for w in weights)


JUDGES = {
    "mul_mat": Judge(_mul_mat, LIMIT),
    "mul_mats": Judge(lambda x, *weights: tuple(product(x, w) for w in weights), LIMIT),
    "glu_mul_mat": Judge(_glu_mul_mat, LIMIT),
    "norm_mul_mats": Judge(_norm_mul_mats, LIMIT),
    "mul_mat_add": Judge(lambda w, x, residual: (onnx_op("Add", residual, product(x, w)),), LIMIT),
    "mul_mat_id": Judge(lambda w, x, ids, *_more: (mul_mat_id(w, x, ids),), LIMIT),
    "mul_mat_id_swiglu": Judge(_mul_mat_id_swiglu, LIMIT),
    "expert_lists": Judge(_expert_lists),
    "halves": Judge(_halves),
}
