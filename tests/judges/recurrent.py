"""Judges of the delta net, its convolution, and what they are made of."""

import numpy as np

from .judge import ROUNDING, Array, Judge, clamped
from .matmul import product
from .onnx_ops import onnx_op, onnx_outputs
from .rows import gated_norm, rms_norm

EPS = np.float64(1e-6)
SPAN = 64  # tokens between two snapshots
LAST = np.array([-1], np.int64)


def _solve_tri(a: Array, b: Array) -> tuple[Array]:
    x = np.empty(b.shape)
    for index in np.ndindex(b.shape[:-2]):
        rows = a[index].tolist()
        for column in range(b.shape[-1]):
            x[(*index, slice(None), column)] = _solved(rows, b[(*index, slice(None), column)].tolist())
    return (x,)


def _solved(rows: list[list[float]], right: list[float]) -> list[float]:
    """Each equation gives one unknown more: sum_j rows[i][j] x[j] = right[i] for j <= i."""
    x: list[float] = []
    for i, row in enumerate(rows):
        known = sum(row[j] * x[j] for j in range(i))
        x.append((right[i] - known) / row[i])
    return x


def _ssm_conv(x: Array, w: Array) -> tuple[Array]:
    """The first inputs are the past of ONNX's convolution, which has channels before tokens."""
    n_past, turned = w.shape[1] - 1, onnx_op("Transpose", x, perm=(0, 2, 1))
    y = onnx_op("CausalConvWithState", turned[..., n_past:], w[:, None], None, turned[..., :n_past])
    return (onnx_op("Transpose", y, perm=(0, 2, 1)),)


def _causal_conv(x, w, state, slots, tails, *bias, extra=(), linear: bool = False) -> tuple[Array, Array]:
    out, after = np.empty(x.shape), state.copy()
    slots = slots.reshape(len(slots), -1)
    for b, own in enumerate(clamped(slots[:, 0], len(state))):
        past = state[own].reshape(w.shape[1] - 1, x.shape[2])
        given = x[b].T[None], w[:, None], bias[0] if extra else None, past.T[None]
        y = onnx_op("CausalConvWithState", *given, activation="none" if linear else "silu")
        out[b] = y[0].T
        inputs = [*past, *x[b]]
        for slot, tail in zip(slots[b], tails[b].reshape(slots.shape[1], -1), strict=True):
            if 0 <= slot < len(state):
                after[slot] = np.concatenate([inputs[i] for i in clamped(tail, len(inputs))])
    return out, after


