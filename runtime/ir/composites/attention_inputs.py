"""Attention's inputs: biases, norms and rotary embedding of queries and keys, and both cache writes."""

from dataclasses import dataclass, replace

import numpy as np

from ..editing import Editing, is_same, view, whole
from ..graph import Graph, Node
from ..layout import Shape
from ..ops import OPS
from ..ops.attention import rope_work
from ..ops.op import Op, OpKind, Out, Spec, Work, n_picked, named_operands, register, require
from ..patterns import Fusion, last_write, make, maker, only_reader, readers, scope_of, sole_maker
from ..tensor import Kind, Tensor

Array = np.ndarray
NORMS, BIASES, SCALES = ("q_norm", "k_norm"), ("q_bias", "k_bias", "v_bias"), "q_scales"
NEEDS = {**dict(zip(NORMS, NORMS[::-1], strict=True)), **dict(zip(BIASES, (*BIASES[1:], BIASES[0]), strict=True))}


def _qk_rope_cache_infer(
    q,
    k,
    v,
    pos,
    table,
    rows,
    k_cache,
    v_cache,
    *more,
    eps: float,
    extra: tuple[str, ...] = (),
    neighbours: bool = False,
) -> tuple[Out, ...]:
    """Rope of q and k and both cache writes; extra "q_norm" and "k_norm" [D] of norms of their heads, and before those
    "q_bias" [H*D], "k_bias" and "v_bias" [Hkv*D]; "q_scales" [n], factors of turned queries by position.

    q [B, T, H, D]; k, v [B, T, Hkv, D]; pos [B, T]; table as rope's; rows [B*T]; caches [n_slots * n_ctx, Hkv*D] ->
    rope(norm(q)), and the caches with rows rope(norm(k)) and v written.
    """
    ok = q.shape[:2] == k.shape[:2] == pos.shape and k.shape == v.shape and q.shape[3] == k.shape[3]
    require(ok, "qk_rope_cache", f"q {q.shape}, k {k.shape}, v {v.shape}, pos {pos.shape}")
    named_operands("qk_rope_cache", extra, more, _more_shapes(q, k, v, *more), NEEDS)
    OPS["rope"].infer(q, pos, table)
    caches = (k_cache.shape[0], k.shape[2] * k.shape[3])
    ok = k_cache.shape == v_cache.shape == caches and rows.shape == (k.shape[0] * k.shape[1],)
    require(ok, "qk_rope_cache", f"k {k.shape}, caches {k_cache.shape}, {v_cache.shape}, rows {rows.shape}")
    return Spec(q.shape), k_cache, v_cache


def _more_shapes(q: Tensor, k: Tensor, v: Tensor, *more: Tensor) -> dict[str, Shape]:
    dim, biases = k.shape[3], zip(BIASES, (q, k, v), strict=True)
    known = {**dict.fromkeys(NORMS, (dim,)), **{name: (t.shape[2] * dim,) for name, t in biases}}
    return {**known, SCALES: (max(1, more[-1].layout.n_elements if more else 0),)}  # of any number of positions


def _qk_rope_cache(
    q, k, v, pos, table, rows, k_cache, v_cache, *more, eps: float, extra=(), neighbours: bool = False
) -> tuple[Array, ...]:
    given, norm, rope = dict(zip(extra, more, strict=True)), OPS["rms_norm_scale"].compute, OPS["rope"].compute
    if BIASES[0] in given:
        q, k, v = (x + given[name].reshape(x.shape[2:]) for x, name in zip((q, k, v), BIASES, strict=True))
    if NORMS[0] in given:
        q, k = (norm(x, given[name], eps=eps)[0].astype(np.float32) for x, name in zip((q, k), NORMS, strict=True))
    turned = [rope(x, pos, table, neighbours)[0] for x in (q, k)]
    written = [
        OPS["set_rows"].compute(cache, rows, np.asarray(x, np.float32).reshape(len(rows), cache.shape[1]))[0]
        for cache, x in ((k_cache, turned[1]), (v_cache, v))
    ]
    return _scaled(turned[0], pos, given.get(SCALES)), *written


