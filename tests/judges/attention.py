"""Judges of rope, of attention over caches, whole and in parts, and of its inputs."""

import math

import numpy as np

from .copies import set_rows
from .judge import ROUNDING, Array, Judge, clamped
from .onnx_ops import onnx_op
from .rows import rms_norm


def rope(x: Array, pos: Array, table: Array) -> Array:
    half = table.shape[1] // 2
    cos, sin, at = table[:, :half], table[:, half:], clamped(pos, len(table))
    heads = onnx_op("Transpose", x, perm=(0, 2, 1, 3))
    turned = onnx_op("RotaryEmbedding", heads, cos, sin, at, rotary_embedding_dim=2 * half)
    return onnx_op("Transpose", turned, perm=(0, 2, 1, 3))


def _attention(q, k, v, slots, pos, gate, scale: float, n_kv: int) -> tuple[Array]:
    out = np.empty(q.shape)
    for b, slot in enumerate(clamped(slots, len(k))):
        keys, values = (_heads(cache[slot, :n_kv], q.shape[-1]) for cache in (k, v))
        seen = np.array([[s <= p for s in range(n_kv)] for p in pos[b]])
        queries = q[b : b + 1].transpose(0, 2, 1, 3) * scale
        out[b] = onnx_op("Attention", queries, keys, values, seen, scale=1.0)[0].transpose(1, 0, 2)
    return (onnx_op("Mul", out, onnx_op("Sigmoid", gate)),)


def _heads(rows: Array, dim: int) -> Array:
    """Rows of a cache [n, Hkv * D] as ONNX wants them: [1, Hkv, n, D]."""
    return rows.reshape(1, len(rows), -1, dim).transpose(0, 2, 1, 3)


def _attention_split(q, k, v, slots, pos, scale: float, n_kv: int, n_split: int) -> tuple[Array]:
    n_seqs, _, n_heads, dim = q.shape
    out, size = np.empty((n_seqs, n_heads, n_split, dim + 2)), math.ceil(n_kv / n_split)
    for b, h, part in np.ndindex(n_seqs, n_heads, n_split):
        slot, first = min(max(int(slots[b]), 0), len(k) - 1), h * k.shape[2] // (n_heads * dim) * dim
        seen = [s for s in range(part * size, (part + 1) * size) if s < n_kv and s <= pos[b, 0]]
        keys, values = (cache[slot, seen, first : first + dim].tolist() for cache in (k, v))
        out[b, h, part] = _part(q[b, 0, h].tolist(), keys, values, scale)
    return (out,)


def _part(query: list[float], keys: list[list[float]], values: list[list[float]], scale: float) -> list[float]:
    """sum of exp(z - top) v, top, sum of exp(z - top) over some keys."""
    if not keys:
        return [0.0] * len(query) + [-math.inf, 0.0]
    z = [scale * sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
    weights = [math.exp(score - max(z)) for score in z]
    sums = [sum(w * v for w, v in zip(weights, column, strict=True)) for column in zip(*values, strict=True)]
    return [*sums, max(z), sum(weights)]


def _attention_combine(parts: Array, gate: Array) -> tuple[Array]:
    n_seqs, n_heads, _, width = parts.shape
    out = np.zeros(gate.shape)
    for b, h in np.ndindex(n_seqs, n_heads):
        some = [part for part in parts[b, h].tolist() if part[-2] > -math.inf]
        top = max((part[-2] for part in some), default=0.0)
        total = sum(math.exp(part[-2] - top) * part[-1] for part in some)
        for d in range(width - 2 if some else 0):
            share = sum(math.exp(part[-2] - top) * part[d] for part in some) / total
            out[b, 0, h, d] = share / (1 + math.exp(-gate[b, 0, h, d]))
    return (out,)


def _qk_rope_cache(q, k, v, q_norm, k_norm, pos, table, rows, k_cache, v_cache, eps: float) -> tuple[Array, ...]:
    queries, keys = (rope(rms_norm(x, eps, w), pos, table) for x, w in ((q, q_norm), (k, k_norm)))
    written = (set_rows(cache, rows, x.reshape(len(rows), -1))[0] for cache, x in ((k_cache, keys), (v_cache, v)))
    return queries, *written


JUDGES = {
    "rope": Judge(lambda x, pos, table: (rope(x, pos, table),), ROUNDING),
    "attention": Judge(_attention, ROUNDING),
    "attention_split": Judge(_attention_split, ROUNDING),
    "attention_combine": Judge(_attention_combine, ROUNDING),
    "qk_rope_cache": Judge(_qk_rope_cache, ROUNDING),
}
