"""The short causal convolution, with the inputs it remembers between steps."""

from dataclasses import replace

import numpy as np

from ...graph import Graph
from ...ops.elementwise import sigmoid
from ...ops.op import Op, OpKind, Out, Spec, Work, named_operands, register, require
from ...tensor import Tensor
from ..slots import fits_slots, read_slots, slot_work, write_slots


def causal_conv(
    g: Graph,
    x: Tensor,
    w: Tensor,
    state: Tensor,
    slots: Tensor,
    tails: Tensor,
    bias: Tensor | None = None,
    linear: bool = False,
) -> Tensor:
    """silu of the depthwise causal convolution of x plus bias [C], or without the silu; and the state's update.

    x [B, T, C]; w [C, c]; state [n_slots, (c-1)*C], the last inputs of each slot, oldest first; slots [B] or with
    snapshots (see slots.py), a slot outside of the state is read clamped and not written; tails [*slots.shape, c-1],
    which rows of [state, x] are the new state: n + j after n tokens. Returns [B, T, C].
    """
    more = {} if bias is None else {"bias": bias}
    options = {"extra": tuple(more), "linear": linear}
    return g.emit("causal_conv", x, w, state, slots, tails, *more.values(), **options)[0]


def _infer(
    x: Tensor,
    w: Tensor,
    state: Tensor,
    slots: Tensor,
    tails: Tensor,
    *bias: Tensor,
    extra: tuple[str, ...] = (),
    linear: bool = False,
) -> tuple[Out, ...]:
    n_seqs, n_tokens, n_channels = x.shape
    width = w.shape[1] - 1
    ok = w.shape[0] == n_channels and state.shape[1] == width * n_channels and 0 not in (n_tokens, state.shape[0])
    require(ok, "causal_conv", f"x {x.shape}, w {w.shape}, state {state.shape}")
    ok = fits_slots(slots.shape, n_seqs, n_tokens) and tails.shape == (*slots.shape, width)
    require(ok, "causal_conv", f"x {x.shape}, slots {slots.shape}, tails {tails.shape}")
    named_operands("causal_conv", extra, bias, {"bias": (n_channels,)})
    return Spec(x.shape), state


def _compute(x, w, state, slots, tails, *bias, extra=(), linear: bool = False) -> tuple[np.ndarray, ...]:
    _, n_tokens, n_channels = x.shape
    state = state.copy()
    out = np.empty(x.shape)
    columns = slots.reshape(len(slots), slots.shape[1] if slots.ndim == 2 else 1)
    old = state[np.clip(columns[:, 0], 0, len(state) - 1)].reshape(len(slots), w.shape[1] - 1, n_channels)
    for b, places in enumerate(columns):
        rows = np.concatenate([old[b], x[b]]).astype(np.float64)
        y = sum((rows[j : j + n_tokens] * w[:, j] for j in range(w.shape[1])), sum(bias, np.zeros(1)))
        out[b] = y if linear else y * sigmoid(y)
        for slot, tail in zip(places, tails[b].reshape(len(places), -1), strict=True):
            if 0 <= slot < len(state):
                state[slot] = rows[np.clip(tail, 0, len(rows) - 1)].reshape(-1)
    return out, state


def _decompose(
    g: Graph, x: Tensor, w: Tensor, state: Tensor, slots: Tensor, tails: Tensor, *bias: Tensor, extra=(), linear=False
) -> tuple[Tensor, ...]:
    n_seqs, _, n_channels = x.shape
    width = w.shape[1] - 1
    past = read_slots(g, state, slots).reshape(n_seqs, width, n_channels)
    rows = g.concat(past, x, 1)
    y = g.ssm_conv(rows, w)
    y = g.add(y, bias[0]) if bias else y
    y = y if linear else g.silu(y)
    each = [tails] if tails.ndim == 2 else [tails.select(1, i) for i in range(tails.shape[1])]
    own, *spans = (g.get_rows(rows, t).reshape(n_seqs, width * n_channels) for t in each)
    return y, write_slots(g, state, slots, own, spans)


def _work(x: Tensor, w: Tensor, state: Tensor, slots: Tensor, *_others: Tensor, **_options: object) -> Work:
    return replace(slot_work(state, slots, at=2), flops=2 * x.layout.n_elements * w.shape[1])


register(Op("causal_conv", _infer, _compute, _decompose, OpKind.FUSED, work=_work))
