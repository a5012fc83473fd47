"""Judges of the mixture of experts, whole and in parts."""

import math

import numpy as np

from .elementwise import geglu, swiglu
from .judge import ROUNDING, Array, Judge
from .matmul import LIMIT, mul_mat_id, product
from .onnx_ops import onnx_op
from .rows import softmax, top_k


def _route(
    logits, *bias, k: int, extra=(), score="softmax", normalise=True, scale=1.0, n_groups=1, n_groups_used=1
) -> tuple[Array, Array]:
    if score == "softmax" and normalise and not extra and n_groups == 1:
        return _route_plainly(logits, k, scale)
    scores = onnx_op("Sigmoid", logits) if score == "sigmoid" else softmax(logits, scale=1.0)[0]
    chosen = onnx_op("Add", scores, bias[0]) if extra else scores.copy()
    for row in chosen if n_groups > 1 else ():
        groups = row.reshape(n_groups, -1)
        best = [sum(sorted(group.tolist())[-2:]) for group in groups]
        for group, strength in zip(groups, best, strict=True):
            if strength < sorted(best)[-n_groups_used]:
                group[:] = -np.inf
    (ids,) = top_k(chosen, k)
    weights = np.array([[scores[n, i] for i in row] for n, row in enumerate(ids)])
    if normalise:
        least = 2.0**-14 if score == "sigmoid" else 0.0
        weights = np.array([[w / max(sum(row), least) for w in row] for row in weights.tolist()])
    return ids, scale * weights


def _route_plainly(logits: Array, k: int, scale: float) -> tuple[Array, Array]:
    """The softmax of the largest logits alone."""
    (ids,) = top_k(logits, k)
    weights = np.empty(ids.shape)
    for n, row in enumerate(ids):
        picked = [float(logits[n, i]) for i in row]
        weights[n] = [0.0 if max(picked) == -math.inf else math.exp(z - max(picked)) for z in picked]
        weights[n] /= sum(weights[n].tolist()) or 1.0
    return ids, scale * weights


def _glu(gate: Array, up: Array, activation: str) -> Array:
    if activation == "clamped":
        gate, up = np.minimum(gate, 7.0), np.clip(up, -7.0, 7.0)
        return onnx_op("Mul", onnx_op("Mul", gate, onnx_op("Sigmoid", 1.702 * gate)), up + 1)
    return (swiglu if activation == "silu" else geglu)(gate, up)[0]


def _plus(y: Array, table: Array | None, ids: Array) -> Array:
    """Each picked expert's row of a table added to what it made."""
    out = y.copy()
    for n, j in np.ndindex(ids.shape if table is not None else (0, 0)):
        out[n, j] += table[min(max(int(ids[n, j]), 0), len(table) - 1)]
    return out


def _experts_gate_up(
    x, gate, up, ids, *more, extra=("shared_gate", "shared_up"), activation="silu"
) -> tuple[Array, ...]:
    given = dict(zip(extra, more, strict=True))
    pairs = ((gate, given.get("gate_bias")), (up, given.get("up_bias")))
    made = _glu(*(_plus(mul_mat_id(w, x[:, None], ids), bias, ids) for w, bias in pairs), activation)
    if "shared_up" not in given:
        return (made,)
    return made, _glu(product(x, given["shared_gate"]), product(x, given["shared_up"]), activation)


def _experts_glu(gate, up, ids, gate_bias, up_bias, activation="silu") -> tuple[Array]:
    return (_glu(_plus(gate, gate_bias, ids), _plus(up, up_bias, ids), activation),)


def _route_gate_up(logits, x, gate, up, *shared, k: int, extra=("shared_gate", "shared_up")) -> tuple[Array, ...]:
    ids, weights = _route(logits, k=k)
    return *_experts_gate_up(x, gate, up, ids, *shared, extra=extra), ids, weights


def _experts_down(
    hidden, down, ids, weights, *more, extra=("shared", "shared_down", "shared_gate", "residual")
) -> tuple[Array]:
    given = dict(zip(extra, more, strict=True))
    routed = mul_mat_id(down, hidden, ids)
    if "down_bias" in given:
        given = {**{n: t for n, t in given.items() if n != "down_bias"}, "ids": ids, "down_bias": given["down_bias"]}
    if "shared" in given:
        given["shared"] = product(given["shared"], given.pop("shared_down"))
    return _experts_sum(routed, weights, *given.values(), extra=tuple(given))


def _experts_sum(routed, weights, *more, extra=("shared", "shared_gate", "residual")) -> tuple[Array]:
    given = dict(zip(extra, more, strict=True))
    routed = _plus(routed, given["down_bias"], given["ids"]) if "ids" in given else routed
    out = given.get("residual", np.zeros((routed.shape[0], routed.shape[2]))).copy()
    if "shared" in given:
        opened = onnx_op("Sigmoid", given["shared_gate"]) if "shared_gate" in given else np.ones((1, 1))
        out = onnx_op("Add", out, onnx_op("Mul", given["shared"], opened))
    for n, j in np.ndindex(weights.shape):
        out[n] += float(weights[n, j]) * routed[n, j]
    return (out,)


def _moe_ffn(x, logits, gate, up, down, *more, k: int, extra=(), activation="silu", **routing) -> tuple[Array]:
    given = dict(zip(extra, more, strict=True))
    bias = {"extra": ("bias",)} if "bias" in given else {}
    ids, weights = _route(logits, *([given["bias"]] if bias else []), k=k, **bias, **routing)
    weights = weights * np.array([[given["factors"][i] for i in row] for row in ids]) if "factors" in given else weights
    first = {name: given[name] for name in ("shared_gate", "shared_up", "gate_bias", "up_bias") if name in given}
    made = _experts_gate_up(x, gate, up, ids, *first.values(), extra=tuple(first), activation=activation)
    last = {"down_bias": given["down_bias"]} if "down_bias" in given else {}
    if "shared_up" in given:
        last |= {"shared": made[1], "shared_down": given["shared_down"]}
    if "shared_in" in given:
        last["shared_gate"] = product(x, given["shared_in"])
    return _experts_down(made[0], down, ids, weights, *last.values(), extra=tuple(last))


JUDGES = {
    "route": Judge(_route, ROUNDING),
    "experts_gate_up": Judge(_experts_gate_up, LIMIT),
    "experts_glu": Judge(_experts_glu, ROUNDING),
    "route_gate_up": Judge(_route_gate_up, LIMIT),
    "experts_down": Judge(_experts_down, LIMIT),
    "experts_sum": Judge(_experts_sum, ROUNDING),
    "moe_ffn": Judge(_moe_ffn, LIMIT),
}
