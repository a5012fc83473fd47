"""The fused parts of a mixture of experts: gate and up of the picked ones, the weighted sum of what they give."""

import numpy as np

from ...dtypes import DType
from ...graph import Graph
from ...layout import Shape
from ...ops.elementwise import sigmoid
from ...ops.op import OPS, Op, OpKind, Spec, Work, n_picked, named_operands, register, require, require_dtype
from ...tensor import Tensor
from . import route as _route  # noqa: F401  whose ids these take
from .glu import GLUS

Array = np.ndarray
SHARED_IN = ("shared_gate", "shared_up")
SHARED_OUT = ("shared", "shared_down", "shared_gate", "residual")
SHARED_SUM = ("shared", "shared_gate", "residual")
SUM = (*SHARED_SUM, "ids", "down_bias")


def _gate_up_infer(
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    ids: Tensor,
    *more: Tensor,
    extra: tuple[str, ...] = SHARED_IN,
    activation: str = "silu",
) -> tuple[Spec, ...]:
    """glu(gate_e x, up_e x) for the picked experts, and for a shared one where there is one.

    x [N, E]; gate, up [X, F, E]; ids [N, k], clamped; extra "shared_gate", "shared_up" [F', E], and "gate_bias",
    "up_bias" [X, F] -> [N, k, F], and [N, F'].
    """
    require_dtype("experts_gate_up", ids, DType.I32)
    ok = x.ndim == 2 and gate.shape == up.shape and gate.shape[2] == x.shape[1] and ids.shape[0] == x.shape[0]
    ok = ok and 0 not in (*gate.shape[:2], ids.shape[1]) and activation in GLUS
    require(ok, "experts_gate_up", f"x {x.shape}, gate {gate.shape}, up {up.shape}, ids {ids.shape}, {activation}")
    named = dict(zip(extra, more, strict=False))
    shared = (named["shared_up"].shape[0], x.shape[1]) if "shared_up" in named else ()
    biases = dict.fromkeys(("gate_bias", "up_bias"), gate.shape[:2])
    needs = {"shared_gate": "shared_up", "shared_up": "shared_gate"}
    named_operands("experts_gate_up", extra, more, {**dict.fromkeys(SHARED_IN, shared), **biases}, needs)
    return Spec((*ids.shape, gate.shape[1])), *([Spec((x.shape[0], shared[0]))] if shared else [])


def _gate_up(x, gate, up, ids, *more, extra=SHARED_IN, activation="silu") -> tuple[Array, ...]:
    given, glu = dict(zip(extra, more, strict=True)), GLUS[activation].compute
    routed = [OPS["mul_mat_id"].compute(w, x[:, None], ids)[0].astype(np.float64) for w in (gate, up)]
    picked = np.clip(ids, 0, gate.shape[0] - 1)
    biases = (given.get(name) for name in ("gate_bias", "up_bias"))
    made = glu(*(y if b is None else y + b[picked] for y, b in zip(routed, biases, strict=True)))
    if "shared_up" not in given:
        return (made,)
    return made, glu(*((x @ np.asarray(given[name]).T).astype(np.float64) for name in SHARED_IN))


def _gate_up_parts(g: Graph, x, gate, up, ids, *more, extra=SHARED_IN, activation="silu") -> tuple[Tensor, ...]:
    given, glu, wide = dict(zip(extra, more, strict=True)), GLUS[activation].parts, x.unsqueeze(1)
    routed = [g.mul_mat_id(w, wide, ids) for w in (gate, up)]
    biases = [given.get(name) for name in ("gate_bias", "up_bias")]
    both = [b for b in biases if b is not None]
    if len(both) == 2:
        made = g.one("experts_glu", *routed, ids, *both, activation=activation)
    else:
        made = glu(g, *(y if b is None else g.add(y, g.get_rows(b, ids)) for y, b in zip(routed, biases, strict=True)))
    return (made, glu(g, *(g.mul_mat(given[name], x) for name in SHARED_IN))) if "shared_up" in given else (made,)


def _gate_up_work(x, gate, up, ids, *more: Tensor, extra=SHARED_IN, **_attrs: object) -> Work:
    n_shared = next((t.shape[0] for name, t in zip(extra, more, strict=True) if name == "shared_up"), 0)
    n_rows = ids.layout.n_elements * gate.shape[1] + x.shape[0] * n_shared
    return Work({1: n_picked(gate, ids), 2: n_picked(up, ids)}, flops=2 * 2 * x.shape[1] * n_rows)


