"""Causal attention over a cache of keys and values, grouped queries, with an optional output gate."""

import numpy as np

from ..graph import Graph
from ..ops import OPS
from ..ops.elementwise import sigmoid
from ..ops.op import Op, Out, Spec, register, require
from ..tensor import Tensor
from .slots import read_slots

Array = np.ndarray


def cache_write(g: Graph, cache: Tensor, rows: Tensor, x: Tensor) -> Tensor:
    """Write x [B, T, Hkv, D] into rows [B*T] of a cache [n_slots, n_ctx, Hkv*D]; rows outside of it are dropped."""
    n_slots, n_ctx, width = cache.shape
    flat = g.reshape(x, x.shape[0] * x.shape[1], width)
    return g.set_rows(cache.reshape(n_slots * n_ctx, width), rows, flat)


def attention(
    g: Graph, q: Tensor, k: Tensor, v: Tensor, slots: Tensor, pos: Tensor, gate: Tensor, scale: float, n_kv: int
) -> Tensor:
    """sigmoid(gate) * softmax(scale q k^T, keys up to pos) v.

    q [B, T, H, D]; k, v caches [n_slots, n_ctx, Hkv*D], the step's own rows already written; slots [B]; pos [B, T], a
    row of pos < 0 gives 0; gate [B, T, H, D]. Only the first n_kv keys are looked at; every pos is below n_kv.
    Returns [B, T, H, D].
    """
    return g.one("attention", q, k, v, slots, pos, gate, scale=scale, n_kv=n_kv)


def _infer(q: Tensor, k: Tensor, v: Tensor, slots: Tensor, pos: Tensor, gate: Tensor, scale: float, n_kv: int):
    n_seqs, n_tokens, n_heads, dim = q.shape
    ok = k.shape == v.shape and k.shape[2] % dim == 0 and n_heads % (k.shape[2] // dim) == 0 and n_kv <= k.shape[1]
    require(ok, "attention", f"q {q.shape}, k {k.shape}, v {v.shape}, n_kv {n_kv}")
    ok = slots.shape == (n_seqs,) and pos.shape == (n_seqs, n_tokens) and gate.shape == q.shape
    require(ok, "attention", f"q {q.shape}, slots {slots.shape}, pos {pos.shape}, gate {gate.shape}")
    return (Spec(q.shape),)


def _compute(q, k, v, slots, pos, gate, scale: float, n_kv: int) -> tuple[np.ndarray]:
    n_seqs, n_tokens, n_heads, dim = q.shape
    out = np.zeros(q.shape)
    for b in range(n_seqs):
        slot = np.clip(slots[b], 0, k.shape[0] - 1)
        keys, rows = (np.repeat(c[slot].reshape(c.shape[1], -1, dim), n_heads * dim // c.shape[2], 1) for c in (k, v))
        for t in range(n_tokens):
            if (n := min(pos[b, t] + 1, n_kv)) > 0:
                z = np.einsum("hd,shd->hs", q[b, t].astype(np.float64), keys[:n]) * scale
                p = np.exp(z - z.max(-1, keepdims=True))
                out[b, t] = np.einsum("hs,shd->hd", p / p.sum(-1, keepdims=True), rows[:n])
    return (out * sigmoid(gate.astype(np.float64)),)


def _cached(g: Graph, cache: Tensor, slots: Tensor, n_kv: int, dim: int) -> Tensor:
    """The first n_kv rows of the step's slots as [B, Hkv, n_kv, D]."""
    n_slots, _, width = cache.shape
    rows = read_slots(g, cache.slice(1, 0, n_kv).reshape(n_slots, n_kv * width), slots)
    return rows.reshape(slots.shape[0], n_kv, width // dim, dim).permute(0, 2, 1, 3)


def _decompose(g: Graph, q, k, v, slots, pos, gate, scale: float, n_kv: int) -> tuple[Tensor]:
    dim = q.shape[-1]
    keys = g.contiguous(_cached(g, k, slots, n_kv, dim))
    rows = g.contiguous(_cached(g, v, slots, n_kv, dim).permute(0, 1, 3, 2))
    scores = g.mul_mat(keys, g.contiguous(q.permute(0, 2, 1, 3)))
    p = g.softmax(scores, g.causal_mask(pos, n_kv), scale)
    out = g.contiguous(g.mul_mat(rows, p).permute(0, 2, 1, 3))
    return (g.mul(out, g.sigmoid(gate)),)


register(Op("attention", _infer, _compute, _decompose))


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
