"""Routing: which experts a token goes to, and how much each counts."""

import numpy as np

from ...dtypes import DType
from ...graph import Graph
from ...ops.elementwise import sigmoid
from ...ops.op import OPS, Op, OpKind, Spec, named_operands, register, require, require_dtype
from ...tensor import Tensor

Array = np.ndarray
FLOOR = 2.0**-14  # of the sum that sigmoid weights are divided by
FAR = 1e30  # more than any score


def _infer(
    logits: Tensor,
    *bias: Tensor,
    k: int,
    extra: tuple[str, ...] = (),
    score: str = "softmax",
    normalise: bool = True,
    scale: float = 1.0,
    n_groups: int = 1,
    n_groups_used: int = 1,
) -> tuple[Spec, Spec]:
    """logits [N, X] -> ids [N, k] of the experts with the largest scores, largest first (of equals the lower id), and
    their weights [N, k]: scale times the scores, which normalised are divided by their sum.

    score: "softmax" over all experts, or "sigmoid". extra "bias" [X]: is added to scores where experts are chosen, and
    to no weight. Of n_groups equal groups of experts only those count whose two largest scores sum up to as much as in
    the n_groups_used best ones.
    """
    require_dtype("route", logits, DType.F32)
    require(logits.ndim == 2 and 0 < k <= logits.shape[1], "route", f"logits {logits.shape}, k {k}")
    require(score in ("softmax", "sigmoid"), "route", f"score {score}")
    named_operands("route", extra, bias, {"bias": logits.shape[1:]})
    ok = n_groups > 0 and logits.shape[1] % n_groups == 0 and 0 < n_groups_used <= n_groups
    ok = ok and k <= logits.shape[1] // max(n_groups, 1) * n_groups_used
    require(ok, "route", f"logits {logits.shape}, k {k} in {n_groups_used} of {n_groups} groups")
    return Spec((logits.shape[0], k), DType.I32), Spec((logits.shape[0], k))


def _route(
    logits: Array,
    *bias: Array,
    k: int,
    extra=(),
    score="softmax",
    normalise=True,
    scale=1.0,
    n_groups=1,
    n_groups_used=1,
) -> tuple[Array, Array]:
    top_k, softmax = OPS["top_k"].compute, OPS["softmax"].compute
    if score == "softmax" and normalise and not bias and n_groups == 1:  # the softmax of the k logits alone
        (ids,) = top_k(logits, k=k)
        return ids, scale * softmax(np.take_along_axis(logits, ids, -1), scale=1.0)[0]
    scores = sigmoid(logits.astype(np.float64)) if score == "sigmoid" else softmax(logits, scale=1.0)[0]
    chosen = scores + bias[0] if bias else scores
    if n_groups > 1:
        groups = chosen.reshape(len(logits), n_groups, -1)
        best = np.sort(groups, -1)[..., -2:].sum(-1)
        least = np.sort(best, -1)[:, -n_groups_used, None]
        chosen = np.where((best >= least)[..., None], groups, -FAR).reshape(logits.shape)
    (ids,) = top_k(chosen, k=k)
    weights = np.take_along_axis(scores, ids, -1)
    total = weights.sum(-1, keepdims=True)
    total = np.maximum(total, FLOOR) if score == "sigmoid" else total
    return ids, scale * (weights / total if normalise else weights)


def _parts(
    g: Graph, logits, *bias, k: int, extra=(), score="softmax", normalise=True, scale=1.0, n_groups=1, n_groups_used=1
) -> tuple[Tensor, Tensor]:
    scores = g.sigmoid(logits) if score == "sigmoid" else g.softmax(logits)
    chosen = g.add(scores, bias[0]) if bias else scores
    chosen = _within_groups(g, chosen, n_groups, n_groups_used) if n_groups > 1 else chosen
    ids = g.top_k(chosen, k)
    weights = g.get_rows(scores.unsqueeze(2), ids).reshape(logits.shape[0], k)
    if normalise:
        total = g.sum_rows(weights)
        weights = g.div(weights, g.clamp(total, FLOOR, FAR) if score == "sigmoid" else total)
    return ids, weights if scale == 1.0 else g.scale(weights, scale)


def _within_groups(g: Graph, scores: Tensor, n_groups: int, n_used: int) -> Tensor:
    """Scores [N, X], far below all others in groups that are left out."""
    n, n_experts = scores.shape
    each = n_experts // n_groups
    flat = scores.reshape(n * n_groups, each)
    two = g.top_k(flat, min(2, each))
    best = g.sum_rows(g.get_rows(flat.unsqueeze(2), two).reshape(n * n_groups, two.shape[1])).reshape(n, n_groups)
    used = g.get_rows(best.unsqueeze(2), g.top_k(best, n_used)).reshape(n, n_used)
    behind = g.sub(best, used.slice(1, n_used - 1, n_used))
    kept = g.clamp(g.scale(behind, FAR, 1.0), 0.0, 1.0).unsqueeze(2)
    grouped = g.mul(scores.reshape(n, n_groups, each), kept)
    return g.add(grouped, g.scale(kept, FAR, -FAR)).reshape(n, n_experts)


register(Op("route", _infer, _route, _parts, OpKind.FUSED))