register(Op("experts_gate_up", _gate_up_infer, _gate_up, _gate_up_parts, OpKind.FUSED, work=_gate_up_work))


def _glu_infer(
    gate: Tensor, up: Tensor, ids: Tensor, gate_bias: Tensor, up_bias: Tensor, *, activation: str = "silu"
) -> tuple[Spec]:
    """experts_gate_up after its products: gate, up [N, k, F]; ids [N, k], clamped; biases [X, F] -> [N, k, F]."""
    require_dtype("experts_glu", ids, DType.I32)
    ok = gate.ndim == 3 and gate.shape == up.shape and ids.shape == gate.shape[:2] and activation in GLUS
    ok = ok and gate_bias.shape == up_bias.shape and gate_bias.shape[1:] == gate.shape[2:] and gate_bias.shape[0] > 0
    shapes = f"gate {gate.shape}, up {up.shape}, ids {ids.shape}, biases {gate_bias.shape}, {up_bias.shape}"
    require(ok, "experts_glu", f"{shapes}, {activation}")
    return (Spec(gate.shape),)


def _glu(gate, up, ids, gate_bias, up_bias, *, activation: str = "silu") -> tuple[Array]:
    picked = np.clip(ids, 0, len(gate_bias) - 1)
    pairs = ((gate, gate_bias), (up, up_bias))
    return (GLUS[activation].compute(*(y.astype(np.float64) + b[picked] for y, b in pairs)),)


def _glu_parts(g: Graph, gate, up, ids, gate_bias, up_bias, *, activation: str = "silu") -> tuple[Tensor]:
    pairs = ((gate, gate_bias), (up, up_bias))
    return (GLUS[activation].parts(g, *(g.add(y, g.get_rows(b, ids)) for y, b in pairs)),)


def _glu_work(gate, up, ids, gate_bias, up_bias, **_attrs: object) -> Work:
    return Work({3: n_picked(gate_bias, ids), 4: n_picked(up_bias, ids)})


register(Op("experts_glu", _glu_infer, _glu, _glu_parts, OpKind.FUSED, work=_glu_work))


def _down_infer(
    hidden: Tensor, down: Tensor, ids: Tensor, weights: Tensor, *more: Tensor, extra: tuple[str, ...] = SHARED_OUT
) -> tuple[Spec]:
    """residual + sum_j weights_j (down_e(j) hidden_j + bias_e(j)) + sigmoid(shared_gate) * shared_down shared.

    hidden [N, k, F]; down [X, E, F]; ids [N, k], clamped; weights [N, k]; extra "shared" [N, F'] and "shared_down"
    [E, F'], "shared_gate" [N, 1], before its sigmoid, "residual" [N, E], "down_bias" [X, E] -> [N, E].
    """
    n, k, f = hidden.shape
    ok = ids.shape == weights.shape == (n, k) and 0 not in (k, down.shape[0]) and down.shape[2] == f
    require(ok, "experts_down", f"hidden {hidden.shape}, down {down.shape}, ids {ids.shape}, weights {weights.shape}")
    named, width = dict(zip(extra, more, strict=False)), down.shape[1]
    wide = named["shared"].shape[1] if "shared" in named else 0
    shapes = {"shared": (n, wide), "shared_down": (width, wide), "shared_gate": (n, 1), "residual": (n, width)}
    needs = {"shared": "shared_down", "shared_down": "shared", "shared_gate": "shared"}
    named_operands("experts_down", extra, more, {**shapes, "down_bias": down.shape[:2]}, needs)
    return (Spec((n, width)),)


def _down(hidden, down, ids, weights, *more, extra=SHARED_OUT) -> tuple[Array]:
    given = dict(zip(extra, more, strict=True))
    routed = OPS["mul_mat_id"].compute(down, hidden, ids)[0].astype(np.float64)
    if "down_bias" in given:
        routed = routed + given["down_bias"][np.clip(ids, 0, down.shape[0] - 1)]
    always = given["shared"] @ np.asarray(given["shared_down"]).T if "shared" in given else None
    return (_total(routed, weights, always, given.get("shared_gate"), given.get("residual")),)


