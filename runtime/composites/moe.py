"""Mixture of experts with one shared expert."""

from collections.abc import Sequence

import numpy as np

from ..graph import Graph
from ..ops.elementwise import UNARY, sigmoid
from ..ops.op import OPS, Op, Spec, register, require
from ..tensor import Tensor

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


register(Op("moe_ffn", _infer, _compute, _decompose))