def _gated_delta_net(q, k, v, beta, alpha, a, dt, state, slots, n_valid, tiled: bool = False) -> tuple[Array, Array]:
    n_seqs, n_tokens, n_heads, dim = v.shape
    out, after = np.zeros(v.shape), state.copy()
    slots = slots.reshape(n_seqs, -1)
    for b, own in enumerate(clamped(slots[:, 0], len(state))):
        n = min(max(int(n_valid[b]), 0), n_tokens)
        s = state[own].reshape(1, n_heads, dim, dim).transpose(0, 1, 3, 2)  # kept transposed
        gates = _gates(*(_of_heads(x[b], n_heads, tiled) for x in (beta, alpha)), a, dt)
        inputs = (*(_shared(_unit(x[b]), n_heads, tiled) for x in (q, k)), v[b], *gates)
        for start in range(0, n, SPAN):
            stop = min(start + SPAN, n)
            out[b, start:stop], s = _scan([x[start:stop] for x in inputs], s)
            _keep(after, slots[b, 1 + start // SPAN :][:1], s)
        _keep(after, slots[b, :1], s)
    return out, after


def _unit(x: Array) -> Array:
    """x / sqrt(sum(x^2) + eps)."""
    total = onnx_op("ReduceSumSquare", x, LAST, keepdims=1)
    return onnx_op("Div", x, onnx_op("Sqrt", onnx_op("Add", total, EPS)))


def _shared(x: Array, n_heads: int, tiled: bool) -> Array:
    """Key heads [T, Hk, D] as value heads read them: [T, Hv, D]."""
    n_keys, share = x.shape[1], n_heads // x.shape[1]
    return np.stack([x[:, h % n_keys if tiled else h // share] for h in range(n_heads)], 1)


def _of_heads(x: Array, n_heads: int, tiled: bool) -> Array:
    """What stands by key head and place [T, Hk, Hv/Hk], by value head: [T, Hv]."""
    _, n_keys, share = x.shape
    places = [(h % n_keys, h // n_keys) if tiled else (h // share, h % share) for h in range(n_heads)]
    return np.stack([x[:, key, place] for key, place in places], 1)


def _gates(beta: Array, alpha: Array, a: Array, dt: Array) -> tuple[Array, Array]:
    """The log decay and beta, [T, Hv]."""
    return onnx_op("Mul", onnx_op("Softplus", onnx_op("Add", alpha, dt)), a), onnx_op("Sigmoid", beta)


def _scan(inputs: list[Array], s: Array) -> tuple[Array, Array]:
    """Some tokens from a state [1, Hv, Dk, Dv]: what comes out [T, Hv, D], and the state after them."""
    n_tokens, n_heads, dim = inputs[2].shape
    q, k, v, decay, beta = (x.reshape(1, n_tokens, -1) for x in inputs)
    heads = {"q_num_heads": n_heads, "kv_num_heads": n_heads}
    o, s = onnx_outputs("LinearAttention", 2, q, k, v, s, decay, beta, update_rule="gated_delta", **heads)
    return o.reshape(n_tokens, n_heads, dim), s


def _keep(state: Array, slots: Array, s: Array) -> None:
    for slot in slots:
        if 0 <= slot < len(state):
            state[slot] = s.transpose(0, 1, 3, 2).reshape(-1)


def _mamba2(x, b, c, dt, bias, a, d, state, slots, n_valid) -> tuple[Array, Array]:
    """As a sum over the tokens before, of what each has given and how far that has decayed since."""
    n_seqs, n_tokens, n_heads, dim = x.shape
    delta = onnx_op("Softplus", onnx_op("Add", dt, bias))
    given, decay = onnx_op("Mul", x, delta[..., None]), onnx_op("Mul", delta, a)
    b, c = (np.stack([t[:, :, h * t.shape[2] // n_heads] for h in range(n_heads)], 2) for t in (b, c))
    out, after, slots = np.zeros(x.shape), state.copy(), slots.reshape(n_seqs, -1)
    for seq, own in enumerate(clamped(slots[:, 0], len(state))):
        n, s = min(max(int(n_valid[seq]), 0), n_tokens), state[own].reshape(n_heads, dim, b.shape[3])
        for h in range(n_heads):
            sums = [decay[seq, : t + 1, h].sum() for t in range(n)]
            for t in range(n):
                out[seq, t, h] = d[h] * x[seq, t, h] + np.exp(sums[t]) * (s[h] @ c[seq, t, h])
                for j in range(t + 1):
                    fallen = np.exp(decay[seq, j + 1 : t + 1, h].sum())
                    out[seq, t, h] += fallen * (b[seq, j, h] @ c[seq, t, h]) * given[seq, j, h]
        for place, slot in enumerate(slots[seq]):
            stop = min(n, SPAN * place) if place else n
            if 0 <= slot < len(state) and stop > SPAN * (place - 1):
                after[slot] = _state_after(s, *(t[seq, :stop] for t in (decay, given, b))).reshape(-1)
    return out, after


def _kimi_delta(q, k, v, beta, alpha, a, dt, state, slots, n_valid) -> tuple[Array, Array]:
    """Token by token and head by head."""
    out, after, slots = np.zeros(v.shape), state.copy(), slots.reshape(len(slots), -1)
    gate = onnx_op("Mul", onnx_op("Softplus", onnx_op("Add", alpha, dt.reshape(q.shape[2:]))), a[:, None])
    q, k, beta = _unit(q), _unit(k), onnx_op("Sigmoid", beta)
    for b, own in enumerate(clamped(slots[:, 0], len(state))):
        n, s = min(max(int(n_valid[b]), 0), v.shape[1]), state[own].reshape(*v.shape[2:], q.shape[3]).copy()
        kept = {place: min(n, SPAN * place) if place else n for place in range(slots.shape[1])}
        for done in range(n + 1):
            for place, slot in enumerate(slots[b]):
                if 0 <= slot < len(state) and kept[place] == done and done > SPAN * (place - 1):
                    after[slot] = s.reshape(-1)
            for h in range(v.shape[2]) if done < n else ():
                s[h] *= np.exp(gate[b, done, h])
                missing = v[b, done, h] - s[h] @ k[b, done, h]
                s[h] += beta[b, done, h] * np.outer(missing, k[b, done, h])
                out[b, done, h] = s[h] @ q[b, done, h] * q.shape[3] ** -0.5
    return out, after


def _state_after(s: Array, decay: Array, given: Array, b: Array) -> Array:
    """[H, P, N] after some tokens."""
    left = np.exp(decay.sum(0))[:, None, None] * s
    for j in range(len(decay)):
        left = left + np.exp(decay[j + 1 :].sum(0))[:, None, None] * given[j][:, :, None] * b[j][:, None, :]
    return left


def _gated_delta_norm(*inputs: Array, eps: float, tiled: bool = False) -> tuple[Array, Array]:
    *net, w, gate = inputs
    o, state = _gated_delta_net(*net, tiled=tiled)
    return gated_norm(o, w, gate, eps), state


def _delta_parts(q, k, v, beta, alpha, a, dt, n_valid, tiled: bool = False) -> tuple[Array, ...]:
    """Each token's row from those before it: (I + A) x = b says x_i = b_i - sum_j A_ij x_j."""
    n_heads, made = v.shape[2], []
    for b in range(len(v)):
        decay, strength = _gates(*(_of_heads(x[b], n_heads, tiled) for x in (beta, alpha)), a, dt)
        keys, queries = (_shared(_unit(x[b]), n_heads, tiled) for x in (k, q))
        n = min(max(int(n_valid[b]), 0), v.shape[1])
        for h in range(n_heads):
            rows = [x[:n, h] for x in (keys, queries, v[b], decay, strength)]
            made.append([_parts_of([x[at : at + SPAN] for x in rows]) for at in range(0, v.shape[1], SPAN)])
    return tuple(np.array([[chunk[i] for chunk in head] for head in made]) for i in range(6))


def _parts_of(rows: list[Array]) -> tuple[Array, ...]:
    """w, left, grown, p, u and ends of one chunk; rows of its tokens: key, query, value, log decay, strength."""
    keys, queries, values, decay, strength = rows
    n, dim = values.shape
    w, left, grown, u = (np.zeros((SPAN, dim)) for _ in range(4))
    p, total = np.zeros((SPAN, SPAN)), decay.sum()
    for i in range(n):
        since = decay[: i + 1].sum()
        u[i], w[i] = values[i], np.exp(since) * keys[i]
        left[i], grown[i] = np.exp(total - since) * keys[i], np.exp(since) * queries[i]
        for j in range(i + 1):
            kept = np.exp(decay[j + 1 : i + 1].sum())
            p[i, j] = kept * (queries[i] @ keys[j])
            if j < i:
                u[i] -= kept * (keys[i] @ keys[j]) * u[j]
                w[i] -= kept * (keys[i] @ keys[j]) * w[j]
        u[i], w[i] = strength[i] * u[i], strength[i] * w[i]
    return *(x * 2**14 for x in (w, left, grown, p)), u, np.array([np.exp(total), np.abs(u).max()])


def _delta_scan(w, left, grown, p, u, ends, state, slots, n_valid, n_tokens: int) -> tuple[Array, Array]:
    n_seqs, dim = len(n_valid), u.shape[3]
    n_heads, after, slots = len(u) // n_seqs, state.copy(), slots.reshape(n_seqs, -1)
    out = np.zeros((n_seqs, n_tokens, n_heads, dim))
    for b, own in enumerate(clamped(slots[:, 0], len(state))):
        states, n = state[own].reshape(n_heads, dim, dim).copy(), min(max(int(n_valid[b]), 0), n_tokens)
        for at in range(0, n, SPAN):
            for h in range(n_heads):
                parts = [x[b * n_heads + h, at // SPAN] for x in (w, left, grown, p, u, ends)]
                rows, states[h] = _chunk_of(parts, states[h])
                out[b, at : at + SPAN, h] = rows[: min(n, at + SPAN) - at].tolist() + [[0.0] * dim] * max(
                    0, min(n_tokens, at + SPAN) - n
                )
            _keep(after, slots[b, 1 + at // SPAN :][:1], states.transpose(0, 2, 1)[None])
        _keep(after, slots[b, :1], states.transpose(0, 2, 1)[None])
    return out, after


def _chunk_of(parts: list[Array], s: Array) -> tuple[Array, Array]:
    """Outputs of a chunk's tokens, and the state [Dv, Dk] after it."""
    w, left, grown, p, u, ends = parts
    x = [u[i] - s @ w[i] / 2**14 for i in range(SPAN)]
    rows = [s @ grown[i] + sum(p[i, j] * x[j] for j in range(i + 1)) for i in range(SPAN)]
    after = ends[0] * s + sum(np.outer(x[j], left[j]) for j in range(SPAN)) / 2**14
    return np.array(rows) / 2**14 / np.sqrt(len(s)), after


def _mul_mat_conv(w: Array, x: Array, conv, state, slots, tails) -> tuple[Array, Array]:
    return _causal_conv(product(x, w)[:, None], conv, state, slots, tails)


def _norm_mul_mats_conv(x, norm, conv, state, slots, tails, *weights, eps: float) -> tuple[Array, ...]:
    normed = rms_norm(x, eps, norm)
    first, *others = (product(normed, w) for w in weights)
    return *_causal_conv(first[:, None], conv, state, slots, tails), normed, *others


JUDGES = {
    "delta_parts": Judge(_delta_parts, ROUNDING),
    "delta_scan": Judge(_delta_scan, ROUNDING),
    "solve_tri": Judge(_solve_tri, ROUNDING),
    "ssm_conv": Judge(_ssm_conv, ROUNDING),
    "causal_conv": Judge(_causal_conv, 2 * ROUNDING),
    "mul_mat_conv": Judge(_mul_mat_conv, 1e-5),  # the reference makes products in float32
    "norm_mul_mats_conv": Judge(_norm_mul_mats_conv, 1e-5),
    "gated_delta_net": Judge(_gated_delta_net, 4e-6),  # ONNX scans in float32
    "kimi_delta": Judge(_kimi_delta, 4 * ROUNDING),
    "mamba2": Judge(_mamba2, ROUNDING),
    "gated_delta_norm": Judge(_gated_delta_norm, 4e-6),
}
