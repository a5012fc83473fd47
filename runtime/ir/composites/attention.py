"""Causal attention over a cache of keys and values, grouped queries, with an optional output gate."""

from typing import Any

import numpy as np

from ..dtypes import DType
from ..editing import Editing
from ..graph import Graph, Node
from ..ops import OPS
from ..ops.elementwise import sigmoid
from ..ops.op import Op, OpKind, Spec, Work, named_operands, register, require
from ..patterns import Fusion, make, scope_of
from ..tensor import Tensor
from .slots import read_slots

Array = np.ndarray
LAYER = "attention"
FEWEST_NUMBERS = 1 << 15  # of a head's keys: on an H100 half as many lost by being split, twice as many won
SPLIT_KEYS = 256  # keys that one part of a split attention looks at
FEWEST_KEYS, MANY_PARTS = 32, 256  # the same where a part's keys are read once for all heads that share them
KEYS_BY_MATRICES, PARTS_BY_MATRICES = 64, 132  # and meet them by matrices; as measured on an H200
KEYS_AT_ONCE, PARTS_AT_ONCE = 16, 64  # and all at once; two groups' parts are combined by subgroups of 32


def cache_write(g: Graph, cache: Tensor, rows: Tensor, x: Tensor) -> Tensor:
    """Write x [B, T, Hkv, D] into rows [B*T] of a cache [n_slots, n_ctx, Hkv*D]; rows outside of it are dropped."""
    n_slots, n_ctx, width = cache.shape
    flat = g.reshape(x, x.shape[0] * x.shape[1], width)
    return g.set_rows(cache.reshape(n_slots * n_ctx, width), rows, flat)


def attention(
    g: Graph,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slots: Tensor,
    pos: Tensor,
    scale: float,
    n_kv: int,
    gate: Tensor | None = None,
    sinks: Tensor | None = None,
    window: int = 0,
    cap: float = 0.0,
) -> Tensor:
    """softmax(scale q k^T, keys up to pos) v.

    q [B, T, H, D]; k, v caches [n_slots, n_ctx, Hkv*D] and [n_slots, n_ctx, Hkv*Dv], the step's own rows already
    written; slots [B]; pos [B, T], a row of pos < 0 gives 0. Only the first n_kv keys are looked at; every pos is below
    n_kv. Returns [B, T, H, Dv].

    The key of position s stands in row s % n_ctx. So a window's caches may be shorter than n_kv, as a ring, which must
    still hold what any query sees: they have at least window + n - 1 rows where a sequence's step wrote n.

    gate [B, T, H, Dv]: the result times sigmoid(gate). sinks [H]: one more logit a head, whose value is 0. window: only
    the last so many keys, s > pos - window. cap: logits z become cap * tanh(z / cap), before the mask.
    """
    given = {"gate": gate, "sinks": sinks}
    more = {name: t for name, t in given.items() if t is not None}
    options = {"extra": tuple(more), "window": window, "cap": cap}
    return g.one("attention", q, k, v, slots, pos, *more.values(), scale=scale, n_kv=n_kv, **options)


