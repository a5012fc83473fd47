"""The gated delta rule over chunks of tokens: products of matrices in place of a scan token by token.

Within a chunk, with G the running sum of the log decays, L[i, j] = exp(G_i - G_j) for j <= i and
A = strictly lower part of (beta k) k^T * L, the corrected values solve (I + A) U = beta v, (I + A) W = beta k exp(G);
then V = U - W S, o = (q exp(G)) S + (q k^T * L) V, and S = exp(G_C) S + (k exp(G_C - G))^T V.
(Yang et al., "Parallelizing linear transformers with the delta rule", 2024, with the decay of the gated rule.)
"""

from ...graph import Graph
from ...layout import Layout
from ...tensor import Tensor
from ..slots import SPAN


def chunked_scan(g: Graph, q, k, v, beta: Tensor, decay: Tensor, s: Tensor) -> tuple[Tensor, list[Tensor]]:
    """q, k, v [B, T, H, D], beta and log decay [B, T, H], s [B, H, D, D] transposed -> o [B, T, H, D], and s after each
    chunk of SPAN tokens.

    Padding at a chunk's end has decay 0 and beta 0, which leaves the state as it is.
    """
    n_seqs, n_tokens, n_heads, dim = v.shape
    chunk = min(SPAN, n_tokens)
    q, k, v, beta, decay = (_chunks(g, x, chunk) for x in (q, k, v, beta.unsqueeze(3), decay.unsqueeze(3)))
    total = g.cumsum(decay.select(3, 0))  # G [B*H, n, C]
    mask = _decay_mask(g, total)
    k_beta = g.mul(k, beta)
    a = g.tri(g.mul(g.mul_mat(k, k_beta), mask), diagonal=False)
    a = g.add(a, _identity(g, a))
    grown = g.exp(total).unsqueeze(3)
    u = g.solve_tri(a, g.mul(v, beta))
    w = g.solve_tri(a, g.mul(k_beta, grown))
    inner = g.mul(g.mul_mat(k, q), mask)
    parts = (g.mul(q, grown), k, u, w, inner, total)
    out, states = _scan(g, parts, s.reshape(n_seqs * n_heads, dim, dim))
    out = out.reshape(n_seqs, n_heads, out.shape[1] * chunk, dim).slice(2, 0, n_tokens)
    return g.contiguous(out.permute(0, 2, 1, 3)), states


def _chunks(g: Graph, x: Tensor, chunk: int) -> Tensor:
    """[B, T, H, D] -> [B*H, n, chunk, D], padded with zeros."""
    n_seqs, n_tokens, n_heads, dim = x.shape
    x = g.contiguous(x.permute(0, 2, 1, 3))
    if short := -n_tokens % chunk:
        x = g.pad(x, (0, 0, 0, 0), (0, 0, short, 0))
    return x.reshape(n_seqs * n_heads, (n_tokens + short) // chunk, chunk, dim)


def _decay_mask(g: Graph, total: Tensor) -> Tensor:
    """L [B*H, n, C, C]; the upper part is cut before exp, where it would overflow, and again after it."""
    return g.tri(g.exp(g.tri(g.sub(total.unsqueeze(3), total.unsqueeze(2)))))


def _identity(g: Graph, like: Tensor) -> Tensor:
    ones = g.scale(like, 0.0, 1.0)
    return g.tri(g.tri(ones), lower=False)


def _scan(g: Graph, parts: tuple[Tensor, ...], s: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Chunk after chunk: o [B*H, n, C, D] and the states [B*H, D, D] after each."""
    states = []
    out = parts[2]  # U: of o's shape, and each chunk of it is read before that chunk of o is set
    for c in range(out.shape[1]):
        o, s = _one_chunk(g, [p.select(1, c) for p in parts], s)
        states.append(s)
        out = g.set(
            out, o, Layout(o.shape, (out.layout.strides[0], *out.layout.strides[2:]), c * out.layout.strides[1])
        )
    return out, states


def _one_chunk(g: Graph, parts: list[Tensor], s: Tensor) -> tuple[Tensor, Tensor]:
    """One chunk, [B*H, C, D] each, inner [B*H, C, C], total [B*H, C], s [B*H, D, D]."""
    q_grown, k, u, w, inner, total = parts
    values = g.contiguous(g.sub(u, g.mul_mat(s, w)).permute(0, 2, 1))  # V^T [B*H, D, C]
    out = g.add(g.mul_mat(s, q_grown), g.mul_mat(values, inner))
    last = total.slice(1, total.shape[1] - 1, total.shape[1])
    k_left = g.mul(k, g.exp(g.sub(last, total)).unsqueeze(2))
    s = g.add(g.mul(s, g.exp(last).unsqueeze(2)), g.mul_mat(g.contiguous(k_left.permute(0, 2, 1)), values))
    return out, s
