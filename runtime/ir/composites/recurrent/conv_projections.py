"""The convolution of one token a sequence as the end of the projection that it takes: one by itself, or a norm, the
projections of what it makes, and the convolution of the first of them.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ...editing import Editing, whole
from ...graph import Graph, Node
from ...ops.op import OPS, Op, OpKind, Out, Spec, Work, register, require
from ...patterns import Fusion, can_come, can_wait, make, readers, scope_of, sole_maker
from ...tensor import Tensor
from ..slots import slot_work

STATE = 3  # its place among the inputs


def _convolved(op: str, made: Out, conv: Tensor, state: Tensor, slots: Tensor, tails: Tensor) -> tuple[Out, Tensor]:
    """A product [B, M] convolved; conv [M, c], state, slots [B] and tails as causal_conv's -> [B, 1, M], the state."""
    (n, n_channels), width = made.shape, conv.shape[1] - 1
    ok = conv.shape[0] == n_channels and state.shape[1] == width * n_channels and state.shape[0] > 0
    require(ok, op, f"products {made.shape}, conv {conv.shape}, state {state.shape}")
    ok = slots.shape == (n,) and tails.shape == (n, width)
    require(ok, op, f"{n} rows, slots {slots.shape}, tails {tails.shape}")
    return Spec((n, 1, n_channels)), state


def _conv_flops(conv: Tensor, n_tokens: int) -> int:
    return 2 * n_tokens * conv.layout.n_elements


def _infer_one(w: Tensor, x: Tensor, conv: Tensor, state: Tensor, slots: Tensor, tails: Tensor) -> tuple[Out, ...]:
    """w [M, K], x [B, K], the others as above -> the product convolved [B, 1, M], the state."""
    (made,) = OPS["mul_mats"].infer(x, w)
    return _convolved("mul_mat_conv", made, conv, state, slots, tails)


def _compute_one(w: Any, x, conv, state, slots, tails) -> tuple[np.ndarray, ...]:
    (made,) = OPS["mul_mats"].compute(x, w)
    return OPS["causal_conv"].compute(made[:, None], conv, state, slots, tails)


def _decompose_one(g: Graph, w: Tensor, x: Tensor, conv, state, slots, tails) -> tuple[Tensor, ...]:
    return tuple(g.emit("causal_conv", g.mul_mat(w, x).unsqueeze(1), conv, state, slots, tails))


def _work_one(w: Tensor, x: Tensor, conv: Tensor, state: Tensor, slots: Tensor, _tails: Tensor) -> Work:
    flops = OPS["mul_mats"].work(x, w).flops + _conv_flops(conv, x.shape[0])
    return replace(slot_work(state, slots, at=STATE), flops=flops)


register(Op("mul_mat_conv", _infer_one, _compute_one, _decompose_one, OpKind.FUSED, work=_work_one))


def _infer(
    x: Tensor, norm: Tensor, conv: Tensor, state: Tensor, slots: Tensor, tails: Tensor, *weights: Tensor, eps: float
) -> tuple[Out, ...]:
    """x [B, K], norm [K], weights [M_i, K], the others as above of M_0 channels -> the first product convolved
    [B, 1, M_0], the state, the normed x [B, K], the other products [B, M_i]."""
    normed, *made = OPS["norm_mul_mats"].infer(x, norm, *weights, eps=eps)
    require(bool(made) and slots.ndim == 1, "norm_mul_mats_conv", f"{len(made)} weights, slots {slots.shape}")
    return *_convolved("norm_mul_mats_conv", made[0], conv, state, slots, tails), normed, *made[1:]


def _compute(x, norm, conv, state, slots, tails, *weights: Any, eps: float) -> tuple[np.ndarray, ...]:
    normed, first, *others = OPS["norm_mul_mats"].compute(x, norm, *weights, eps=eps)
    y, state = OPS["causal_conv"].compute(first[:, None], conv, state, slots, tails)
    return y, state, normed, *others


def _decompose(g: Graph, x, norm, conv, state, slots, tails, *weights: Tensor, eps: float) -> tuple[Tensor, ...]:
    normed, first, *others = g.emit("norm_mul_mats", x, norm, *weights, eps=eps)
    y, written = g.emit("causal_conv", first.unsqueeze(1), conv, state, slots, tails)
    return y, written, normed, *others


def _work(x, _norm, conv, state, slots, _tails, *weights: Tensor, eps: float) -> Work:
    flops = OPS["mul_mats"].work(x, *weights).flops + _conv_flops(conv, x.shape[0])
    return replace(slot_work(state, slots, at=STATE), flops=flops)


register(Op("norm_mul_mats_conv", _infer, _compute, _decompose, OpKind.FUSED, work=_work))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """A convolution of one token a sequence and the projections whose first it takes, or the one that it takes."""
    x, _conv, _state, slots, _tails, *bias = node.inputs
    if bias or node.attrs or x.shape[1] != 1 or slots.ndim != 1 or not whole(x):
        return
    for op, join in (("norm_mul_mats", _with_projections), ("mul_mat", _with_product)):
        found = sole_maker(edit, x, op, i)
        if found and len(readers(edit, x, found[0])) == 1 and not edit.is_output(x.storage):
            join(edit, i, node, *found)


def _with_projections(edit: Editing, i: int, node: Node, at: int, products: Node) -> None:
    (x, *others), (y, written), (normed, first, *made) = node.inputs, node.outputs, products.outputs
    if x.storage is not first.storage or not can_wait(edit, at, i, products, (normed, *made)):
        return
    (rows, norm, *weights), outs = products.inputs, (y, written, normed, *made)
    ins = (rows, norm, *others, *weights)
    fused = make("norm_mul_mats_conv", ins, scope_of(products), outs, **products.attrs)
    if edit.supports(fused):
        edit.remove(at)
        edit.put(i, fused)


def _with_product(edit: Editing, i: int, node: Node, at: int, product: Node) -> None:
    """Where the product stands, which is beside others of its input."""
    (_x, *others), (w, rows, *halves) = node.inputs, product.inputs
    if halves or w.ndim != 2 or rows.ndim != 2 or not can_come(edit, at, i, node):
        return
    fused = make("mul_mat_conv", (w, rows, *others), scope_of(product), node.outputs)
    if edit.supports(fused):
        edit.remove(i)
        edit.put(at, fused)


FUSIONS = (Fusion("causal_conv", _fuse),)
