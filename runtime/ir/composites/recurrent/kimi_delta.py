"""Kimi delta attention (Kimi Team, 2025): the gated delta rule with a decay for each column of the state.

Per head, with S of P x D: S = S diag(exp(g)); d = beta (v - S k); S += d k^T; o = S q.
"""

from dataclasses import replace

import numpy as np

from ...graph import Graph
from ...ops.elementwise import sigmoid, softplus
from ...ops.op import Op, OpKind, Out, Spec, Work, register, require
from ...tensor import Tensor
from ..slots import fits_slots, read_slots, slot_work, write_slots
from .delta_chunks import chunked_channels
from .delta_net import EPS
from .states import kept_states


def kimi_delta(
    g: Graph,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    alpha: Tensor,
    a: Tensor,
    dt: Tensor,
    state: Tensor,
    slots: Tensor,
    n_valid: Tensor,
) -> Tensor:
    """Normalise q and k, form the gates, scan the tokens, update the state; returns [B, T, H, P].

    q, k [B, T, H, D]; v [B, T, H, P]; beta [B, T, H] before its sigmoid; alpha [B, T, H, D], a [H], dt [H*D]:
    g = a softplus(alpha + dt); state [n_slots, H*P*D]. slots and n_valid as gated_delta_net's.
    """
    return g.emit("kimi_delta", q, k, v, beta, alpha, a, dt, state, slots, n_valid)[0]


def _infer(q, k, v, beta, alpha, a, dt, state, slots, n_valid) -> tuple[Out, ...]:
    n_seqs, n_tokens, n_heads, dim = v.shape
    ok = q.shape == k.shape == alpha.shape and q.shape[:3] == v.shape[:3] == beta.shape
    require(ok, "kimi_delta", f"q {q.shape}, k {k.shape}, v {v.shape}, beta {beta.shape}, alpha {alpha.shape}")
    ok = a.shape == (n_heads,) and dt.shape == (n_heads * q.shape[3],) and n_valid.shape == (n_seqs,)
    ok = ok and state.shape[0] > 0 and state.shape[1:] == (n_heads * dim * q.shape[3],)
    ok = ok and fits_slots(slots.shape, n_seqs, n_tokens)
    require(ok, "kimi_delta", f"v {v.shape}, a {a.shape}, dt {dt.shape}, state {state.shape}, slots {slots.shape}")
    return Spec(v.shape), state


def _compute(q, k, v, beta, alpha, a, dt, state, slots, n_valid) -> tuple[np.ndarray, ...]:
    _, n_tokens, n_heads, dim = v.shape
    q, k, v, beta, alpha = (t.astype(np.float64) for t in (q, k, v, beta, alpha))
    q, k = (t / np.sqrt((t**2).sum(-1, keepdims=True) + EPS) for t in (q, k))
    decay = np.exp(a[:, None] * softplus(alpha + dt.reshape(n_heads, -1)))
    out, old, keep = np.zeros(v.shape), *kept_states(state, slots, (n_heads, dim, q.shape[3]))
    for b, n in enumerate(np.clip(n_valid, 0, n_tokens)):
        s = old[b]
        keep(b, 0, n, s)
        for t in range(n):
            s = s * decay[b, t, :, None]
            d = sigmoid(beta[b, t])[:, None] * (v[b, t] - np.einsum("hvk,hk->hv", s, k[b, t]))
            s = s + d[:, :, None] * k[b, t, :, None]
            out[b, t] = np.einsum("hvk,hk->hv", s, q[b, t]) / np.sqrt(q.shape[3])
            keep(b, t + 1, n, s)
    return out, keep.state


def _decompose(g: Graph, q, k, v, beta, alpha, a, dt, state, slots, n_valid) -> tuple[Tensor, ...]:
    n_seqs, n_tokens, n_heads, dim = v.shape
    q = g.scale(g.l2_norm(q, EPS, eps_inside=True), q.shape[3] ** -0.5)
    k = g.l2_norm(k, EPS, eps_inside=True)
    decay = g.mul(g.softplus(g.add(alpha, dt.reshape(n_heads, k.shape[3]))), a.reshape(n_heads, 1))
    beta = g.sigmoid(beta)
    if (n_seqs, n_tokens) != (1, 1):
        valid = g.one("valid_mask", n_valid, n_tokens=n_tokens).unsqueeze(2)
        q, decay, beta = g.mul(q, valid.unsqueeze(3)), g.mul(decay, valid.unsqueeze(3)), g.mul(beta, valid)
    s = read_slots(g, state, slots).reshape(n_seqs, n_heads, dim, k.shape[3])
    out, spans = (_one_token if n_tokens == 1 else chunked_channels)(g, q, k, v, beta, decay, s)
    spans = [s.reshape(n_seqs, state.shape[1]) for s in spans]
    return out, write_slots(g, state, slots, spans[-1], spans)


def _one_token(g: Graph, q, k, v, beta, decay, s) -> tuple[Tensor, list[Tensor]]:
    n_seqs, _, n_heads, _ = v.shape
    q, k, v, decay = (t.permute(0, 2, 1, 3) for t in (q, k, v, decay))  # [B, H, 1, D]
    s = g.mul(s, g.exp(decay))
    d = g.mul(g.sub(v, g.mul_mat(s, k)), beta.reshape(n_seqs, n_heads, 1, 1))
    s = g.add(s, g.mul(d.permute(0, 1, 3, 2), k))
    return g.mul_mat(s, q).permute(0, 2, 1, 3), [s]


def _work(q, _k, v, _beta, _alpha, _a, _dt, state, slots, *_others: Tensor) -> Work:
    """S k, d k^T and S q: 2 P D each, a token and a head."""
    return replace(slot_work(state, slots, at=7), flops=6 * v.layout.n_elements * q.shape[3])


register(Op("kimi_delta", _infer, _compute, _decompose, OpKind.FUSED, work=_work, layer="delta net"))
