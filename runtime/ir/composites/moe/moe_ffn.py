"""A mixture of experts, with a shared one or without: the whole op, and how its fused parts come about."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ...editing import Editing
from ...graph import Graph, Node
from ...ops.elementwise import sigmoid
from ...ops.op import OPS, Op, OpKind, Spec, Work, named_operands, register, require
from ...patterns import Fusion, is_untouched, make, only_reader, scope_of
from ...tensor import Tensor
from . import experts as _experts_ops  # noqa: F401  of whose ops this is made
from .glu import GLUS

Array = np.ndarray
SHARED = ("shared_gate", "shared_up", "shared_down", "shared_in")
MORE = ("bias", "gate_bias", "up_bias", "down_bias", "factors", *SHARED)  # in the order of the op's operands
NEEDS = {"shared_gate": "shared_up", "shared_up": "shared_down", "shared_down": "shared_gate", "shared_in": "shared_up"}


def moe_ffn(
    g: Graph,
    x: Tensor,
    logits: Tensor,
    experts: Sequence[Tensor],
    k: int,
    more: Mapping[str, Tensor | None] | None = None,
    **options: Any,
) -> Tensor:
    """sum_e w_e down_e(glu(gate_e x, up_e x)), [N, E].

    x [N, E]; logits [N, X] of the router; experts: gate, up [X, F, E], down [X, E, F]. w: see route, whose options
    these are too; activation: one of GLUS.

    more: "bias" [X] as route's; "gate_bias", "up_bias" [X, F] and "down_bias" [X, E], before the weights; "factors"
    [X], of what comes out of each expert; an expert for all tokens, "shared_gate", "shared_up" [F', E], "shared_down"
    [E, F'], and "shared_in" [1, E]: it counts sigmoid(shared_in x), without 1.
    """
    more = more or {}
    given = {name: t for name in (*MORE, *more) if (t := more.get(name)) is not None}
    return g.one("moe_ffn", x, logits, *experts, *given.values(), k=k, extra=tuple(given), **options)


def _infer(
    x: Tensor,
    logits: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    *more: Tensor,
    k: int,
    extra: tuple[str, ...] = (),
    activation: str = "silu",
    score: str = "softmax",
    normalise: bool = True,
    scale: float = 1.0,
    n_groups: int = 1,
    n_groups_used: int = 1,
) -> tuple[Spec]:
    (n, width), (n_experts, hidden, _) = x.shape, gate.shape
    ok = logits.shape == (n, n_experts) and gate.shape == up.shape and gate.shape[2] == width and n_experts >= k
    require(ok, "moe_ffn", f"x {x.shape}, logits {logits.shape}, gate {gate.shape}, up {up.shape}, k {k}")
    ok = down.shape == (n_experts, width, hidden) and activation in GLUS
    require(ok, "moe_ffn", f"down {down.shape}, gate {gate.shape}, activation {activation}")
    named = dict(zip(extra, more, strict=False))
    wide = named["shared_up"].shape[0] if "shared_up" in named else 0
    shapes = {"bias": (n_experts,), "gate_bias": (n_experts, hidden), "up_bias": (n_experts, hidden)}
    shapes |= {"down_bias": (n_experts, width), "factors": (n_experts,), "shared_gate": (wide, width)}
    shapes |= {"shared_up": (wide, width), "shared_down": (width, wide), "shared_in": (1, width)}
    named_operands("moe_ffn", extra, more, shapes, NEEDS)
    routing = {"score": score, "normalise": normalise, "scale": scale}
    OPS["route"].infer(logits, k=k, n_groups=n_groups, n_groups_used=n_groups_used, **routing)
    return (Spec(x.shape),)


def _compute(x, logits, gate, up, down, *more, k: int, extra=(), activation="silu", **routing) -> tuple[Array]:
    given, glu = dict(zip(extra, more, strict=True)), GLUS[activation].compute
    bias = {"extra": ("bias",)} if "bias" in given else {}
    ids, weights = OPS["route"].compute(logits, *([given["bias"]] if bias else []), k=k, **bias, **routing)
    if "factors" in given:
        weights = weights * given["factors"][ids]

    def product(w, x, name: str) -> Array:
        made = OPS["mul_mat_id"].compute(w, x, ids)[0].astype(np.float64)
        return made + given[name][ids] if name in given else made

    hidden = glu(product(gate, x[:, None], "gate_bias"), product(up, x[:, None], "up_bias"))
    made = (product(down, hidden.astype(np.float32), "down_bias") * weights[..., None]).sum(1)
    if "shared_up" in given:
        inner = glu(*((x @ np.asarray(given[f"shared_{name}"]).T).astype(np.float64) for name in ("gate", "up")))
        always = inner @ np.asarray(given["shared_down"]).T
        opened = sigmoid(x.astype(np.float64) @ given["shared_in"].T) if "shared_in" in given else 1.0
        made = made + opened * always
    return (made,)


def _decompose(g: Graph, x, logits, gate, up, down, *more, k: int, extra=(), activation="silu", **routing):
    given, glu = dict(zip(extra, more, strict=True)), GLUS[activation].parts
    ids, weights = _routed(g, logits, given, {"k": k, **routing})

    def product(w: Tensor, x: Tensor, name: str) -> Tensor:
        made = g.mul_mat_id(w, x, ids)
        return g.add(made, g.get_rows(given[name], ids)) if name in given else made

    wide = x.unsqueeze(1)
    hidden = glu(g, product(gate, wide, "gate_bias"), product(up, wide, "up_bias"))
    routed = g.mul(product(down, hidden, "down_bias"), weights.unsqueeze(2))
    total = g.sum_rows(g.contiguous(routed.permute(0, 2, 1))).reshape(*x.shape)
    if "shared_up" not in given:
        return (total,)
    inner = glu(g, *(g.mul_mat(given[f"shared_{name}"], x) for name in ("gate", "up")))
    always = g.mul_mat(given["shared_down"], inner)
    if "shared_in" in given:
        always = g.mul(always, g.sigmoid(g.mul_mat(given["shared_in"], x)))
    return (g.add(total, always),)


def _routed(g: Graph, logits: Tensor, given: Mapping[str, Tensor], routing: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Ids and weights [N, k]."""
    bias = [given["bias"]] if "bias" in given else []
    ids, weights = g.emit("route", logits, *bias, extra=("bias",) * len(bias), **routing)
    if "factors" in given:
        weights = g.mul(weights, g.get_rows(given["factors"].unsqueeze(1), ids).reshape(*ids.shape))
    return ids, weights


def _work(x, logits, gate, up, down, *more, k: int, extra=(), **_attrs: object) -> Work:
    """It finds its ids itself: k for each row of x."""
    n_read = min(gate.shape[0], x.shape[0] * k)
    reads = {i: n_read * prod(w.shape[1:]) for i, w in enumerate((gate, up, down), 2)}
    shared = sum(
        t.shape[0] if name == "shared_in" else prod(t.shape) / x.shape[1]
        for name, t in zip(extra, more, strict=True)
        if name.startswith("shared_")
    )
    return Work(reads, flops=int(2 * x.layout.n_elements * (3 * k * gate.shape[1] + shared)))


register(Op("moe_ffn", _infer, _compute, _decompose, OpKind.FUSED, work=_work))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """moe_ffn and the residual add after it: routing, gate and up, sum; decompose splits what has no kernel."""
    found = only_reader(edit, node.outputs[0], i, "add")
    if found is None:
        return
    j, add = found
    residual = next((t for t in add.inputs if t.storage is not node.outputs[0].storage), None)
    if residual is None or residual.shape != add.outputs[0].shape:
        return
    parts = _fused_parts(node, add, residual)
    fused = (n for n in parts if n.op in ("route", "experts_gate_up", "experts_down"))
    if is_untouched(edit, add.outputs[0].storage, -1, i) and any(map(edit.supports, fused)):
        edit.put(i, *parts)
        edit.remove(j)


def _fused_parts(node: Node, add: Node, residual: Tensor) -> list[Node]:
    """All nodes in order."""
    x, logits, gate, up, down, *more = node.inputs
    attrs, name, g = dict(node.attrs), scope_of(node), Graph()
    given = dict(zip(attrs.pop("extra", ()), more, strict=True))
    activation = {"activation": attrs.pop("activation")} if "activation" in attrs else {}
    with g.scope(name):
        always = g.mul_mat(given["shared_in"], x) if "shared_in" in given else None
        ids, weights = _routed(g, logits, given, attrs)
    inner = {key: given[key] for key in ("shared_gate", "shared_up", "gate_bias", "up_bias") if key in given}
    hidden = make("experts_gate_up", (x, gate, up, ids, *inner.values()), name, extra=tuple(inner), **activation)
    made = {"shared": hidden.outputs[1], "shared_down": given["shared_down"]} if "shared_up" in given else {}
    made |= {"shared_gate": always} if always is not None else {}
    made |= {"residual": residual} | ({"down_bias": given["down_bias"]} if "down_bias" in given else {})
    ins = (hidden.outputs[0], down, ids, weights, *made.values())
    return [*g.nodes, hidden, make("experts_down", ins, name, add.outputs, extra=tuple(made))]


FUSIONS = (Fusion("moe_ffn", _fuse),)
