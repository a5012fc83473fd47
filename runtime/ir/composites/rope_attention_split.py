"""Attention of one token in parts, with its inputs made on the way: norms and rotary embedding of queries and keys, and
both cache writes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..editing import Editing, view, whole
from ..graph import Graph, Node
from ..ops import OPS
from ..ops.op import Op, OpKind, Out, Work, register, require
from ..patterns import Fusion, can_wait, make, only_reader, scope_of, sole_maker
from ..tensor import Tensor
from .attention import LAYER
from .attention_inputs import NORMS

OP, INNER = "rope_attention_split", "attention_split"
GATE = ("gate",)
WAYS = "at_once", "by_matrices"  # of attention_split, of which kernels make their inputs


def _infer(
    q,
    k,
    v,
    pos,
    table,
    rows,
    k_cache,
    v_cache,
    slots,
    seen,
    *norms,
    scale: float,
    n_kv: int,
    n_split: int,
    eps: float,
    extra: tuple[str, ...] = (),
    neighbours: bool = False,
    cap: float = 0.0,
) -> tuple[Out, ...]:
    """qk_rope_cache of one token a sequence, then attention_split, whose slots and positions are `slots` [B] and `seen`
    [B, 1]. No sequence may see a row that another one writes.

    q [B, 1, H, D]; k, v [B, 1, Hkv, D]; pos [B, 1]; table as rope's; rows [B]; caches [n_slots, n_ctx, Hkv*D]; extra
    "q_norm" and "k_norm" [D] -> attention_split's parts, and the caches with their rows written.
    """
    require(extra in ((), NORMS) and q.ndim == 4 and k_cache.ndim == 3, OP, f"extra {extra}, q {q}, caches {k_cache}")
    flat = rows_of(k_cache), rows_of(v_cache)
    attrs = {"extra": extra} if extra else {}
    OPS["qk_rope_cache"].infer(q, k, v, pos, table, rows, *flat, *norms, eps=eps, neighbours=neighbours, **attrs)
    parts = {"scale": scale, "n_kv": n_kv, "n_split": n_split, "cap": cap}
    return *OPS[INNER].infer(q, k_cache, v_cache, slots, seen, **parts), k_cache, v_cache


def rows_of(cache: Tensor) -> Tensor:
    n_slots, n_ctx, width = cache.shape
    is_plain = not cache.dtype.is_quantised and cache.can_reshape(n_slots * n_ctx, width)
    require(is_plain, OP, f"cache {cache} with strides {cache.layout.strides}")
    return cache.reshape(n_slots * n_ctx, width)


def in_two(
    more: tuple[Any, ...], eps: float, extra: tuple[str, ...] = (), neighbours: bool = False, **attrs: Any
) -> tuple[tuple[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]:
    """Operands that need not be there and attributes: those of qk_rope_cache, and those of the attention after it."""
    n = len(extra) - (extra[-1:] == GATE)
    turning = {"eps": eps, "extra": NORMS[:n], "neighbours": neighbours}
    return (more[:n], turning), (more[n:], {**attrs, "extra": GATE} if more[n:] else attrs)


def compute_both(inner: str, *ins: Any, **attrs: Any) -> tuple[np.ndarray, ...]:
    """What qk_rope_cache and then the op `inner` compute."""
    (*tokens, k_cache, v_cache, slots, seen), ((norms, turning), (gate, attrs)) = ins[:10], in_two(ins[10:], **attrs)
    flat = (cache.reshape(-1, cache.shape[2]) for cache in (k_cache, v_cache))
    q, *written = OPS["qk_rope_cache"].compute(*tokens, *flat, *norms, **turning)
    keys, values = (cache.reshape(k_cache.shape) for cache in written)
    return *OPS[inner].compute(q, keys, values, slots, seen, *gate, **attrs), keys, values


def decompose_both(inner: str, g: Graph, *ins: Tensor, **attrs: Any) -> tuple[Tensor, ...]:
    """qk_rope_cache, then the op `inner`."""
    (*tokens, k_cache, v_cache, slots, seen), ((norms, turning), (gate, attrs)) = ins[:10], in_two(ins[10:], **attrs)
    q, *_ = g.emit("qk_rope_cache", *tokens, rows_of(k_cache), rows_of(v_cache), *norms, **turning)
    return g.one(inner, q, k_cache, v_cache, slots, seen, *gate, **attrs), k_cache, v_cache


def _work(q, k, v, pos, table, rows, k_cache, v_cache, slots, *_others: Tensor, n_kv: int, **_attrs: Any) -> Work:
    inputs = OPS["qk_rope_cache"].work(q, k, v, pos, table, rows, k_cache, v_cache)
    scan = OPS[INNER].work(q, k_cache, v_cache, slots, n_kv=n_kv)
    read = {i + 5: n for i, n in scan.reads.items()}
    return Work({**inputs.reads, **read}, inputs.writes, scan.flops)


_BOTH = partial(compute_both, INNER), partial(decompose_both, INNER)
register(Op(OP, _infer, *_BOTH, OpKind.FUSED, work=_work, layer=LAYER))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """Attention in parts, and its inputs where they are of the same tokens."""
    attrs = {name: value for name, value in node.attrs.items() if name not in ("grouped", *WAYS)}
    found = made_inputs(edit, i, node) if any(map(node.attrs.get, WAYS)) else None
    if found is None:
        return
    at, ins, norms, turning = found
    fused = make(OP, (*ins, *norms), scope_of(node), node.outputs, **turning, **attrs)
    if edit.supports(fused):
        edit.remove(at)
        edit.put(i, fused)


def made_inputs(
    edit: Editing, i: int, node: Node
) -> tuple[int, tuple[Tensor, ...], tuple[Tensor, ...], dict[str, Any]] | None:
    """Of attention of one token the qk_rope_cache that makes its inputs, for it alone and of the same tokens, and that
    can wait: its position, what both together read, norms and attributes; None where there is none."""
    (q, k, v, slots, seen), found = node.inputs[:5], sole_maker(edit, node.inputs[0], "qk_rope_cache", i)
    if found is None:
        return None
    at, made = found
    turned, *written = made.outputs
    ours = whole(turned) and whole(q) and only_reader(edit, turned, at, node.op) is not None
    ours = ours and all(_is_all_of(t, cache) for t, cache in zip((k, v), written, strict=True))
    ours = ours and not (k.dtype.is_quantised or v.dtype.is_quantised)
    ours = ours and made.attrs.get("extra", ()) in ((), NORMS) and can_wait(edit, at, i, made, made.outputs)
    tokens = _of_single_tokens(made.inputs[:4], q.shape[0]) if ours else None
    if tokens is None:
        return None
    table, rows = made.inputs[4:6]
    return at, (*tokens, table, rows, k, v, slots, seen), made.inputs[8:], dict(made.attrs)


def _is_all_of(t: Tensor, cache: Tensor) -> bool:
    """Does it show the rows of a cache, by slot?"""
    return t.storage is cache.storage and t.layout.reshape(cache.shape) == cache.layout


def _of_single_tokens(tensors: Sequence[Tensor], n_seqs: int) -> list[Tensor] | None:
    """[.., .., ...] of n_seqs tokens as of one of each sequence."""
    layouts = [t.layout.reshape((n_seqs, 1, *t.shape[2:])) for t in tensors]
    if None in layouts:
        return None
    return [view(t, layout) for t, layout in zip(tensors, layouts, strict=True) if layout]


FUSIONS = (Fusion(INNER, _fuse),)
