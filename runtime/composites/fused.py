"""Fused ops: chains of a step as one dispatch each. The fuse pass makes them; each decomposes to what it fused."""

import numpy as np

from ..dtypes import DType
from ..graph import Graph
from ..ops import OPS
from ..ops.elementwise import UNARY, sigmoid
from ..ops.op import Op, Out, Spec, register, require, require_dtype
from ..tensor import Tensor

Array = np.ndarray
silu = UNARY["silu"]


def _add_rms_norm_infer(x: Tensor, y: Tensor, w: Tensor, eps: float) -> tuple[Spec, Spec]:
    """x, y [N, E], w [E] -> s = x + y, and rms_norm(s) * w."""
    require(x.shape == y.shape, "add_rms_norm", f"x {x.shape}, y {y.shape}")
    require(w.shape == x.shape[-1:], "add_rms_norm", f"rows of {x.shape[-1]}, weight {w.shape}")
    return Spec(x.shape), Spec(x.shape)


def _add_rms_norm(x: Array, y: Array, w: Array, eps: float) -> tuple[Array, Array]:
    s = x + y
    return s, OPS["rms_norm_scale"].compute(s, w, eps=eps)[0]


def _add_rms_norm_parts(g: Graph, x: Tensor, y: Tensor, w: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    s = g.add(x, y)
    return s, g.rms_norm_scale(s, w, eps)


register(Op("add_rms_norm", _add_rms_norm_infer, _add_rms_norm, _add_rms_norm_parts))


def _mul_mats_infer(x: Tensor, *weights: Tensor) -> tuple[Spec, ...]:
    """x [N, K], weights [M_i, K] each -> [N, M_i] each: the projections of one input."""
    require_dtype("mul_mats", x, DType.F32)
    ok = x.ndim == 2 and all(w.ndim == 2 and w.shape[1] == x.shape[1] for w in weights)
    require(ok, "mul_mats", f"x {x.shape}, weights {[w.shape for w in weights]}")
    return tuple(Spec((x.shape[0], w.shape[0])) for w in weights)


register(
    Op(
        "mul_mats",
        _mul_mats_infer,
        lambda x, *weights: tuple(x @ np.asarray(w).T for w in weights),
        lambda g, x, *weights: tuple(g.mul_mat(w, x) for w in weights),
    )
)


def _qk_rope_cache_infer(q, k, v, q_norm, k_norm, pos, table, rows, k_cache, v_cache, eps: float) -> tuple[Out, ...]:
    """Norm and rope of q and k, and both cache writes.

    q [B, T, H, D]; k, v [B, T, Hkv, D]; norms [D]; pos [B, T]; table as rope's; rows [B*T]; caches
    [n_slots * n_ctx, Hkv*D] -> rope(norm(q)), and the caches with rows rope(norm(k)) and v written.
    """
    ok = q.shape[:2] == k.shape[:2] == pos.shape and k.shape == v.shape and q_norm.shape == k_norm.shape == q.shape[3:]
    require(ok, "qk_rope_cache", f"q {q.shape}, k {k.shape}, v {v.shape}, norms {q_norm.shape}, pos {pos.shape}")
    ok = k_cache.shape == v_cache.shape and k_cache.shape[1] == k.shape[2] * k.shape[3] and rows.ndim == 1
    require(ok, "qk_rope_cache", f"k {k.shape}, caches {k_cache.shape}, {v_cache.shape}, rows {rows.shape}")
    return Spec(q.shape), k_cache, v_cache


def _qk_rope_cache(q, k, v, q_norm, k_norm, pos, table, rows, k_cache, v_cache, eps: float) -> tuple[Array, ...]:
    turned = [
        OPS["rope"].compute(OPS["rms_norm_scale"].compute(x, w, eps=eps)[0].astype(np.float32), pos, table)[0]
        for x, w in ((q, q_norm), (k, k_norm))
    ]
    written = [
        OPS["set_rows"].compute(cache, rows, np.asarray(x, np.float32).reshape(len(rows), -1))[0]
        for cache, x in ((k_cache, turned[1]), (v_cache, v))
    ]
    return turned[0], *written


def _qk_rope_cache_parts(g: Graph, q, k, v, q_norm, k_norm, pos, table, rows, k_cache, v_cache, eps: float):
    q = g.rope(g.rms_norm_scale(q, q_norm, eps), pos, table)
    k = g.rope(g.rms_norm_scale(k, k_norm, eps), pos, table)
    flat = rows.shape[0], k_cache.shape[1]
    written = (g.set_rows(cache, rows, g.reshape(x, *flat)) for cache, x in ((k_cache, k), (v_cache, v)))
    return q, *written


register(Op("qk_rope_cache", _qk_rope_cache_infer, _qk_rope_cache, _qk_rope_cache_parts))


def _gated_delta_norm_infer(*ins: Tensor, eps: float) -> tuple[Out, ...]:
    """gated_delta_net of the first ten inputs, then gated_norm with w [D] and gate [B, T, Hv, D]."""
    *net, w, gate = ins
    made, state = OPS["gated_delta_net"].infer(*net)
    require(
        w.shape == made.shape[-1:] and gate.shape == made.shape, "gated_delta_norm", f"w {w.shape}, gate {gate.shape}"
    )
    return made, state


def _gated_delta_norm(*ins: Array, eps: float) -> tuple[Array, Array]:
    *net, w, gate = ins
    o, state = OPS["gated_delta_net"].compute(*net)
    return OPS["gated_norm"].compute(o, w, gate, eps=eps)[0], state


def _gated_delta_norm_parts(g: Graph, *ins: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    *net, w, gate = ins
    o, state = g.emit("gated_delta_net", *net)
    return g.gated_norm(o, w, gate, eps), state


register(Op("gated_delta_norm", _gated_delta_norm_infer, _gated_delta_norm, _gated_delta_norm_parts))


def _attention_split_infer(q, k, v, slots, pos, scale: float, n_kv: int, n_split: int) -> tuple[Spec]:
    """Attention of one token over n_split equal parts of the first n_kv keys, to be combined.

    q [B, 1, H, D], k, v caches [n_slots, n_ctx, Hkv*D], slots [B], pos [B, 1] -> [B, H, n_split, D + 2]: the part's
    sum of exp(z - top) v, then top (the largest z) and the sum of exp(z - top); of a part without keys 0, -inf, 0.
    """
    gate = q  # of q's shape, as attention wants it
    (made,) = OPS["attention"].infer(q, k, v, slots, pos, gate, scale=scale, n_kv=n_kv)
    require(q.shape[1] == 1 and 0 < n_split <= n_kv, "attention_split", f"q {q.shape}, n_split {n_split}, n_kv {n_kv}")
    n_seqs, _, n_heads, dim = made.shape
    return (Spec((n_seqs, n_heads, n_split, dim + 2)),)


def _attention_split(q, k, v, slots, pos, scale: float, n_kv: int, n_split: int) -> tuple[Array]:
    n_seqs, _, n_heads, dim = q.shape
    out = np.zeros((n_seqs, n_heads, n_split, dim + 2))
    out[..., dim] = -np.inf
    size = -(-n_kv // n_split)
    for b in range(n_seqs):
        slot = np.clip(slots[b], 0, k.shape[0] - 1)
        keys, rows = (np.repeat(c[slot].reshape(c.shape[1], -1, dim), n_heads * dim // c.shape[2], 1) for c in (k, v))
        for part in range(n_split):
            at, stop = part * size, min(part * size + size, n_kv, pos[b, 0] + 1)
            if at < stop:
                z = np.einsum("hd,shd->hs", q[b, 0].astype(np.float64), keys[at:stop]) * scale
                top = z.max(-1)
                p = np.exp(z - top[:, None])
                out[b, :, part, :dim] = np.einsum("hs,shd->hd", p, rows[at:stop])
                out[b, :, part, dim], out[b, :, part, dim + 1] = top, p.sum(-1)
    return (out,)


register(Op("attention_split", _attention_split_infer, _attention_split))


def _attention_combine_infer(parts: Tensor, gate: Tensor) -> tuple[Spec]:
    """parts [B, H, n_split, D + 2] of attention_split, gate [B, 1, H, D] -> sigmoid(gate) * attention [B, 1, H, D]."""
    n_seqs, n_heads, _, width = parts.shape
    require(
        gate.shape == (n_seqs, 1, n_heads, width - 2), "attention_combine", f"parts {parts.shape}, gate {gate.shape}"
    )
    return (Spec(gate.shape),)


def _attention_combine(parts: Array, gate: Array) -> tuple[Array]:
    sums, tops, totals = parts[..., :-2].astype(np.float64), parts[..., -2].astype(np.float64), parts[..., -1]
    top = tops.max(-1, keepdims=True)
    weight = np.exp(tops - np.where(np.isneginf(top), 0, top))
    total = (weight * totals).sum(-1)[..., None]
    out = np.divide((weight[..., None] * sums).sum(2), total, out=np.zeros_like(sums[:, :, 0]), where=total != 0)
    return (out[:, None] * sigmoid(gate.astype(np.float64)),)


register(Op("attention_combine", _attention_combine_infer, _attention_combine))