def _scaled(q: Array, pos: Array, scales: Array | None) -> Array:
    return q if scales is None else q * scales[np.clip(pos, 0, len(scales) - 1)][:, :, None, None]


def _qk_rope_cache_parts(
    g: Graph, q, k, v, pos, table, rows, k_cache, v_cache, *more, eps: float, extra=(), neighbours: bool = False
):
    given = dict(zip(extra, more, strict=True))
    if BIASES[0] in given:
        q, k, v = (g.add(x, given[name].reshape(*x.shape[2:])) for x, name in zip((q, k, v), BIASES, strict=True))
    if NORMS[0] in given:
        q, k = (g.rms_norm_scale(x, given[name], eps) for x, name in zip((q, k), NORMS, strict=True))
    q, k = (g.rope(x, pos, table, neighbours) for x in (q, k))
    flat = rows.shape[0], k_cache.shape[1]
    written = (g.set_rows(cache, rows, g.reshape(x, *flat)) for cache, x in ((k_cache, k), (v_cache, v)))
    return _scale(g, q, pos, given[SCALES].unsqueeze(1)) if SCALES in given else q, *written


def _scale(g: Graph, q: Tensor, pos: Tensor, scales: Tensor) -> Tensor:
    return g.mul(q, g.get_rows(scales, pos).unsqueeze(3))


def _qk_rope_cache_work(_q, k, _v, pos, table, *places: Tensor, extra=(), **_attrs: object) -> Work:
    """Caches are only written, k's rows each."""
    (n_angles,) = rope_work(k, pos, table).reads.values()
    picked = {4 + len(places): n_picked(places[-1], pos)} if SCALES in extra else {}
    return Work({4: n_angles, 6: 0, 7: 0, **picked}, dict.fromkeys((1, 2), k.layout.n_elements))


register(
    Op(
        "qk_rope_cache",
        _qk_rope_cache_infer,
        _qk_rope_cache,
        _qk_rope_cache_parts,
        OpKind.FUSED,
        work=_qk_rope_cache_work,
    )
)


@dataclass(frozen=True)
class _Turned:
    """rope(x), or rope(rms_norm_scale(x)), times factors by position where there are any: where its nodes stand."""

    x: Tensor
    rope: Node
    norm: Node | None
    places: tuple[int, ...]
    out: Tensor
    scales: Tensor | None = None

    def is_like(self, other: "_Turned") -> bool:
        """The same angles, norms of one eps or none."""
        norms = [t.norm and t.norm.attrs for t in (self, other)]
        same = all(map(is_same, self.rope.inputs[1:], other.rope.inputs[1:]))
        return same and self.rope.attrs == other.rope.attrs and norms[0] == norms[1]


def _fuse_qk_rope(edit: Editing, i: int, node: Node) -> None:
    """Attention's inputs: rope of q and k, their norms, and both cache writes."""
    q_out, k_cache, v_cache = node.inputs[:3]
    writes = [last_write(edit, cache, "set_rows", i) for cache in (k_cache, v_cache)]
    q = _scaled_queries(edit, q_out, i) or _turned(edit, q_out, i)
    if q is None or None in writes:
        return
    (k_at, k_write), (v_at, v_write) = (w for w in writes if w is not None)
    k = _turned(edit, k_write.inputs[2], k_at)
    if k is None or not q.is_like(k) or not is_same(k_write.inputs[1], v_write.inputs[1]):
        return
    if not whole(k_write.inputs[2]) or only_reader(edit, k.rope.outputs[0], k.places[-1], "set_rows") is None:
        return
    fused = _qk_rope_node(q, k, k_write, v_write, scope_of(node))
    if fused is None or not edit.supports(fused):
        return
    last, places = max(k_at, v_at, *q.places), {*q.places, *k.places, k_at, v_at}
    adds = _biases(edit, fused, last)
    if adds and edit.supports(with_biases := _with_biases(fused, [add for _, add in adds])):
        fused, places = with_biases, places | {at for at, _ in adds}
    for at in places - {last}:
        edit.remove(at)
    edit.put(last, fused)


