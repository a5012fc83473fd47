"""Judges of the ops along rows."""

import math
from collections import Counter

import numpy as np

from .judge import ROUNDING, Array, Judge
from .onnx_ops import onnx_op, onnx_outputs

LAST = np.array([-1], np.int64)


def rms_norm(x: Array, eps: float, w: Array | None = None) -> Array:
    """The weight may be left out. ONNX keeps eps as float32, as kernels do."""
    return onnx_op("RMSNormalization", x, np.ones(x.shape[-1]) if w is None else w, epsilon=eps)


def _l2_norm(x: Array, eps: float, eps_inside: bool) -> tuple[Array]:
    out = np.empty(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        row = x[index].tolist()
        length = math.sqrt(sum(v * v for v in row) + (eps if eps_inside else 0))
        out[index] = [v / (eps if length < eps and not eps_inside else length) for v in row]
    return (out,)


def softmax(x: Array, mask: Array | None = None, *, scale: float) -> tuple[Array]:
    z = x * scale if mask is None else onnx_op("Add", x * scale, mask)
    out = onnx_op("Softmax", z, axis=-1)
    for index in np.ndindex(z.shape[:-1]):
        if all(v == -math.inf for v in z[index]):
            out[index] = 0
    return (out,)


def top_k(x: Array, k: int) -> tuple[Array]:
    """Of equals the lower id comes first. NaN is the largest, as ONNX's evaluator has it too."""
    return (onnx_outputs("TopK", 2, x, np.array([k], np.int64))[1],)


def _top_k_parts(x: Array, k: int, n_part: int) -> tuple[Array]:
    """The best of each part, then the second best of each, and so on."""
    parts = [(first, x[..., first : first + n_part]) for first in range(0, x.shape[-1], n_part)]
    best = [(first, top_k(part, k)[0]) for first, part in parts]
    return (np.concatenate([first + ids[..., r : r + 1] for r in range(k) for first, ids in best], -1),)


def _top_k_among(x: Array, ids: Array, k: int) -> tuple[Array]:
    """The first k of all ids in top_k's order that are named."""
    (order,) = top_k(x, x.shape[-1])
    named = ids.clip(0, x.shape[-1] - 1)
    out = np.empty((*x.shape[:-1], k), np.int64)
    for row in np.ndindex(x.shape[:-1]):
        times = Counter(named[row].tolist())
        out[row] = [i for i in order[row].tolist() for _ in range(times[i])][:k]
    return (out,)


def _tri(x: Array, lower: bool, diagonal: bool) -> tuple[Array]:
    shift = 0 if diagonal else (-1 if lower else 1)
    return (onnx_op("Trilu", x, np.array(shift, np.int64), upper=int(not lower)),)


def _causal_mask(pos: Array, n_kv: int, window: int = 0) -> tuple[Array]:
    out = np.full((pos.shape[0], 1, pos.shape[1], n_kv), -np.inf)
    for b, t in np.ndindex(pos.shape):
        for key in range(max(0, pos[b, t] + 1 - (window or n_kv)), pos[b, t] + 1):
            out[b, 0, t, key % n_kv] = 0
    return (out,)


def _valid_mask(n_valid: Array, n_tokens: int) -> tuple[Array]:
    return (np.array([[1.0 if t < n else 0.0 for t in range(n_tokens)] for n in n_valid]),)


def _gated_norm(x: Array, w: Array, gate: Array, eps: float) -> tuple[Array]:
    return (gated_norm(x, w, gate, eps),)


def gated_norm(x: Array, w: Array, gate: Array, eps: float) -> Array:
    return onnx_op("Mul", rms_norm(x, eps, w), onnx_op("Swish", gate))


def _add_rms_norm(x: Array, y: Array, w: Array, eps: float) -> tuple[Array, Array]:
    total = onnx_op("Add", x, y)
    return total, rms_norm(total, eps, w)


def _rms_norm_add(x: Array, w: Array, residual: Array, eps: float) -> tuple[Array]:
    return (onnx_op("Add", rms_norm(x, eps, w), residual),)


def _layer_norm(x: Array, w: Array, bias: Array, eps: float) -> tuple[Array]:
    return (onnx_op("LayerNormalization", x, w, bias, epsilon=eps),)


JUDGES = {
    "rms_norm": Judge(lambda x, eps: (rms_norm(x, eps),), ROUNDING),
    "l2_norm": Judge(_l2_norm, ROUNDING),
    "softmax": Judge(softmax, ROUNDING),
    "sum_rows": Judge(lambda x: (onnx_op("ReduceSum", x, LAST, keepdims=1),), ROUNDING),
    "cumsum": Judge(lambda x: (onnx_op("CumSum", x, np.array(-1, np.int64)),), ROUNDING),
    "top_k": Judge(top_k),
    "top_k_parts": Judge(_top_k_parts),
    "top_k_among": Judge(_top_k_among),
    "tri": Judge(_tri),
    "causal_mask": Judge(_causal_mask),
    "valid_mask": Judge(_valid_mask),
    "rms_norm_scale": Judge(lambda x, w, eps: (rms_norm(x, eps, w),), ROUNDING),
    "gated_norm": Judge(_gated_norm, ROUNDING),
    "rms_norm_add": Judge(_rms_norm_add, ROUNDING),
    "layer_norm": Judge(_layer_norm, ROUNDING),
    "add_rms_norm": Judge(_add_rms_norm, ROUNDING),
}
