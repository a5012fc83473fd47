"""A norm, the projections of what it makes, and the convolution of the first of them, of one token a sequence."""

from dataclasses import replace
from typing import Any

import numpy as np

from ...editing import Editing, whole
from ...graph import Graph, Node
from ...ops.op import OPS, Op, OpKind, Out, Spec, Work, register, require
from ...patterns import Fusion, can_wait, make, readers, scope_of, sole_maker
from ...tensor import Tensor
from ..slots import slot_work

STATE = 3  # its place among the inputs


def _infer(
    x: Tensor, norm: Tensor, conv: Tensor, state: Tensor, slots: Tensor, tails: Tensor, *weights: Tensor, eps: float
) -> tuple[Out, ...]:
    """x [B, K], norm [K], weights [M_i, K]; conv [M_0, c], state, slots [B] and tails as causal_conv's -> the first
    product convolved [B, 1, M_0], the state, the normed x [B, K], the other products [B, M_i]."""
    normed, *made = OPS["norm_mul_mats"].infer(x, norm, *weights, eps=eps)
    require(bool(made) and slots.ndim == 1, "norm_mul_mats_conv", f"{len(made)} weights, slots {slots.shape}")
    n, n_channels = made[0].shape
    (y, width) = (n, 1, n_channels), conv.shape[1] - 1
    ok = conv.shape[0] == n_channels and state.shape[1] == width * n_channels and state.shape[0] > 0
    require(ok, "norm_mul_mats_conv", f"products {made[0].shape}, conv {conv.shape}, state {state.shape}")
    ok = slots.shape == (n,) and tails.shape == (n, width)
    require(ok, "norm_mul_mats_conv", f"{n} rows, slots {slots.shape}, tails {tails.shape}")
    return Spec(y), state, normed, *made[1:]


def _compute(x, norm, conv, state, slots, tails, *weights: Any, eps: float) -> tuple[np.ndarray, ...]:
    normed, first, *others = OPS["norm_mul_mats"].compute(x, norm, *weights, eps=eps)
    y, state = OPS["causal_conv"].compute(first[:, None], conv, state, slots, tails)
    return y, state, normed, *others


def _decompose(g: Graph, x, norm, conv, state, slots, tails, *weights: Tensor, eps: float) -> tuple[Tensor, ...]:
    normed, first, *others = g.emit("norm_mul_mats", x, norm, *weights, eps=eps)
    y, written = g.emit("causal_conv", first.unsqueeze(1), conv, state, slots, tails)
    return y, written, normed, *others


def _work(x, _norm, conv, state, slots, _tails, *weights: Tensor, eps: float) -> Work:
    flops = OPS["mul_mats"].work(x, *weights).flops + 2 * x.shape[0] * conv.layout.n_elements
    return replace(slot_work(state, slots, at=STATE), flops=flops)


register(Op("norm_mul_mats_conv", _infer, _compute, _decompose, OpKind.FUSED, work=_work))


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """A convolution of one token a sequence and the projections whose first it takes."""
    x, conv, state, slots, tails, *bias = node.inputs
    found = sole_maker(edit, x, "norm_mul_mats", i)
    if found is None or bias or node.attrs or x.shape[1] != 1 or slots.ndim != 1:
        return
    (at, products), (y, written) = found, node.outputs
    normed, first, *others = products.outputs
    alone = len(readers(edit, first, at)) == 1 and not edit.is_output(first.storage)
    if (
        not alone
        or x.storage is not first.storage
        or not whole(x)
        or not can_wait(edit, at, i, products, (normed, *others))
    ):
        return
    (rows, norm, *weights), outs = products.inputs, (y, written, normed, *others)
    ins = (rows, norm, conv, state, slots, tails, *weights)
    fused = make("norm_mul_mats_conv", ins, scope_of(products), outs, **products.attrs)
    if edit.supports(fused):
        edit.remove(at)
        edit.put(i, fused)


FUSIONS = (Fusion("causal_conv", _fuse),)
