"""The toy families of toys.py once more, in numpy and float64, over a whole text at once and token by token."""

import numpy as np

from .toys import (
    CAP,
    DIM,
    EMBEDDING,
    EPS,
    FINAL_CAP,
    HEADS,
    KEYS,
    LOGITS,
    RESIDUAL,
    TAPS,
    TURNED,
    WINDOW,
    Array,
)

Tensors = dict[str, Array]


def dense(t: Tensors, ids: list[int], n_layers: int) -> Array:
    x = EMBEDDING * t["token_embd.weight"][ids].astype(np.float64)
    for i in range(n_layers):
        w = _layer(t, i)
        h = _layer_norm(x, w["attn_norm.weight"], w["attn_norm.bias"])
        if i % 2:
            hidden = np.maximum(h @ w["ffn_up.weight"].T + w["ffn_up.bias"], 0) ** 2
            x = x + RESIDUAL * (_attention(h, w, None) + hidden @ w["ffn_down.weight"].T)
            continue
        x = x + _rms(_attention(h, w, t["rope_freqs.weight"]), w["post_attention_norm.weight"])
        h = _rms(x, w["ffn_norm.weight"])
        gate, up = h @ w["ffn_gate.weight"].T, h @ w["ffn_up.weight"].T + w["ffn_up.bias"]
        gelu = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        x = x + _rms((gelu * up) @ w["ffn_down.weight"].T, w["post_ffw_norm.weight"])
    logits = LOGITS * (_rms(x, t["output_norm.weight"]) @ t["token_embd.weight"].T)
    return FINAL_CAP * np.tanh(logits / FINAL_CAP)


def conv(t: Tensors, ids: list[int], n_layers: int) -> Array:
    x = t["token_embd.weight"][ids].astype(np.float64)
    for i in range(n_layers):
        w = _layer(t, i)
        b, c, v = np.split(x @ w["shortconv.in_proj.weight"].T, 3, 1)
        past, made = np.concatenate([np.zeros((TAPS - 1, x.shape[1])), b * v]), np.zeros(x.shape)
        for at in range(len(ids)):
            for tap in range(TAPS):
                made[at] += past[at + tap] * w["shortconv.conv.weight"][:, tap]
        made = made + w.get("shortconv.conv.bias", 0)
        x = x + _rms((c * made) @ w["shortconv.out_proj.weight"].T, w["post_attention_norm.weight"])
        gate, up = x @ w["ffn_gate.weight"].T, x @ w["ffn_up.weight"].T
        hidden = gate / (1 + np.exp(-gate)) * up
        x = _rms(x + hidden @ w["ffn_down.weight"].T, w["post_ffw_norm.weight"])
    return _rms(x, t["output_norm.weight"]) @ t["token_embd.weight"].T


FORWARD = {"toydense": dense, "toyconv": conv}


def _layer(t: Tensors, i: int) -> Tensors:
    at = f"blk.{i}."
    return {name.removeprefix(at): x.astype(np.float64) for name, x in t.items() if name.startswith(at)}


def _rms(x: Array, w: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * w


def _layer_norm(x: Array, w: Array, bias: Array) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS) * w + bias


def _attention(h: Array, w: Tensors, factors: Array | None) -> Array:
    """With factors: normed, turned, in a window and beside sinks; without: capped."""
    q, k, v = h @ w["attn_q.weight"].T + w["attn_q.bias"], h @ w["attn_k.weight"].T, h @ w["attn_v.weight"].T
    v = v + w["attn_v.bias"]
    if factors is not None:
        q, k = (_rms(x, w[f"attn_{name}_norm.weight"]) for name, x in (("q", q), ("k", k)))
    q, k, v = (x.reshape(len(h), -1, DIM) for x in (q, k, v))
    out = np.zeros(q.shape)
    for at in range(len(h)):
        seen = range(at + 1) if factors is None else range(max(0, at + 1 - WINDOW), at + 1)
        for head in range(HEADS):
            query, key_head = _turned(q[at, head], at, factors), head * KEYS // HEADS
            z = np.array([0.4 * query @ _turned(k[s, key_head], s, factors) for s in seen])
            z = z if factors is not None else CAP * np.tanh(z / CAP)
            p = np.exp(z)
            sink = 0 if factors is None else np.exp(w["attn_sinks.weight"][head])
            out[at, head] = p @ v[seen.start : seen.stop, key_head] / (p.sum() + sink)
    return out.reshape(len(h), -1) @ w["attn_output.weight"].T


def _turned(x: Array, at: int, factors: Array | None) -> Array:
    """Each pair of neighbours as a complex number times e^(i angle)."""
    if factors is None:
        return x
    angles = at * 100.0 ** (-2 * np.arange(TURNED // 2) / TURNED) / factors
    pairs = (x[:TURNED:2] + 1j * x[1:TURNED:2]) * np.exp(1j * angles)
    return np.concatenate([np.stack([pairs.real, pairs.imag], 1).reshape(-1), x[TURNED:]])
