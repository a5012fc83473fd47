"""Attention of one token over few keys as a whole, with its inputs made on the way."""

from functools import partial
from typing import Any

from ..editing import Editing
from ..graph import Node
from ..ops import OPS
from ..ops.op import Op, OpKind, Out, Work, register, require
from ..patterns import Fusion, make, scope_of
from ..tensor import Tensor
from .attention import LAYER
from .attention_inputs import NORMS
from .rope_attention_split import GATE, compute_both, decompose_both, in_two, made_inputs, rows_of

OP, INNER = "rope_attention", "attention"
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
    attrs = {"eps": eps, "extra": extra, "neighbours": neighbours, "scale": scale, "n_kv": n_kv, "cap": cap}
    (norms, turning), (gate, attrs) = in_two(more, **attrs)
    OPS["qk_rope_cache"].infer(q, k, v, pos, table, rows, rows_of(k_cache), rows_of(v_cache), *norms, **turning)
    return *OPS[INNER].infer(q, k_cache, v_cache, slots, seen, *gate, **attrs), k_cache, v_cache


def _work(*inputs: Tensor, n_kv: int, **_attrs: Any) -> Work:
    return OPS["rope_attention_split"].work(*inputs, n_kv=n_kv)


_BOTH = partial(compute_both, INNER), partial(decompose_both, INNER)
register(Op(OP, _infer, *_BOTH, OpKind.FUSED, work=_work, layer=LAYER))


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


FUSIONS = (Fusion(INNER, _fuse),)
