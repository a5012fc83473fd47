"""Causal attention over a cache of keys and values, grouped queries, with an optional output gate."""

import numpy as np

from ..graph import Graph
from ..ops.elementwise import sigmoid
from ..ops.op import Op, Spec, register, require
from ..tensor import Tensor
from .slots import read_slots


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
