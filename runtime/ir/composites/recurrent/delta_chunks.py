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

SHORT = 16  # tokens of a chunk whose channels decay apart


def chunked_scan(g: Graph, q, k, v, beta: Tensor, decay: Tensor, s: Tensor) -> tuple[Tensor, list[Tensor]]:
    """q, k, v [B, T, H, D], beta and log decay [B, T, H], s [B, H, D, D] transposed -> o [B, T, H, D], and s after each
    chunk of SPAN tokens.

    Padding at a chunk's end has decay 0 and beta 0, which leaves the state as it is.
    """
    n_tokens = v.shape[1]
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
    return _over_chunks(g, (g.mul(q, grown), k, u, w, inner, total), s, n_tokens)


def chunked_sum(g: Graph, q, k, v, decay: Tensor, s: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The same without the delta rule, S = exp(decay) S + k v^T: q, k [B, T, H, N], v [B, T, H, P], s [B, H, P, N]."""
    n_tokens = v.shape[1]
    q, k, v, decay = (_chunks(g, x, min(SPAN, n_tokens)) for x in (q, k, v, decay.unsqueeze(3)))
    total = g.cumsum(decay.select(3, 0))
    inner = g.mul(g.mul_mat(k, q), _decay_mask(g, total))
    return _over_chunks(g, (g.mul(q, g.exp(total).unsqueeze(3)), k, v, None, inner, total), s, n_tokens)


def chunked_channels(g: Graph, q, k, v, beta: Tensor, decay: Tensor, s: Tensor) -> tuple[Tensor, list[Tensor]]:
    """chunked_scan where each channel of keys decays by itself, decay [B, T, H, N]: products are sums over channels
    with L [N, C, C] in them, of short chunks as that is large."""
    n_tokens, per_span = v.shape[1], SPAN // SHORT
    q, k, v, beta, decay = (_chunks(g, x, min(SHORT, n_tokens)) for x in (q, k, v, beta.unsqueeze(3), decay))
    turned = g.cumsum(g.contiguous(decay.permute(0, 1, 3, 2)))  # G [B*H, n, N, C]
    total, k_beta = turned.permute(0, 1, 3, 2), g.mul(k, beta)
    mask = _decay_mask(g, turned.reshape(turned.shape[0] * turned.shape[1], *turned.shape[2:]))  # [B*H*n, N, C, C]
    a = g.tri(_channel_sums(g, k_beta, k, mask), diagonal=False)
    a, grown = g.add(a, _identity(g, a)), g.exp(total)
    u, w = (g.solve_tri(a, t) for t in (g.mul(v, beta), g.mul(k_beta, grown)))
    parts = (g.mul(q, grown), k, u, w, _channel_sums(g, q, k, mask), total)
    out, states = _over_chunks(g, parts, s, n_tokens)
    ends = range(per_span - 1, len(states) + per_span - 1, per_span)
    return out, [states[min(i, len(states) - 1)] for i in ends]


def _channel_sums(g: Graph, x: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    """sum_c x[i, c] k[j, c] L[c, i, j]: x, k [B*H, n, C, N] -> [B*H, n, C, C]."""
    n, n_chunks, chunk, n_channels = x.shape
    x, k = (g.contiguous(t.permute(0, 1, 3, 2)).reshape(n * n_chunks, n_channels, chunk) for t in (x, k))
    pairs = g.mul(g.mul(x.unsqueeze(3), k.unsqueeze(2)), mask).permute(0, 2, 3, 1)
    return g.sum_rows(g.contiguous(pairs)).reshape(n, n_chunks, chunk, chunk)


def _over_chunks(g: Graph, parts: tuple[Tensor | None, ...], s: Tensor, n_tokens: int) -> tuple[Tensor, list[Tensor]]:
    """Parts as _one_chunk takes them, [B*H, n, C, ...] each, from s [B, H, P, N]: o [B, T, H, P], and the states."""
    n_seqs, n_heads, dim, n_state = s.shape
    out, states = _scan(g, parts, s.reshape(n_seqs * n_heads, dim, n_state))
    out = out.reshape(n_seqs, n_heads, out.shape[1] * out.shape[2], dim).slice(2, 0, n_tokens)
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


def _scan(g: Graph, parts: tuple[Tensor | None, ...], s: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Chunk after chunk: o [B*H, n, C, D] and the states [B*H, D, D] after each."""
    states = []
    out = parts[2]  # U or V: of o's shape, and each chunk of it is read before that chunk of o is set
    assert out is not None
    for c in range(out.shape[1]):
        o, s = _one_chunk(g, [p and p.select(1, c) for p in parts], s)
        states.append(s)
        out = g.set(
            out, o, Layout(o.shape, (out.layout.strides[0], *out.layout.strides[2:]), c * out.layout.strides[1])
        )
    return out, states


def _one_chunk(g: Graph, parts: list[Tensor | None], s: Tensor) -> tuple[Tensor, Tensor]:
    """One chunk: q, k and w [B*H, C, N], u [B*H, C, P], inner [B*H, C, C], total [B*H, C] or of each
    channel [B*H, C, N], s [B*H, P, N]; without w
    the values are u."""
    q_grown, k, u, w, inner, total = parts
    assert q_grown and k and u and inner and total
    total = total if total.ndim == 3 else total.unsqueeze(2)
    values = u if w is None else g.sub(u, g.mul_mat(s, w))
    values = g.contiguous(values.permute(0, 2, 1))  # V^T [B*H, P, C]
    out = g.add(g.mul_mat(s, q_grown), g.mul_mat(values, inner))
    last = total.slice(1, total.shape[1] - 1, total.shape[1])
    k_left = g.mul(k, g.exp(g.sub(last, total)))
    s = g.add(g.mul(s, g.exp(last)), g.mul_mat(g.contiguous(k_left.permute(0, 2, 1)), values))
    return out, s
