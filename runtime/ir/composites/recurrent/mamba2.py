"""The state space layer of Mamba-2 (Dao & Gu, "Transformers are SSMs", 2024): a linear attention that decays by head.

Per head, with S of P x N: delta = softplus(dt + bias); S = exp(delta a) S + delta x b^T; y = S c + d x.
"""

from dataclasses import replace

import numpy as np

from ...graph import Graph
from ...ops.elementwise import softplus
from ...ops.op import Op, OpKind, Out, Spec, Work, register, require
from ...tensor import Tensor
from ..slots import fits_slots, read_slots, slot_work, write_slots
from .delta_chunks import chunked_sum
from .states import kept_states, repeated_heads


def mamba2(
    g: Graph,
    x: Tensor,
    b: Tensor,
    c: Tensor,
    dt: Tensor,
    bias: Tensor,
    a: Tensor,
    d: Tensor,
    state: Tensor,
    slots: Tensor,
    n_valid: Tensor,
) -> Tensor:
    """Scan the tokens, update the state; returns [B, T, H, P].

    x [B, T, H, P]; b, c [B, T, G, N], head h reading group h // (H/G); dt [B, T, H]; bias, a, d [H]; state
    [n_slots, H*P*N]; slots [B] or with snapshots (see slots.py), outside of the state: read clamped, not written;
    n_valid [B]: tokens from there on leave the state as it is, and what comes out for them is 0. A state of one slot is
    that of slot 0, and a lone token of a lone sequence is valid.
    """
    return g.emit("mamba2", x, b, c, dt, bias, a, d, state, slots, n_valid)[0]


def _infer(x, b, c, dt, bias, a, d, state, slots, n_valid) -> tuple[Out, ...]:
    n_seqs, n_tokens, n_heads, dim = x.shape
    ok = b.shape == c.shape and b.shape[:2] == x.shape[:2] and b.shape[2] > 0 and n_heads % b.shape[2] == 0
    require(ok, "mamba2", f"x {x.shape}, b {b.shape}, c {c.shape}")
    ok = dt.shape == x.shape[:3] and bias.shape == a.shape == d.shape == (n_heads,)
    require(ok, "mamba2", f"x {x.shape}, dt {dt.shape}, bias {bias.shape}, a {a.shape}, d {d.shape}")
    ok = state.shape[0] > 0 and state.shape[1:] == (n_heads * dim * b.shape[3],) and n_valid.shape == (n_seqs,)
    ok = ok and fits_slots(slots.shape, n_seqs, n_tokens)
    require(ok, "mamba2", f"x {x.shape}, b {b.shape}, state {state.shape}, slots {slots.shape}")
    return Spec(x.shape), state


def _compute(x, b, c, dt, bias, a, d, state, slots, n_valid) -> tuple[np.ndarray, ...]:
    _, n_tokens, n_heads, dim = x.shape
    x, b, c, dt = (t.astype(np.float64) for t in (x, b, c, dt))
    b, c = (np.repeat(t, n_heads // t.shape[2], 2) for t in (b, c))
    delta = softplus(dt + bias)
    decay, given = np.exp(delta * a), x * delta[..., None]
    out, old, keep = np.zeros(x.shape), *kept_states(state, slots, (n_heads, dim, b.shape[3]))
    for s_of, n in enumerate(np.clip(n_valid, 0, n_tokens)):
        s = old[s_of]
        keep(s_of, 0, n, s)
        for t in range(n):
            s = s * decay[s_of, t, :, None, None] + given[s_of, t, :, :, None] * b[s_of, t, :, None]
            out[s_of, t] = np.einsum("hpn,hn->hp", s, c[s_of, t]) + d[:, None] * x[s_of, t]
            keep(s_of, t + 1, n, s)
    return out, keep.state


def _decompose(g: Graph, x, b, c, dt, bias, a, d, state, slots, n_valid) -> tuple[Tensor, ...]:
    n_seqs, n_tokens, n_heads, dim = x.shape
    delta, valid = g.softplus(g.add(dt, bias)), None
    if (n_seqs, n_tokens) != (1, 1):
        valid = g.one("valid_mask", n_valid, n_tokens=n_tokens).unsqueeze(2)
        delta = g.mul(delta, valid)
    b, c = (repeated_heads(g, t, n_heads) for t in (b, c))
    s = read_slots(g, state, slots).reshape(n_seqs, n_heads, dim, b.shape[3])
    scan = _one_token if n_tokens == 1 else chunked_sum
    y, spans = scan(g, c, b, g.mul(x, delta.unsqueeze(3)), g.mul(delta, a), s)
    y = g.add(y, g.mul(x, d.reshape(n_heads, 1)))
    y = y if valid is None else g.mul(y, valid.unsqueeze(3))
    spans = [s.reshape(n_seqs, state.shape[1]) for s in spans]
    return y, write_slots(g, state, slots, spans[-1], spans)


def _one_token(g: Graph, q, k, v, decay, s) -> tuple[Tensor, list[Tensor]]:
    n_seqs, _, n_heads, _ = v.shape
    q, k, v = (t.permute(0, 2, 1, 3) for t in (q, k, v))  # [B, H, 1, P or N]
    s = g.mul(s, g.exp(decay.reshape(n_seqs, n_heads, 1, 1)))
    s = g.add(s, g.mul(v.permute(0, 1, 3, 2), k))
    return g.mul_mat(s, q).permute(0, 2, 1, 3), [s]


def _work(x, b, _c, _dt, _bias, _a, _d, state, slots, *_others: Tensor) -> Work:
    """S c, 2 P N a token and a head, and x b^T, which sums nothing: P N."""
    return replace(slot_work(state, slots, at=7), flops=3 * x.layout.n_elements * b.shape[3])


register(Op("mamba2", _infer, _compute, _decompose, OpKind.FUSED, work=_work, layer="mamba"))
