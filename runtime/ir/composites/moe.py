"""Mixture of experts with one shared expert, and the fused ops that become of it."""

from collections.abc import Sequence
from math import prod

import numpy as np

from ..dtypes import DType
from ..editing import Editing
from ..graph import Graph, Node
from ..ops.elementwise import UNARY, sigmoid
from ..ops.op import OPS, Op, OpKind, Spec, Work, n_picked, register, require, require_dtype
from ..patterns import Fusion, is_untouched, make, only_reader, scope_of
from ..tensor import Tensor

Array = np.ndarray
silu = UNARY["silu"]


def moe_ffn(g: Graph, x: Tensor, router: Tensor, experts: Sequence[Tensor], shared: Sequence[Tensor], k: int) -> Tensor:
    """sum_e p_e down_e(silu(gate_e x) * up_e x) + sigmoid(shared_gate . x) * shared(x), [N, E].

    x [N, E]; router [X, E]; experts: gate, up [X, F, E], down [X, E, F]; shared: gate, up [F', E], down [E, F'] and
    its own gate [1, E]. p: softmax over all experts, the k largest renormalised to sum 1.
    """
    return g.one("moe_ffn", x, router, *experts, *shared, k=k)


def _infer(x, router, gate, up, down, shared_gate, shared_up, shared_down, shared_in, k: int):
    n_experts, width = router.shape
    ok = x.ndim == 2 and x.shape[1] == width and gate.shape == up.shape and gate.shape[0] == n_experts >= k
    require(ok, "moe_ffn", f"x {x.shape}, router {router.shape}, gate {gate.shape}, up {up.shape}, k {k}")
    ok = down.shape == (n_experts, width, gate.shape[1]) and shared_gate.shape == shared_up.shape
    require(ok, "moe_ffn", f"down {down.shape}, gate {gate.shape}, shared {shared_gate.shape}, {shared_up.shape}")
    ok = shared_down.shape == shared_up.shape[::-1] and shared_in.shape == (1, width)
    require(ok, "moe_ffn", f"shared down {shared_down.shape}, shared up {shared_up.shape}, gate {shared_in.shape}")
    return (Spec(x.shape),)


def _compute(x, router, gate, up, down, shared_gate, shared_up, shared_down, shared_in, k: int):
    (p,) = OPS["softmax"].compute(x @ np.asarray(router).T, scale=1.0)
    (ids,) = OPS["top_k"].compute(p, k=k)
    weight = np.take_along_axis(p, ids, -1)
    weight /= weight.sum(-1, keepdims=True)
    product, wide = OPS["mul_mat_id"].compute, x[:, None]
    hidden = silu(product(gate, wide, ids)[0]) * product(up, wide, ids)[0]
    routed = (product(down, hidden.astype(np.float32), ids)[0] * weight[..., None]).sum(1)
    always = (silu(x @ np.asarray(shared_gate).T) * (x @ np.asarray(shared_up).T)) @ np.asarray(shared_down).T
    return (routed + sigmoid(x @ np.asarray(shared_in).T) * always,)


