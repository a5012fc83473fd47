"""Judges of rope, of attention over caches, whole and in parts, and of its inputs."""

import math

import numpy as np

from .copies import set_rows
from .judge import ROUNDING, Array, Judge, clamped
from .onnx_ops import onnx_op
from .rows import rms_norm


def rope(x: Array, pos: Array, table: Array, neighbours: bool = False) -> Array:
    half = table.shape[1] // 2
    cos, sin, at = table[:, :half], table[:, half:], clamped(pos, len(table))
    heads = onnx_op("Transpose", x, perm=(0, 2, 1, 3))
    turned = onnx_op("RotaryEmbedding", heads, cos, sin, at, rotary_embedding_dim=2 * half, interleaved=int(neighbours))
    return onnx_op("Transpose", turned, perm=(0, 2, 1, 3))


def _attention(
    q, k, v, slots, pos, *more, scale: float, n_kv: int, extra: tuple[str, ...] = (), window: int = 0, cap: float = 0.0
) -> tuple[Array]:
    given, n_keys = dict(zip(extra, more, strict=True)), k.shape[2] // q.shape[3]
    whole = _by_hand if cap or "sinks" in given else _by_onnx
    out = np.empty((*q.shape[:3], v.shape[2] // n_keys))
    for b, slot in enumerate(clamped(slots, len(k))):
        rows = [s % k.shape[1] for s in range(n_kv)]
        keys, values = (cache[slot, rows].reshape(n_kv, n_keys, -1) for cache in (k, v))
        seen = np.array([[s <= p and (not window or s > p - window) for s in range(n_kv)] for p in pos[b]])
        out[b] = whole(q[b], keys, values, seen, scale, cap, given.get("sinks"))
    return (onnx_op("Mul", out, onnx_op("Sigmoid", given["gate"])) if "gate" in given else out,)


def _by_onnx(q: Array, keys: Array, values: Array, seen: Array, scale: float, *_none: object) -> Array:
    """q [T, H, D], keys and values [n, Hkv, D], seen [T, n]."""
    heads = (x.transpose(1, 0, 2)[None] for x in (q * scale, keys, values))
    return onnx_op("Attention", *heads, seen, scale=1.0)[0].transpose(1, 0, 2)


def _by_hand(q: Array, keys: Array, values: Array, seen: Array, scale: float, cap: float, sinks: Array | None) -> Array:
    """The same with capped logits, and a logit a head whose value is 0."""
    out = np.zeros((*q.shape[:2], values.shape[2]))
    for t, h in np.ndindex(q.shape[:2]):
        at = h * keys.shape[1] // q.shape[1]
        *sums, top, total = _part(q[t, h], keys[seen[t], at], values[seen[t], at], scale, cap)
        total += 0 if sinks is None else math.exp(sinks[h] - top) if seen[t].any() else 1
        out[t, h] = np.array(sums) / (total or 1)
    return out


def _attention_split(
    q, k, v, slots, pos, scale: float, n_kv: int, n_split: int, window=0, cap=0.0, **_asked: bool
) -> tuple[Array]:
    """Each query's keys in n_split parts of one size, but for the last; what else is asked is about speed alone."""
    n_seqs, _, n_heads, dim = q.shape
    n_keys = k.shape[2] // dim
    out = np.empty((n_seqs, n_heads, n_split, v.shape[2] // n_keys + 2))
    for b, h, part in np.ndindex(n_seqs, n_heads, n_split):
        slot, own = min(max(int(slots[b]), 0), len(k) - 1), h * n_keys // n_heads
        seen = [s for s in range(n_kv) if s <= pos[b, 0] and (not window or s > pos[b, 0] - window)]
        size = math.ceil(len(seen) / n_split)
        rows = [s % k.shape[1] for s in seen[part * size : (part + 1) * size]]
        keys, values = (c[slot, rows].reshape(len(rows), n_keys, c.shape[2] // n_keys)[:, own] for c in (k, v))
        out[b, h, part] = _part(q[b, 0, h], keys, values, scale, cap)
    return (out,)


def _part(query: Array, keys: Array, values: Array, scale: float, cap: float) -> list[float]:
    """sum of exp(z - top) v, top, sum of exp(z - top) over some keys, z capped where there is a cap."""
    if not len(keys):
        return [0.0] * values.shape[1] + [-math.inf, 0.0]
    z = [scale * score for score in (keys @ query).tolist()]
    z = [cap * math.tanh(score / cap) for score in z] if cap else z
    top = max(z)
    weights = [math.exp(score - top) for score in z]
    return [*(np.array(weights) @ values), top, sum(weights)]


def _attention_combine(parts: Array, *more: Array, extra: tuple[str, ...] = ()) -> tuple[Array]:
    """A sink is a part of its own: a key of that logit, whose value is 0."""
    given = dict(zip(extra, more, strict=True))
    n_seqs, n_heads, _, width = parts.shape
    out = np.zeros((n_seqs, 1, n_heads, width - 2))
    for b, h in np.ndindex(n_seqs, n_heads):
        some = [part for part in parts[b, h].tolist() if part[-2] > -math.inf]
        some += [[0.0] * (width - 2) + [float(given["sinks"][h]), 1.0]] if "sinks" in given else []
        top = max((part[-2] for part in some), default=0.0)
        total = sum(math.exp(part[-2] - top) * part[-1] for part in some)
        for d in range(width - 2 if some else 0):
            share = sum(math.exp(part[-2] - top) * part[d] for part in some) / total
            out[b, 0, h, d] = share / (1 + math.exp(-given["gate"][b, 0, h, d])) if "gate" in given else share
    return (out,)


def _qk_rope_cache(
    q, k, v, pos, table, rows, k_cache, v_cache, *more, eps: float, extra=(), neighbours: bool = False
) -> tuple[Array, ...]:
    named = dict(zip(extra, more, strict=True))
    if "q_bias" in named:
        q, k, v = (
            onnx_op("Add", x, named[f"{n}_bias"].reshape(x.shape[2:])) for n, x in (("q", q), ("k", k), ("v", v))
        )
    is_normed = "q_norm" in named
    normed = (rms_norm(x, eps, named[f"{name}_norm"]) if is_normed else x for name, x in (("q", q), ("k", k)))
    queries, keys = (rope(x, pos, table, neighbours) for x in normed)
    written = (set_rows(cache, rows, x.reshape(len(rows), -1))[0] for cache, x in ((k_cache, keys), (v_cache, v)))
    if "q_scales" in named:
        queries = onnx_op("Mul", queries, named["q_scales"][clamped(pos, len(named["q_scales"]))][..., None, None])
    return queries, *written


def _rope_attention_split(
    q, k, v, pos, table, rows, k_cache, v_cache, slots, seen, *norms, eps: float, extra=(), neighbours=False, **attrs
) -> tuple[Array, ...]:
    flat, turning = [c.reshape(-1, c.shape[2]) for c in (k_cache, v_cache)], dict(extra=extra, neighbours=neighbours)
    queries, *written = _qk_rope_cache(q, k, v, pos, table, rows, *flat, *norms, eps=eps, **turning)
    caches = [c.reshape(k_cache.shape) for c in written]
    return *_attention_split(queries, *caches, slots, seen, **attrs), *caches


def _rope_attention(
    q, k, v, pos, table, rows, k_cache, v_cache, slots, seen, *more, eps: float, extra=(), neighbours=False, **attrs
) -> tuple[Array, ...]:
    named = dict(zip(extra, more, strict=True))
    gate = {"gate": named.pop("gate")} if "gate" in named else {}
    flat, turning = (
        [c.reshape(-1, c.shape[2]) for c in (k_cache, v_cache)],
        dict(neighbours=neighbours, extra=(*named,)),
    )
    queries, *written = _qk_rope_cache(q, k, v, pos, table, rows, *flat, *named.values(), eps=eps, **turning)
    caches = [c.reshape(k_cache.shape) for c in written]
    (part,) = _attention_split(queries, *caches, slots, seen, n_split=1, **attrs)  # looks at no row that is not seen
    return *_attention_combine(part, *gate.values(), extra=(*gate,)), *caches


def _latent_cache(q, kv, norm, pos, table, rows, cache, eps: float, neighbours: bool = False) -> tuple[Array, ...]:
    n_latent = kv.shape[2] - q.shape[3]
    latent = rms_norm(kv[:, :, :n_latent], eps, norm)
    key = rope(kv[:, :, None, n_latent:], pos, table, neighbours)[:, :, 0]
    row = onnx_op("Concat", latent, key, axis=-1).reshape(len(rows), -1)
    return rope(q, pos, table, neighbours), *set_rows(cache, rows, row)


JUDGES = {
    "rope": Judge(lambda *ins, **attrs: (rope(*ins, **attrs),), ROUNDING),
    "attention": Judge(_attention, ROUNDING),
    "attention_split": Judge(_attention_split, ROUNDING),
    "attention_combine": Judge(_attention_combine, ROUNDING),
    "qk_rope_cache": Judge(_qk_rope_cache, ROUNDING),
    "rope_attention_split": Judge(_rope_attention_split, ROUNDING),
    "rope_attention": Judge(_rope_attention, ROUNDING),
    "latent_cache": Judge(_latent_cache, ROUNDING),
}
