"""The gated delta rule (Yang, Kautz & Hatamizadeh, 2024): a linear attention whose state is a matrix a head.

Per head, with S of D x D: S *= exp(g); d = beta (v - S^T k); S += k d^T; o = S^T q. The state is kept transposed, a
row a value dimension, so that S^T k is a product of rows.
"""

from dataclasses import replace

import numpy as np

from ...editing import Editing, is_same
from ...graph import Graph, Node
from ...ops import OPS
from ...ops.elementwise import sigmoid, softplus
from ...ops.op import Op, OpKind, Out, Spec, Work, register, require
from ...patterns import Fusion, is_untouched, make, only_reader, scope_of
from ...tensor import Tensor
from ..slots import SPAN, fits_slots, read_slots, slot_work, write_slots
from .delta_chunks import chunked_scan
from .states import repeated_heads

Array = np.ndarray
EPS = 1e-6  # under the root of the norm of q and k


def gated_delta_net(
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
    tiled: bool = False,
) -> Tensor:
    """Normalise q and k, form the gates, scan the tokens, update the state; returns [B, T, Hv, D].

    q, k [B, T, Hk, D]; v [B, T, Hv, D]; beta, alpha [B, T, Hk, Hv/Hk], before their sigmoid and softplus; a, dt [Hv]:
    g = a softplus(alpha + dt); state [n_slots, Hv*D*D]; slots [B] or with snapshots (see slots.py), outside of the
    state: read clamped, not written; n_valid [B]: tokens from there on leave the state as it is, and what comes out for
    them is 0. Value head j reads key head j // (Hv/Hk), tiled j % Hk; its gates stand where its key head's do. A state
    of one slot is that of slot 0, and a lone token of a lone sequence is valid.
    """
    return g.emit("gated_delta_net", q, k, v, beta, alpha, a, dt, state, slots, n_valid, tiled=tiled)[0]