def _total(routed: Array, weights: Array, always: Array | None, gate: Array | None, residual: Array | None) -> Array:
    made = (routed.astype(np.float64) * weights[..., None]).sum(1)
    made = made if residual is None else residual + made
    if always is None:
        return made
    return made + always * (1.0 if gate is None else sigmoid(gate.astype(np.float64)))


def _down_parts(g: Graph, hidden, down, ids, weights, *more, extra=SHARED_OUT) -> tuple[Tensor]:
    given, routed = dict(zip(extra, more, strict=True)), g.mul_mat_id(down, hidden, ids)
    if "down_bias" in given:
        given["ids"] = ids
    if "shared" in given:
        given["shared"] = g.mul_mat(given["shared_down"], given["shared"])
    kept = {name: given[name] for name in SUM if name in given}
    return (g.one("experts_sum", routed, weights, *kept.values(), extra=tuple(kept)),)


def _down_work(hidden, down, ids, weights, *more: Tensor, extra=SHARED_OUT) -> Work:
    shared = (t for name, t in zip(extra, more, strict=True) if name == "shared")
    n_elements = sum(t.layout.n_elements for t in (hidden, weights, *shared))
    return Work({1: n_picked(down, ids)}, flops=2 * down.shape[1] * n_elements)


register(Op("experts_down", _down_infer, _down, _down_parts, OpKind.FUSED, work=_down_work))


def _sum_infer(routed: Tensor, weights: Tensor, *more: Tensor, extra: tuple[str, ...] = SHARED_SUM) -> tuple[Spec]:
    """residual + sum_j weights_j routed_j + sigmoid(shared_gate) * shared: experts_down after its products.

    routed [N, k, E]; weights [N, k]; extra "shared", "residual" [N, E]; "shared_gate" [N, 1], before its sigmoid; "ids"
    [N, k], clamped, and "down_bias" [X, E] of each expert, before the weights -> [N, E].
    """
    n, k, e = routed.shape
    require(weights.shape == (n, k), "experts_sum", f"routed {routed.shape}, weights {weights.shape}")
    shapes: dict[str, Shape] = {"shared": (n, e), "shared_gate": (n, 1), "residual": (n, e), "ids": (n, k)}
    shapes["down_bias"] = next((t.shape for name, t in zip(extra, more, strict=False) if name == "down_bias"), ())
    needs = {"shared_gate": "shared", "ids": "down_bias", "down_bias": "ids"}
    named = named_operands("experts_sum", extra, more, shapes, needs)
    if "ids" in named:
        bias = named["down_bias"].shape
        require(bias[1:] == (e,) and bias[0] > 0, "experts_sum", f"routed {routed.shape}, down_bias {bias}")
        require_dtype("experts_sum", named["ids"], DType.I32)
    return (Spec((n, e)),)


def _sum(routed, weights, *more, extra=SHARED_SUM) -> tuple[Array]:
    given = dict(zip(extra, more, strict=True))
    if "ids" in given:
        bias = given["down_bias"]
        routed = routed.astype(np.float64) + bias[np.clip(given["ids"], 0, len(bias) - 1)]
    return (_total(routed, weights, *(given.get(name) for name in SHARED_SUM)),)


def _sum_parts(g: Graph, routed, weights, *more, extra=SHARED_SUM) -> tuple[Tensor]:
    given = dict(zip(extra, more, strict=True))
    routed = g.add(routed, g.get_rows(given["down_bias"], given["ids"])) if "ids" in given else routed
    total = g.mul_mat(routed.permute(0, 2, 1), weights.unsqueeze(1)).reshape(routed.shape[0], routed.shape[2])
    if "shared" in given:
        shared = given["shared"]
        opened = g.mul(shared, g.sigmoid(given["shared_gate"])) if "shared_gate" in given else shared
        total = g.add(total, opened)
    return (g.add(given["residual"], total) if "residual" in given else total,)


def _sum_work(routed: Tensor, *_others: Tensor, **_attrs: object) -> Work:
    return Work(flops=2 * routed.layout.n_elements)


register(Op("experts_sum", _sum_infer, _sum, _sum_parts, OpKind.FUSED, work=_sum_work))