def _biases(edit: Editing, fused: Node, before: int) -> list[tuple[int, Node]]:
    """The adds of biases that make q, k and v, each of which nobody else reads; none unless there are three."""
    found = [pair for t in fused.inputs[:3] if (pair := sole_maker(edit, t, "add", before)) and _is_bias(edit, *pair)]
    return found if len(found) == 3 else []


def _is_bias(edit: Editing, at: int, add: Node) -> bool:
    (made,), (product, bias) = add.outputs, add.inputs
    plain = bias.ndim == 1 and bias.storage.kind is Kind.WEIGHT and product.shape == made.shape
    alone = len(readers(edit, made, at)) == 1 and not edit.is_output(made.storage)
    return plain and alone and whole(product) and whole(made) and not edit.is_written(product, at)


def _with_biases(fused: Node, adds: list[Node]) -> Node:
    products = (replace(t, storage=add.inputs[0].storage) for t, add in zip(fused.inputs, adds, strict=False))
    extra = (*fused.attrs.get("extra", ()), *BIASES)
    ins = (*products, *fused.inputs[3:], *(add.inputs[1] for add in adds))
    return make(fused.op, ins, scope_of(fused), fused.outputs[:1], **{**fused.attrs, "extra": extra})


def _qk_rope_node(q: _Turned, k: _Turned, k_write: Node, v_write: Node, name: str) -> Node | None:
    values = v_write.inputs[2]
    seen = values.layout.reshape(k.x.shape) if values.shape[1] == k.x.shape[2] * k.x.shape[3] else None
    if seen is None:
        return None
    norms = {name: t.norm.inputs[1] for name, t in zip(NORMS, (q, k), strict=True) if t.norm}
    more = norms if q.scales is None else {**norms, SCALES: q.scales}
    ins = (q.x, k.x, view(values, seen), *q.rope.inputs[1:], k_write.inputs[1])
    attrs = {"eps": 0.0, **(q.norm.attrs if q.norm else {}), **q.rope.attrs}
    caches = (k_write.outputs[0], v_write.outputs[0])
    return make("qk_rope_cache", (*ins, *caches, *more.values()), name, (q.out,), extra=tuple(more), **attrs)


def _turned(edit: Editing, t: Tensor, before: int) -> _Turned | None:
    """The rope of which t is a view, with the norm of heads that it alone reads."""
    rope = sole_maker(edit, t, "rope", before)
    if rope is None:
        return None
    x = rope[1].inputs[0]
    norm = maker(edit, x, "rms_norm_scale", rope[0])
    if norm is None or norm[1].inputs[0].shape != x.shape or only_reader(edit, x, norm[0], "rope") is None:
        return _Turned(x, rope[1], None, (rope[0],), rope[1].outputs[0])
    return _Turned(norm[1].inputs[0], rope[1], norm[1], (norm[0], rope[0]), rope[1].outputs[0])


def _scaled_queries(edit: Editing, t: Tensor, before: int) -> _Turned | None:
    """What is turned, times factors [n, 1] picked by its positions, of which t is a view."""
    scaled = sole_maker(edit, t, "mul", before)
    if scaled is None:
        return None
    at, (turned, factors) = scaled[0], scaled[1].inputs
    q, picked = _turned(edit, turned, at), maker(edit, factors, "get_rows", at)
    if q is None or picked is None:
        return None
    (table, ids), pos = picked[1].inputs, q.rope.inputs[1]
    by_position = table.ndim == 2 and table.shape[1] == 1
    by_position = by_position and ids.storage is pos.storage and ids.layout.collapse() == pos.layout.collapse()
    in_order = is_same(turned, q.out) and factors.shape == (*turned.shape[:2], 1, 1)
    ours = only_reader(edit, q.out, q.places[-1], "mul") and only_reader(edit, factors, picked[0], "mul")
    if not (by_position and in_order and ours):
        return None
    places = (picked[0], *q.places, at)
    return replace(q, places=places, out=scaled[1].outputs[0], scales=table.select(1, 0))


FUSIONS = (Fusion("attention", _fuse_qk_rope),)
