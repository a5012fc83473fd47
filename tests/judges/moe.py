"""Judges of the mixture of experts, whole and in parts."""

import math

import numpy as np

from .judge import ROUNDING, Array, Judge
from .matmul import LIMIT, mul_mat_id, product
from .onnx_ops import onnx_op
from .rows import softmax, top_k


def _route(logits: Array, k: int) -> tuple[Array, Array]:
    (ids,) = top_k(logits, k)
    weights = np.empty(ids.shape)
    for n, row in enumerate(ids):
        picked = [float(logits[n, i]) for i in row]
        weights[n] = [0.0 if max(picked) == -math.inf else math.exp(z - max(picked)) for z in picked]
        weights[n] /= sum(weights[n].tolist()) or 1.0
    return ids, weights


def _glu(gate: Array, up: Array) -> Array:
    return onnx_op("Mul", onnx_op("Swish", gate), up)


def _experts_gate_up(x, gate, up, ids, shared_gate, shared_up) -> tuple[Array, Array]:
    routed = (mul_mat_id(w, x[:, None], ids) for w in (gate, up))
    return _glu(*routed), _glu(product(x, shared_gate), product(x, shared_up))


def _experts_down(hidden, down, ids, weights, shared, shared_down, shared_gate, residual) -> tuple[Array]:
    routed, always = mul_mat_id(down, hidden, ids), product(shared, shared_down)
    return _experts_sum(routed, weights, always, shared_gate, residual)


def _experts_sum(routed, weights, shared, shared_gate, residual) -> tuple[Array]:
    out = onnx_op("Add", residual, onnx_op("Mul", shared, onnx_op("Sigmoid", shared_gate)))
    for n, j in np.ndindex(weights.shape):
        out[n] += float(weights[n, j]) * routed[n, j]
    return (out,)


def _moe_ffn(x, router, gate, up, down, shared_gate, shared_up, shared_down, shared_in, k: int) -> tuple[Array]:
    """Softmax over all experts first, then the k largest of it, renormalised."""
    (p,) = softmax(product(x, router), scale=1.0)
    (ids,) = top_k(p, k)
    weights = np.array([[p[n, i] / sum(p[n, row]) for i in row] for n, row in enumerate(ids)])
    hidden, shared = _experts_gate_up(x, gate, up, ids, shared_gate, shared_up)
    return _experts_down(hidden, down, ids, weights, shared, shared_down, product(x, shared_in), np.zeros(x.shape))


JUDGES = {
    "route": Judge(_route, ROUNDING),
    "experts_gate_up": Judge(_experts_gate_up, LIMIT),
    "experts_down": Judge(_experts_down, LIMIT),
    "experts_sum": Judge(_experts_sum, ROUNDING),
    "moe_ffn": Judge(_moe_ffn, LIMIT),
}
