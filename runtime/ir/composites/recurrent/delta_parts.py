"""The gated delta rule in two steps: what chunks of tokens know without the state, side by side, then the state's way
through them. For kernels by products of matrices; delta_chunks.py has the formulas.
"""

import numpy as np

from ...dtypes import DType
from ...editing import Editing
from ...graph import Node
from ...layout import Shape
from ...ops.elementwise import sigmoid, softplus
from ...ops.op import Op, OpKind, Out, Spec, Work, register, require
from ...patterns import Fusion, make, scope_of
from ...tensor import Tensor
from ..slots import SPAN, fits_slots, slot_work

Array = np.ndarray
EPS = 1e-6  # under the root of the norm of q and k
SCALE = 2.0**14  # of halves whose numbers are at most 1, so that small ones are not lost
LAYER = "delta net"
FEWEST_TOKENS = 64
FEWEST_NUMBERS = 1 << 24  # of states, a token each, below which two dispatches do not pay


def _shapes(n_seqs: int, n_tokens: int, n_heads: int, dim: int) -> tuple[Shape, Shape, Shape]:
    """Of rows, of pairs of tokens, and of ends, a chunk each."""
    chunks = n_seqs * n_heads, -(-n_tokens // SPAN)
    return (*chunks, SPAN, dim), (*chunks, SPAN, SPAN), (*chunks, 2)


def _parts_infer(q, k, v, beta, alpha, a, dt, n_valid, *, tiled: bool = False) -> tuple[Spec, ...]:
    """Operands as gated_delta_net's. For each sequence, value head and chunk of SPAN tokens, with k and q normed:

    w = T (beta exp(G) k), left = exp(G_C - G) k, grown = exp(G) q [B Hv, N, SPAN, D] and p = lower(q k^T L)
    [B Hv, N, SPAN, SPAN], halves times SCALE; u = T (beta v) [B Hv, N, SPAN, D]; ends [B Hv, N, 2]: exp(G_C), and
    the largest finite |u|. T = (I + A)^-1. Tokens that are not valid are as k, q and v of 0 without decay.
    """
    n_seqs, n_tokens, n_heads, dim = v.shape
    ok = q.shape == k.shape and q.shape[:2] == v.shape[:2] and q.shape[3] == dim
    ok = ok and q.shape[2] > 0 and n_heads % q.shape[2] == 0
    gates = (n_seqs, n_tokens, q.shape[2], n_heads // max(q.shape[2], 1))
    ok = ok and beta.shape == alpha.shape == gates and a.shape == dt.shape == (n_heads,) and n_valid.shape == (n_seqs,)
    require(ok, "delta_parts", f"q {q.shape}, k {k.shape}, v {v.shape}, beta {beta.shape}, a {a.shape}")
    rows, pairs, ends = _shapes(*v.shape)
    halves = Spec(rows, DType.F16)
    return halves, halves, halves, Spec(pairs, DType.F16), Spec(rows), Spec(ends)


def _by_head(x: Array, n_heads: int, tiled: bool) -> Array:
    """Key heads [T, Hk, D] as value heads read them, [Hv, T, D]."""
    share = n_heads // x.shape[1]
    return (np.tile(x, (1, share, 1)) if tiled else np.repeat(x, share, 1)).transpose(1, 0, 2)


def _rows_by_chunk(x: Array, n: int) -> Array:
    """[Hv, T, ...] -> [Hv, N, SPAN, ...]; rows from n on are 0."""
    n_heads, n_tokens, *rest = x.shape
    padded = np.zeros((n_heads, -(-n_tokens // SPAN) * SPAN, *rest))
    padded[:, : max(n, 0)] = x[:, : max(n, 0)]
    return padded.reshape(n_heads, -1, SPAN, *rest)


def _normed(x: Array) -> Array:
    return x / np.sqrt((x.astype(np.float64) ** 2).sum(-1, keepdims=True) + EPS)


def _inverse(a: Array) -> Array:
    """(I + A)^-1 of strictly lower A [..., C, C]; no row takes anything of a later one."""
    t = np.zeros(a.shape)
    for i in range(a.shape[-1]):
        t[..., i, :i] = -np.einsum("...j,...jc->...c", a[..., i, :i], t[..., :i, :i])
        t[..., i, i] = 1
    return t


def _lower_product(t: Array, x: Array) -> Array:
    """t x, of the lower part of t alone."""
    out = np.empty((*t.shape[:-1], x.shape[-1]))
    for i in range(t.shape[-1]):
        out[..., i, :] = np.einsum("...j,...jd->...d", t[..., i, : i + 1], x[..., : i + 1, :])
    return out


def _parts(q, k, v, beta, alpha, a, dt, n_valid, tiled: bool = False) -> tuple[Array, ...]:
    n_heads = v.shape[2]
    made = []
    for b, n in enumerate(np.clip(n_valid, 0, v.shape[1])):
        gates = ((np.swapaxes(x[b], 1, 2) if tiled else x[b]).reshape(-1, n_heads).T for x in (beta, alpha))
        strength, log_decay = next(gates).astype(np.float64), next(gates).astype(np.float64)
        strength, log_decay = sigmoid(strength), a[:, None] * softplus(log_decay + dt[:, None])
        heads = (_by_head(_normed(x[b]), n_heads, tiled) for x in (k, q))
        inputs = (*heads, v[b].transpose(1, 0, 2), strength, log_decay)
        made.append(_parts_of_chunks(*(_rows_by_chunk(x, n) for x in inputs)))
    return tuple(np.concatenate(x) for x in zip(*made, strict=True))


def _parts_of_chunks(k: Array, q: Array, v: Array, beta: Array, log_decay: Array) -> tuple[Array, ...]:
    """k, q, v [Hv, N, C, D]; beta, log_decay [Hv, N, C]."""
    total = np.cumsum(log_decay, -1)
    upper = np.triu(np.ones((SPAN, SPAN), bool), 1)
    between = np.exp(np.where(upper, 0, total[..., :, None] - total[..., None, :]))
    products = [np.where(upper, 0, np.einsum("hnid,hnjd->hnij", x, k) * between) for x in (k, q)]
    t = _inverse(np.tril(beta[..., None] * products[0], -1))
    grown, stays = np.exp(total)[..., None], np.exp(total[..., -1:] - total)[..., None]
    u, w = (_lower_product(t, beta[..., None] * x) for x in (v, grown * k))
    u = u.astype(np.float32)
    top = np.abs(np.where(np.isfinite(u), u, 0)).max((-2, -1))
    ends = np.stack([np.exp(total[..., -1]), top], -1)
    return SCALE * w, SCALE * stays * k, SCALE * grown * q, SCALE * products[1], u, ends


def _parts_work(_q, _k, v, *_gates: Tensor, **_attrs: object) -> Work:
    """k k^T, q k^T, T, and its products with k and v: a triangle each."""
    n_rows = v.shape[0] * v.shape[2] * -(-v.shape[1] // SPAN) * SPAN
    return Work(flops=n_rows * SPAN * (4 * v.shape[3] + SPAN // 3))


register(Op("delta_parts", _parts_infer, _parts, kind=OpKind.FUSED, work=_parts_work, layer=LAYER))


def _scan_infer(w, left, grown, p, u, ends, state, slots, n_valid, *, n_tokens: int) -> tuple[Out, ...]:
    """gated_delta_net from what delta_parts made of its n_tokens tokens: y [B, T, Hv, D], and the state."""
    n_seqs, dim = n_valid.shape[0], u.shape[3]
    n_heads = u.shape[0] // max(n_seqs, 1)
    rows, pairs, of_ends = _shapes(n_seqs, n_tokens, n_heads, dim)
    ok = w.shape == left.shape == grown.shape == u.shape == rows and p.shape == pairs and ends.shape == of_ends
    require(ok, "delta_scan", f"w {w.shape}, p {p.shape}, u {u.shape}, ends {ends.shape}, {n_tokens} tokens")
    ok = state.shape[0] > 0 and state.shape[1:] == (n_heads * dim * dim,) and n_valid.shape == (n_seqs,)
    ok = ok and fits_slots(slots.shape, n_seqs, n_tokens)
    require(ok, "delta_scan", f"u {u.shape}, state {state.shape}, slots {slots.shape}")
    return Spec((n_seqs, n_tokens, n_heads, dim)), state


def _scan(w, left, grown, p, u, ends, state, slots, n_valid, n_tokens: int) -> tuple[Array, Array]:
    n_seqs, dim = len(n_valid), u.shape[3]
    n_heads = len(u) // n_seqs
    out, after = np.zeros((n_seqs, n_tokens, n_heads, dim)), state.copy()
    for b, (slot, *snapshots) in enumerate(slots.reshape(n_seqs, -1)):
        s = state[np.clip(slot, 0, len(state) - 1)].astype(np.float64).reshape(n_heads, dim, dim)
        n = min(n_tokens, n_valid[b])
        for c, at in enumerate(range(0, n, SPAN)):
            heads = slice(b * n_heads, (b + 1) * n_heads)
            halves = [x[heads, c].astype(np.float64) / SCALE for x in (w, left, grown, p)]
            o, s = _one_chunk(halves, u[heads, c], ends[heads, c, :1, None], s)
            out[b, at : min(at + SPAN, n)] = o.transpose(1, 0, 2)[: n - at]
            if snapshots:
                _keep(after, snapshots[c], s)
        _keep(after, slot, s)
    return out, after


def _one_chunk(halves: list[Array], u: Array, kept: Array, s: Array) -> tuple[Array, Array]:
    """w, left, grown and u [Hv, C, D], p [Hv, C, C], kept [Hv, 1, 1], s [Hv, D, D]: o [Hv, C, D], the next s."""
    w, left, grown, p = halves
    x = u - np.einsum("hcd,hvd->hcv", w, s)
    o = np.einsum("hcd,hvd->hcv", grown, s) + _lower_product(p, x)
    return o / np.sqrt(s.shape[-1]), kept * s + np.einsum("hcv,hcd->hvd", x, left)


def _keep(state: Array, slot: int, s: Array) -> None:
    if 0 <= slot < len(state):
        state[slot] = s.reshape(-1)


def _scan_work(w, left, grown, p, u, ends, state, slots, *_others: Tensor, **_attrs: object) -> Work:
    """Three products of rows with the state, one of pairs."""
    work = slot_work(state, slots, at=6)
    return Work(work.reads, work.writes, flops=u.layout.n_elements * (6 * u.shape[-1] + SPAN))


register(Op("delta_scan", _scan_infer, _scan, kind=OpKind.FUSED, work=_scan_work, layer=LAYER))


def pays(n_seqs: int, n_tokens: int, n_heads: int, dim: int) -> bool:
    """Is a prompt long enough to be taken in steps, where halves do?"""
    return n_tokens >= FEWEST_TOKENS and n_seqs * n_tokens * n_heads * dim * dim >= FEWEST_NUMBERS


def _fuse_steps(edit: Editing, i: int, node: Node) -> None:
    """The rule in its two steps."""
    if not pays(*node.inputs[2].shape):
        return
    *rule, state, slots, n_valid = node.inputs
    scope, n_tokens = scope_of(node), rule[2].shape[1]
    parts = make("delta_parts", (*rule, n_valid), scope, **node.attrs)
    scan = make("delta_scan", (*parts.outputs, state, slots, n_valid), scope, node.outputs, n_tokens=n_tokens)
    if edit.supports(parts) and edit.supports(scan):
        edit.put(i, parts, scan)


FUSIONS = (Fusion("gated_delta_net", _fuse_steps),)