def route(g: Graph, x: Tensor, router: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Ids [N, k] and weights [N, k, 1] of the experts of each token."""
    p = g.softmax(g.mul_mat(router, x))
    ids = g.top_k(p, k)
    picked = g.get_rows(p.unsqueeze(2), ids)
    total = g.sum_rows(picked.reshape(x.shape[0], k))
    return ids, g.div(picked, total.unsqueeze(2))


def _decompose(g: Graph, x, router, gate, up, down, shared_gate, shared_up, shared_down, shared_in, k: int):
    ids, weight = route(g, x, router, k)
    wide = x.unsqueeze(1)
    hidden = g.swiglu(g.mul_mat_id(gate, wide, ids), g.mul_mat_id(up, wide, ids))
    routed = g.mul(g.mul_mat_id(down, hidden, ids), weight)
    total = g.sum_rows(g.contiguous(routed.permute(0, 2, 1))).reshape(*x.shape)
    always = g.mul_mat(shared_down, g.swiglu(g.mul_mat(shared_gate, x), g.mul_mat(shared_up, x)))
    return (g.add(total, g.mul(always, g.sigmoid(g.mul_mat(shared_in, x)))),)


def _work(x, router, gate, up, down, shared_gate, shared_up, shared_down, shared_in, k: int) -> Work:
    """It finds its ids itself: k for each row of x."""
    n_read = min(gate.shape[0], x.shape[0] * k)
    reads = {i: n_read * prod(w.shape[1:]) for i, w in enumerate((gate, up, down), 2)}
    n_rows = router.shape[0] + 1 + 3 * (k * gate.shape[1] + shared_gate.shape[0])
    return Work(reads, flops=2 * x.layout.n_elements * n_rows)


register(Op("moe_ffn", _infer, _compute, _decompose, OpKind.FUSED, work=_work))


def _route_infer(logits: Tensor, k: int) -> tuple[Spec, Spec]:
    """logits [N, X] -> ids [N, k] of the k largest, largest first (of equals the lower id), and their softmax weights
    [N, k], renormalised to sum 1 (which is the softmax of the k logits alone)."""
    require_dtype("route", logits, DType.F32)
    require(logits.ndim == 2 and 0 < k <= logits.shape[1], "route", f"logits {logits.shape}, k {k}")
    return Spec((logits.shape[0], k), DType.I32), Spec((logits.shape[0], k))


def _route(logits: Array, k: int) -> tuple[Array, Array]:
    (ids,) = OPS["top_k"].compute(logits, k=k)
    return ids, OPS["softmax"].compute(np.take_along_axis(logits, ids, -1), scale=1.0)[0]


def _route_parts(g: Graph, logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    p = g.softmax(logits)
    ids = g.top_k(p, k)
    picked = g.get_rows(p.unsqueeze(2), ids).reshape(logits.shape[0], k)
    return ids, g.div(picked, g.sum_rows(picked))


register(Op("route", _route_infer, _route, _route_parts, OpKind.FUSED))


def _experts_gate_up_infer(x, gate, up, ids, shared_gate, shared_up) -> tuple[Spec, Spec]:
    """silu(gate_e x) * up_e x for the picked experts and for the shared one.

    x [N, E]; gate, up [X, F, E]; ids [N, k], clamped; shared_gate, shared_up [F', E] -> [N, k, F], [N, F'].
    """
    require_dtype("experts_gate_up", ids, DType.I32)
    ok = x.ndim == 2 and gate.shape == up.shape and gate.shape[0] > 0 and gate.shape[2] == x.shape[1]
    ok = ok and ids.shape[0] == x.shape[0]
    require(ok, "experts_gate_up", f"x {x.shape}, gate {gate.shape}, up {up.shape}, ids {ids.shape}")
    ok = shared_gate.shape == shared_up.shape and shared_gate.shape[1] == x.shape[1]
    require(ok, "experts_gate_up", f"x {x.shape}, shared {shared_gate.shape}, {shared_up.shape}")
    return Spec((*ids.shape, gate.shape[1])), Spec((x.shape[0], shared_gate.shape[0]))


def _experts_gate_up(x, gate, up, ids, shared_gate, shared_up) -> tuple[Array, Array]:
    routed = [OPS["mul_mat_id"].compute(w, x[:, None], ids)[0].astype(np.float64) for w in (gate, up)]
    always = [(x @ np.asarray(w).T).astype(np.float64) for w in (shared_gate, shared_up)]
    return silu(routed[0]) * routed[1], silu(always[0]) * always[1]


def _experts_gate_up_parts(g: Graph, x, gate, up, ids, shared_gate, shared_up) -> tuple[Tensor, Tensor]:
    wide = x.unsqueeze(1)
    routed = g.swiglu(g.mul_mat_id(gate, wide, ids), g.mul_mat_id(up, wide, ids))
    return routed, g.swiglu(g.mul_mat(shared_gate, x), g.mul_mat(shared_up, x))


def _gate_up_work(x, gate, up, ids, shared_gate, shared_up) -> Work:
    n_rows = ids.layout.n_elements * gate.shape[1] + x.shape[0] * shared_gate.shape[0]
    return Work({1: n_picked(gate, ids), 2: n_picked(up, ids)}, flops=2 * 2 * x.shape[1] * n_rows)


register(
    Op(
        "experts_gate_up",
        _experts_gate_up_infer,
        _experts_gate_up,
        _experts_gate_up_parts,
        OpKind.FUSED,
        work=_gate_up_work,
    )
)


def _experts_down_infer(hidden, down, ids, weights, shared, shared_down, shared_gate, residual) -> tuple[Spec]:
    """residual + sum_j weights_j down_e(j) hidden_j + sigmoid(shared_gate) * shared_down shared.

    hidden [N, k, F]; down [X, E, F]; ids [N, k], clamped; weights [N, k]; shared [N, F']; shared_down [E, F'];
    shared_gate [N, 1], before its sigmoid; residual [N, E] -> [N, E].
    """
    n, k, f = hidden.shape
    ok = ids.shape == weights.shape == (n, k) and down.shape[0] > 0 and down.shape[2] == f
    ok = ok and residual.shape == (n, down.shape[1])
    require(ok, "experts_down", f"hidden {hidden.shape}, down {down.shape}, ids {ids.shape}, residual {residual.shape}")
    ok = (
        shared.shape == (n, shared_down.shape[1])
        and shared_down.shape[0] == down.shape[1]
        and shared_gate.shape == (n, 1)
    )
    require(ok, "experts_down", f"shared {shared.shape}, shared_down {shared_down.shape}, gate {shared_gate.shape}")
    return (Spec(residual.shape),)


def _experts_down(hidden, down, ids, weights, shared, shared_down, shared_gate, residual) -> tuple[Array]:
    routed = OPS["mul_mat_id"].compute(down, hidden, ids)[0].astype(np.float64)
    always = (shared @ np.asarray(shared_down).T) * sigmoid(shared_gate.astype(np.float64))
    return (residual + (routed * weights[..., None]).sum(1) + always,)


def _experts_down_parts(
    g: Graph, hidden, down, ids, weights, shared, shared_down, shared_gate, residual
) -> tuple[Tensor]:
    routed, always = g.mul_mat_id(down, hidden, ids), g.mul_mat(shared_down, shared)
    return (g.one("experts_sum", routed, weights, always, shared_gate, residual),)


def _down_work(hidden, down, ids, weights, shared, shared_down, shared_gate, residual) -> Work:
    n_elements = sum(t.layout.n_elements for t in (hidden, shared, weights))
    return Work({1: n_picked(down, ids)}, flops=2 * down.shape[1] * n_elements)


register(Op("experts_down", _experts_down_infer, _experts_down, _experts_down_parts, OpKind.FUSED, work=_down_work))


def _experts_sum_infer(routed, weights, shared, shared_gate, residual) -> tuple[Spec]:
    """residual + sum_j weights_j routed_j + sigmoid(shared_gate) * shared: experts_down after its products.

    routed [N, k, E]; weights [N, k]; shared, residual [N, E]; shared_gate [N, 1], before its sigmoid -> [N, E].
    """
    n, k, e = routed.shape
    ok = weights.shape == (n, k) and shared.shape == residual.shape == (n, e) and shared_gate.shape == (n, 1)
    shapes = f"routed {routed.shape}, weights {weights.shape}, shared {shared.shape}, gate {shared_gate.shape}"
    require(ok, "experts_sum", f"{shapes}, residual {residual.shape}")
    return (Spec(residual.shape),)


def _experts_sum(routed, weights, shared, shared_gate, residual) -> tuple[Array]:
    total = (routed.astype(np.float64) * weights[..., None]).sum(1)
    return (residual + total + shared * sigmoid(shared_gate.astype(np.float64)),)


def _experts_sum_parts(g: Graph, routed, weights, shared, shared_gate, residual) -> tuple[Tensor]:
    total = g.mul_mat(routed.permute(0, 2, 1), weights.unsqueeze(1)).reshape(*residual.shape)
    return (g.add(residual, g.add(total, g.mul(shared, g.sigmoid(shared_gate)))),)


def _sum_work(routed: Tensor, *_others: Tensor) -> Work:
    return Work(flops=2 * routed.layout.n_elements)


register(Op("experts_sum", _experts_sum_infer, _experts_sum, _experts_sum_parts, OpKind.FUSED, work=_sum_work))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """moe_ffn and the residual add after it: routing, gate and up, sum; decompose splits what has no kernel."""
    found = only_reader(edit, node.outputs[0], i, "add")
    if found is None:
        return
    j, add = found
    residual = next((t for t in add.inputs if t.storage is not node.outputs[0].storage), None)
    if residual is None or residual.shape != add.outputs[0].shape:
        return
    routing, parts = _fused_parts(node, add, residual)
    if is_untouched(edit, add.outputs[0].storage, -1, i) and edit.supports(routing):
        edit.put(i, *parts)
        edit.remove(j)


def _fused_parts(node: Node, add: Node, residual: Tensor) -> tuple[Node, list[Node]]:
    """The routing, and all nodes in order."""
    x, router, gate, up, down, shared_gate, shared_up, shared_down, shared_in = node.inputs
    name = scope_of(node)
    logits, always = (make("mul_mat", (w, x), name) for w in (router, shared_in))
    routing = make("route", (logits.outputs[0],), name, k=node.attrs["k"])
    ids, weights = routing.outputs
    hidden = make("experts_gate_up", (x, gate, up, ids, shared_gate, shared_up), name)
    ins = (hidden.outputs[0], down, ids, weights, hidden.outputs[1], shared_down, always.outputs[0], residual)
    return routing, [logits, always, routing, hidden, make("experts_down", ins, name, add.outputs)]


FUSIONS = (Fusion("moe_ffn", _fuse),)
