"""Attention of one token over few keys as a whole, with its inputs made on the way."""

from typing import Any

import numpy as np

from ..editing import Editing
from ..graph import Graph, Node
from ..ops import OPS
from ..ops.op import Op, OpKind, Out, Work, register, require
from ..patterns import Fusion, make, scope_of
from ..tensor import Tensor
from .attention import LAYER
from .attention_inputs import NORMS
from .rope_attention import made_inputs, rows_of

OP = "rope_attention"
GATE = ("gate",)
MOST_KEYS = 256  # planned: beyond, parts side by side are worth their combination


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
    *more,
    scale: float,
    n_kv: int,
    eps: float,
    extra: tuple[str, ...] = (),
    neighbours: bool = False,
    cap: float = 0.0,
) -> tuple[Out, ...]:
    """As rope_attention_split takes it, and what attention makes of it [B, 1, H, D]; extra "q_norm" and "k_norm" [D],
    "gate" as attention's."""
    ok = extra in ((), NORMS, GATE, (*NORMS, *GATE)) and len(extra) == len(more)
    require(ok and q.ndim == 4 and k_cache.ndim == 3, OP, f"extra {extra}, q {q}, caches {k_cache}")
    require(q.shape[1] == 1 and n_kv <= k_cache.shape[1], OP, f"q {q.shape}, n_kv {n_kv}, caches {k_cache.shape}")
    (norms, gate), flat = _apart(extra, more), (rows_of(k_cache), rows_of(v_cache))
    turning = {"eps": eps, "extra": NORMS[: len(norms)], "neighbours": neighbours}
    OPS["qk_rope_cache"].infer(q, k, v, pos, table, rows, *flat, *norms, **turning)
    attrs = {"scale": scale, "n_kv": n_kv, "cap": cap, "extra": GATE[: len(gate)]}
    return *OPS["attention"].infer(q, k_cache, v_cache, slots, seen, *gate, **attrs), k_cache, v_cache


def _apart(extra: tuple[str, ...], more: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Norms, and the gate."""
    n = len(extra) - (extra[-1:] == GATE)
    return more[:n], more[n:]


def _compute(
    q, k, v, pos, table, rows, k_cache, v_cache, slots, seen, *more: Any, eps: float, extra=(), neighbours=False, **rest
) -> tuple[np.ndarray, ...]:
    (norms, gate), flat = _apart(extra, more), (cache.reshape(-1, cache.shape[2]) for cache in (k_cache, v_cache))
    turning = {"eps": eps, "extra": NORMS[: len(norms)], "neighbours": neighbours}
    q, *written = OPS["qk_rope_cache"].compute(q, k, v, pos, table, rows, *flat, *norms, **turning)
    keys, values = (cache.reshape(k_cache.shape) for cache in written)
    rest["extra"] = GATE[: len(gate)]
    return *OPS["attention"].compute(q, keys, values, slots, seen, *gate, **rest), keys, values


def _decompose(
    g: Graph,
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
    *more: Tensor,
    eps: float,
    extra=(),
    neighbours=False,
    **rest: Any,
) -> tuple[Tensor, ...]:
    (norms, gate), flat = _apart(extra, more), (rows_of(k_cache), rows_of(v_cache))
    turning = {"eps": eps, "extra": NORMS[: len(norms)], "neighbours": neighbours}
    q, *_ = g.emit("qk_rope_cache", q, k, v, pos, table, rows, *flat, *norms, **turning)
    rest["extra"] = GATE[: len(gate)]
    return g.one("attention", q, k_cache, v_cache, slots, seen, *gate, **rest), k_cache, v_cache


def _work(*inputs: Tensor, n_kv: int, **_attrs: Any) -> Work:
    return OPS["rope_attention_split"].work(*inputs, n_kv=n_kv)


register(Op(OP, _infer, _compute, _decompose, OpKind.FUSED, work=_work, layer=LAYER))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """Attention of one token over few keys, and its inputs."""
    extra, q = node.attrs.get("extra", ()), node.inputs[0]
    if extra not in ((), GATE) or q.shape[1] != 1 or node.attrs["n_kv"] > MOST_KEYS or "window" in node.attrs:
        return
    found = made_inputs(edit, i, node)
    if found is None:
        return
    at, ins, norms, turning = found
    attrs = {**turning, **node.attrs, "extra": (*turning.get("extra", ()), *extra)}
    fused = make(OP, (*ins, *norms, *node.inputs[5:]), scope_of(node), node.outputs, **attrs)
    if edit.supports(fused):
        edit.remove(at)
        edit.put(i, fused)


FUSIONS = (Fusion("attention", _fuse),)