def _infer(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slots: Tensor,
    pos: Tensor,
    *more: Tensor,
    scale: float,
    n_kv: int,
    extra: tuple[str, ...] = (),
    window: int = 0,
    cap: float = 0.0,
):
    (n_seqs, n_tokens, n_heads, dim), n_keys = q.shape, k.shape[2] // max(q.shape[3], 1)
    ok = k.shape[0] > 0 and 0 not in (n_heads, n_keys) and k.shape[2] == n_keys * dim and n_heads % n_keys == 0
    ok = ok and v.shape[:2] == k.shape[:2] and v.shape[2] % n_keys == 0
    held = n_kv <= k.shape[1] or 0 < window <= k.shape[1]
    require(ok and held, "attention", f"q {q.shape}, k {k.shape}, v {v.shape}, n_kv {n_kv}, window {window}")
    ok = slots.shape == (n_seqs,) and pos.shape == (n_seqs, n_tokens)
    require(ok, "attention", f"q {q.shape}, slots {slots.shape}, pos {pos.shape}")
    made = (n_seqs, n_tokens, n_heads, v.shape[2] // n_keys)
    named_operands("attention", extra, more, {"gate": made, "sinks": (n_heads,)})
    return (Spec(made),)


def _compute(q, k, v, slots, pos, *more, scale: float, n_kv: int, extra=(), window: int = 0, cap: float = 0.0):
    given, (n_seqs, n_tokens, n_heads, dim) = dict(zip(extra, more, strict=True)), q.shape
    share = n_heads // (k.shape[2] // dim)
    out = np.zeros((n_seqs, n_tokens, n_heads, v.shape[2] * share // n_heads))
    for b in range(n_seqs):
        slot = np.clip(slots[b], 0, k.shape[0] - 1)
        keys, rows = (np.repeat(c[slot].reshape(c.shape[1], n_heads // share, -1), share, 1) for c in (k, v))
        for t in range(n_tokens):
            first, stop = _seen(pos[b, t], n_kv, window)
            if first < stop:
                seen = np.arange(first, stop) % k.shape[1]
                z = _logits(q[b, t], keys[seen], scale, cap)
                out[b, t] = np.einsum("hs,shd->hd", _weights(z, given.get("sinks")), rows[seen])
    return (out * sigmoid(given["gate"].astype(np.float64)) if "gate" in given else out,)


def _seen(pos: int, n_kv: int, window: int) -> tuple[int, int]:
    """The first key that a token sees, and the first one that it does not."""
    return max(0, pos + 1 - window) if window else 0, min(pos + 1, n_kv)


def _logits(q: Array, keys: Array, scale: float, cap: float) -> Array:
    """q [H, D], keys [n, H, D] -> [H, n]."""
    z = np.einsum("hd,shd->hs", q.astype(np.float64), keys) * scale
    return cap * np.tanh(z / cap) if cap else z


def _weights(z: Array, sinks: Array | None) -> Array:
    """softmax of z [H, n], beside a sink's logit."""
    top = z.max(-1, keepdims=True)
    top = top if sinks is None else np.maximum(top, sinks[:, None])
    p = np.exp(z - top)
    return p / (p.sum(-1, keepdims=True) + (0 if sinks is None else np.exp(sinks[:, None] - top)))


def _cached(g: Graph, cache: Tensor, slots: Tensor, n_kv: int, n_heads: int) -> Tensor:
    """The first n_kv rows of the step's slots as [B, Hkv, n_kv, D]."""
    n_slots, _, width = cache.shape
    first = cache.slice(1, 0, n_kv)
    first = g.cast(first, DType.F32) if cache.dtype.is_quantised else first
    rows = read_slots(g, g.reshape(first, n_slots, n_kv * width), slots)
    return rows.reshape(slots.shape[0], n_kv, n_heads, width // n_heads).permute(0, 2, 1, 3)


def _decompose(
    g: Graph, q, k, v, slots, pos, *more, scale: float, n_kv: int, extra=(), window: int = 0, cap: float = 0.0
) -> tuple[Tensor]:
    given, n_keys, n_kv = dict(zip(extra, more, strict=True)), k.shape[2] // q.shape[3], min(n_kv, k.shape[1])
    keys = g.contiguous(_cached(g, k, slots, n_kv, n_keys))
    rows = g.contiguous(_cached(g, v, slots, n_kv, n_keys).permute(0, 1, 3, 2))
    scores, mask = g.mul_mat(keys, g.contiguous(q.permute(0, 2, 1, 3))), g.causal_mask(pos, n_kv, window)
    if cap:
        scores, scale = g.scale(g.one("tanh", g.scale(scores, scale / cap)), cap), 1.0
    p = _softmax_beside(g, scores, mask, scale, given["sinks"]) if "sinks" in given else g.softmax(scores, mask, scale)
    out = g.contiguous(g.mul_mat(rows, p).permute(0, 2, 1, 3))
    return (g.mul(out, g.sigmoid(given["gate"])) if "gate" in given else out,)


def _softmax_beside(g: Graph, scores: Tensor, mask: Tensor, scale: float, sinks: Tensor) -> Tensor:
    """softmax of scores [B, H, T, n] beside a logit a head: a column in front, which is left out again."""
    n_seqs, n_heads, n_tokens, n = scores.shape
    column = g.repeat(g.scale(sinks, 1 / scale).reshape(1, n_heads, 1, 1), n_seqs, n_heads, n_tokens, 1)
    p = g.softmax(g.concat(column, scores, 3), g.pad(mask, (0, 0, 0, 1), (0, 0, 0, 0)), scale)
    return g.contiguous(p.slice(3, 1, n + 1))


def _work(q, k, v, slots, *_others: Tensor, n_kv: int, **_attrs: object) -> Work:
    """The first n_kv rows of the step's slots; q k^T and its product with v, over every planned key."""
    n_kv = min(n_kv, k.shape[1])
    n_rows, n = slots.shape[0] * n_kv, q.layout.n_elements
    n_values = n // k.shape[2] * v.shape[2]
    return Work({1: n_rows * k.shape[2], 2: n_rows * v.shape[2]}, flops=2 * (n + n_values) * n_kv)


register(Op("attention", _infer, _compute, _decompose, OpKind.FUSED, work=_work, layer=LAYER))


def _attention_split_infer(
    q,
    k,
    v,
    slots,
    pos,
    *,
    scale: float,
    n_kv: int,
    n_split: int,
    window: int = 0,
    cap: float = 0.0,
    grouped: bool = False,
    by_matrices: bool = False,
    at_once: bool = False,
) -> tuple[Spec]:
    """Attention of one token over n_split equal parts of the keys that it sees, to be combined; window, cap and rings
    as attention's. `grouped` is asked of kernels that read a key once for all heads that share it, `by_matrices` of
    those that multiply it with them by matrices: they are done with more keys in the same time. `at_once` of those that
    ask for all of a part before they use any: they are done sooner.

    q [B, 1, H, D], caches k [n_slots, n_ctx, Hkv*D] and v [.., Hkv*Dv], slots [B], pos [B, 1] ->
    [B, H, n_split, Dv + 2]: the part's sum of exp(z - top) v, then top (the largest z) and the sum of exp(z - top); of
    a part without keys 0, -inf, 0.
    """
    (made,) = OPS["attention"].infer(q, k, v, slots, pos, scale=scale, n_kv=n_kv, window=window)
    require(q.shape[1] == 1 and 0 < n_split <= n_kv, "attention_split", f"q {q.shape}, n_split {n_split}, n_kv {n_kv}")
    n_seqs, _, n_heads, dim = made.shape
    return (Spec((n_seqs, n_heads, n_split, dim + 2)),)


def _attention_split(
    q, k, v, slots, pos, scale: float, n_kv: int, n_split: int, window=0, cap=0.0, **_asked: bool
) -> tuple[Array]:
    n_seqs, _, n_heads, dim = q.shape
    n_keys = k.shape[2] // dim
    dim = v.shape[2] // n_keys
    out = np.zeros((n_seqs, n_heads, n_split, dim + 2))
    out[..., dim] = -np.inf
    for b in range(n_seqs):
        slot = np.clip(slots[b], 0, k.shape[0] - 1)
        keys, rows = (np.repeat(c[slot].reshape(c.shape[1], n_keys, -1), n_heads // n_keys, 1) for c in (k, v))
        first, last = _seen(pos[b, 0], n_kv, window)
        size = max(0, -(-(last - first) // n_split))
        for part in range(n_split):
            at, stop = first + part * size, min(first + part * size + size, last)
            if at < stop:
                seen = np.arange(at, stop) % k.shape[1]
                z = _logits(q[b, 0], keys[seen], scale, cap)
                top = z.max(-1)
                p = np.exp(z - top[:, None])
                out[b, :, part, :dim] = np.einsum("hs,shd->hd", p, rows[seen])
                out[b, :, part, dim], out[b, :, part, dim + 1] = top, p.sum(-1)
    return (out,)


register(Op("attention_split", _attention_split_infer, _attention_split, kind=OpKind.FUSED, work=_work, layer=LAYER))


def _attention_combine_infer(parts: Tensor, *more: Tensor, extra: tuple[str, ...] = ()) -> tuple[Spec]:
    """parts [B, H, n_split, D + 2] of attention_split, with extra "gate" [B, 1, H, D] and "sinks" [H] as attention's
    -> attention [B, 1, H, D]."""
    n_seqs, n_heads, n_split, width = parts.shape
    made = (n_seqs, 1, n_heads, width - 2)
    require(n_split > 0, "attention_combine", f"parts {parts.shape}")
    named_operands("attention_combine", extra, more, {"gate": made, "sinks": (n_heads,)})
    return (Spec(made),)


def _attention_combine(parts: Array, *more: Array, extra: tuple[str, ...] = ()) -> tuple[Array]:
    given = dict(zip(extra, more, strict=True))
    sums, tops, totals = parts[..., :-2].astype(np.float64), parts[..., -2].astype(np.float64), parts[..., -1]
    sinks = given["sinks"].astype(np.float64)[:, None] if "sinks" in given else -np.inf
    top = np.maximum(tops.max(-1, keepdims=True), sinks)
    top = np.where(np.isneginf(top), 0, top)
    weight = np.exp(tops - top)
    total = (weight * totals).sum(-1)[..., None] + np.exp(sinks - top)
    out = np.divide((weight[..., None] * sums).sum(2), total, out=np.zeros_like(sums[:, :, 0]), where=total != 0)
    return (out[:, None] * sigmoid(given["gate"].astype(np.float64)) if "gate" in given else out[:, None],)


register(Op("attention_combine", _attention_combine_infer, _attention_combine, kind=OpKind.FUSED, layer=LAYER))


def _fuse_split(edit: Editing, i: int, node: Node) -> None:
    """Attention of one token over many keys: parts side by side, then their combination."""
    ins, others, attrs = node.inputs[:5], node.inputs[5:], dict(node.attrs)
    extra = attrs.pop("extra", ())
    if ins[0].shape[1] != 1:
        return
    for more in _ways(node):
        if more["n_split"] < 2:
            continue
        parts = make("attention_split", ins, scope_of(node), **more, **attrs)
        combine = make("attention_combine", (parts.outputs[0], *others), scope_of(node), node.outputs, extra=extra)
        if edit.supports(parts) and edit.supports(combine):
            edit.put(i, parts, combine)
            return


def _ways(node: Node) -> tuple[dict[str, Any], ...]:
    """What may be asked of attention_split, the fastest way first; with a window what kernels take beside it."""
    for_all = (
        {"n_split": _small_parts(node, FEWEST_KEYS, MANY_PARTS), "grouped": True},
        {"n_split": _most_keys(node) // SPLIT_KEYS},
    )
    if node.attrs.get("window"):
        return for_all
    return (
        {"n_split": _small_parts(node, KEYS_BY_MATRICES, PARTS_BY_MATRICES), "grouped": True, "by_matrices": True},
        {"n_split": _small_parts(node, KEYS_AT_ONCE, PARTS_AT_ONCE), "grouped": True, "at_once": True},
        *for_all,
    )


def _most_keys(node: Node) -> int:
    """That a token sees."""
    return min(node.attrs["n_kv"], node.attrs.get("window") or node.attrs["n_kv"])


def _small_parts(node: Node, fewest_keys: int, many: int) -> int:
    """Parts that together keep a large GPU busy, each with keys enough to be worth its start; 1 where a head's keys are
    so few that the second dispatch costs more."""
    (q, k, *_), most_keys = node.inputs, _most_keys(node)
    if most_keys * q.shape[3] < FEWEST_NUMBERS:
        return 1
    n_groups = q.shape[0] * (k.shape[2] // q.shape[3])
    return min(most_keys // fewest_keys, max(2, many // n_groups))


FUSIONS = (Fusion("attention", _fuse_split),)