def _infer(q, k, v, beta, alpha, a, dt, state, slots, n_valid, *, tiled: bool = False) -> tuple[Out, ...]:
    n_seqs, n_tokens, n_heads, dim = v.shape
    ok = q.shape == k.shape and q.shape[:2] == v.shape[:2] and q.shape[3] == dim
    ok = ok and q.shape[2] > 0 and n_heads % q.shape[2] == 0
    require(ok, "gated_delta_net", f"q {q.shape}, k {k.shape}, v {v.shape}")
    gates = (n_seqs, n_tokens, q.shape[2], n_heads // q.shape[2])
    ok = beta.shape == alpha.shape == gates and a.shape == dt.shape == (n_heads,)
    require(ok, "gated_delta_net", f"beta {beta.shape}, alpha {alpha.shape}, expected {gates}; a {a.shape}")
    ok = state.shape[0] > 0 and state.shape[1:] == (n_heads * dim * dim,) and n_valid.shape == (n_seqs,)
    ok = ok and fits_slots(slots.shape, n_seqs, n_tokens)
    require(ok, "gated_delta_net", f"v {v.shape}, state {state.shape}, slots {slots.shape}")
    return Spec(v.shape), state


def _compute(q, k, v, beta, alpha, a, dt, state, slots, n_valid, tiled: bool = False) -> tuple[np.ndarray, ...]:
    n_seqs, n_tokens, n_heads, dim = v.shape
    share = n_heads // q.shape[2]
    q, k = (x / np.sqrt((x.astype(np.float64) ** 2).sum(-1, keepdims=True) + EPS) for x in (q, k))
    q, k = (np.tile(x, (1, 1, share, 1)) if tiled else np.repeat(x, share, 2) for x in (q, k))
    beta, alpha = (np.swapaxes(x, 2, 3) if tiled else x for x in (beta, alpha))
    beta, alpha = (x.reshape(n_seqs, n_tokens, n_heads).astype(np.float64) for x in (beta, alpha))
    decay, beta = np.exp(a * softplus(alpha + dt)), sigmoid(beta)
    out, columns = np.zeros(v.shape), slots.reshape(n_seqs, slots.shape[1] if slots.ndim == 2 else 1)
    old, state = state[np.clip(columns[:, 0], 0, len(state) - 1)].astype(np.float64), state.copy()
    for b, (slot, *snapshots) in enumerate(columns):
        s, n = old[b].reshape(n_heads, dim, dim), min(n_tokens, n_valid[b])
        for t in range(n):
            s = s * decay[b, t, :, None, None]
            d = beta[b, t, :, None] * (v[b, t] - np.einsum("hvk,hk->hv", s, k[b, t]))
            s += d[:, :, None] * k[b, t, :, None]
            out[b, t] = np.einsum("hvk,hk->hv", s, q[b, t]) / np.sqrt(dim)
            if snapshots and (t + 1 == n or (t + 1) % SPAN == 0):
                _keep(state, snapshots[t // SPAN], s)
        _keep(state, slot, s)
    return out, state


def _keep(state: np.ndarray, slot: int, s: np.ndarray) -> None:
    if 0 <= slot < len(state):
        state[slot] = s.reshape(-1)


def _gates(g: Graph, beta: Tensor, alpha: Tensor, a: Tensor, dt: Tensor, tiled: bool) -> tuple[Tensor, Tensor]:
    """beta and the log decay, [B, T, Hv]."""
    beta, alpha = (x.permute(0, 1, 3, 2) if tiled else x for x in (beta, alpha))
    n_seqs, n_tokens, *heads = beta.shape
    log_decay = g.mul(g.softplus(g.add(alpha, dt.reshape(*heads))), a.reshape(*heads))
    shape = n_seqs, n_tokens, heads[0] * heads[1]
    return g.sigmoid(beta).reshape(*shape), log_decay.reshape(*shape)


def _decompose(g: Graph, q, k, v, beta, alpha, a, dt, state, slots, n_valid, tiled=False) -> tuple[Tensor, ...]:
    n_seqs, n_tokens, n_heads, dim = v.shape
    q = repeated_heads(g, g.scale(g.l2_norm(q, EPS, eps_inside=True), dim**-0.5), n_heads, tiled)
    k = repeated_heads(g, g.l2_norm(k, EPS, eps_inside=True), n_heads, tiled)
    beta, decay = _gates(g, beta, alpha, a, dt, tiled)
    if (n_seqs, n_tokens) != (1, 1):
        valid = g.one("valid_mask", n_valid, n_tokens=n_tokens).unsqueeze(2)
        q, beta, decay = g.mul(q, valid.unsqueeze(3)), g.mul(beta, valid), g.mul(decay, valid)
    s = read_slots(g, state, slots).reshape(n_seqs, n_heads, dim, dim)
    out, spans = (_one_token if n_tokens == 1 else chunked_scan)(g, q, k, v, beta, decay, s)
    spans = [s.reshape(n_seqs, n_heads * dim * dim) for s in spans]
    return out, write_slots(g, state, slots, spans[-1], spans)


def _one_token(g: Graph, q, k, v, beta, decay, s) -> tuple[Tensor, list[Tensor]]:
    n_seqs, _, n_heads, _ = v.shape
    q, k, v = (x.permute(0, 2, 1, 3) for x in (q, k, v))  # [B, Hv, 1, D]
    beta, decay = (x.reshape(n_seqs, n_heads, 1, 1) for x in (beta, decay))
    s = g.mul(s, g.exp(decay))
    d = g.mul(g.sub(v, g.mul_mat(s, k)), beta)
    s = g.add(s, g.mul(d.permute(0, 1, 3, 2), k))
    return g.mul_mat(s, q).permute(0, 2, 1, 3), [s]


def _work(_q, _k, v, _beta, _alpha, _a, _dt, state, slots, *_others: Tensor, **_attrs: float) -> Work:
    """S^T k, k d^T and S^T q: 2 D^2 each, a token and a value head."""
    return replace(slot_work(state, slots, at=7), flops=6 * v.layout.n_elements * v.shape[-1])


register(Op("gated_delta_net", _infer, _compute, _decompose, OpKind.FUSED, work=_work, layer="delta net"))


def _gated_delta_norm_infer(*ins: Tensor, eps: float, tiled: bool = False) -> tuple[Out, ...]:
    """gated_delta_net of the first ten inputs, then gated_norm with w [D] and gate [B, T, Hv, D]."""
    *net, w, gate = ins
    made, state = OPS["gated_delta_net"].infer(*net, tiled=tiled)
    require(
        w.shape == made.shape[-1:] and gate.shape == made.shape, "gated_delta_norm", f"w {w.shape}, gate {gate.shape}"
    )
    return made, state


def _gated_delta_norm(*ins: Array, eps: float, tiled: bool = False) -> tuple[Array, Array]:
    *net, w, gate = ins
    o, state = OPS["gated_delta_net"].compute(*net, tiled=tiled)
    return OPS["gated_norm"].compute(o, w, gate, eps=eps)[0], state


def _gated_delta_norm_parts(g: Graph, *ins: Tensor, eps: float, tiled: bool = False) -> tuple[Tensor, Tensor]:
    *net, w, gate = ins
    o, state = g.emit("gated_delta_net", *net, tiled=tiled)
    return g.gated_norm(o, w, gate, eps), state


register(
    Op(
        "gated_delta_norm",
        _gated_delta_norm_infer,
        _gated_delta_norm,
        _gated_delta_norm_parts,
        OpKind.FUSED,
        work=_work,
        layer="delta net",
    )
)


def _fuse(edit: Editing, i: int, node: Node) -> None:
    """The delta net and the gated norm of its output."""
    found = only_reader(edit, node.outputs[0], i, "gated_norm")
    if found is None or not is_same(found[1].inputs[0], node.outputs[0]):
        return
    j, norm = found
    ins = (*node.inputs, *norm.inputs[1:])
    fused = make("gated_delta_norm", ins, scope_of(node), norm.outputs, **node.attrs, **norm.attrs)
    if is_untouched(edit, node.outputs[1].storage, i, j) and edit.supports(fused):
        edit.put(j, fused)
        edit.remove(i)


FUSIONS = (Fusion("gated_delta_net", _fuse),)
