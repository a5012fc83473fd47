"""Mutants of single ops of layers: experts, attention, recurrent ones."""

from itertools import pairwise

import numpy as np
from vkrun.runtime.ir.ops import OPS

from .judge import Array
from .wrong import require_fit, wrong


@wrong("weights not renormalised", "route")
def _not_renormalised(compute, *inputs, normalise=True, **attrs):
    return compute(*inputs, normalise=not normalise, **attrs)


@wrong("the other score", "route", "moe_ffn")
def _other_score(compute, *inputs, score="softmax", **attrs):
    return compute(*inputs, score="sigmoid" if score == "softmax" else "softmax", **attrs)


@wrong("a bias that weighs", "route")
def _weighing_bias(compute, logits, *bias, **attrs):
    require_fit(len(bias) > 0)
    ids, weights = compute(logits, *bias, **attrs)
    return ids, weights + bias[0][ids]


@wrong("another activation", "experts_gate_up", "moe_ffn")
def _other_glu(compute, *inputs, activation="silu", **attrs):
    return compute(*inputs, activation="gelu" if activation == "silu" else "silu", **attrs)


@wrong("ids wrapped", "mul_mat_id")
def _wrapped_experts(compute, w, x, ids, *lists):
    return compute(w, x, ids % len(np.asarray(w)), *lists)


@wrong("ids wrapped", "experts_gate_up")
def _wrapped_gate_up(compute, x, gate, up, ids, *more, **attrs):
    return compute(x, gate, up, ids % gate.shape[0], *more, **attrs)


@wrong("ids wrapped", "experts_down")
def _wrapped_down(compute, hidden, down, ids, *rest, **attrs):
    return compute(hidden, down, ids % down.shape[0], *rest, **attrs)


@wrong("positions wrapped", "rope")
def _wrapped_positions(compute, x, pos, table, **attrs):
    return compute(x, pos % len(table), table, **attrs)


@wrong("sines negated", "rope")
def _turned_back(compute, x, pos, table, **attrs):
    half = table.shape[1] // 2
    return compute(x, pos, np.concatenate([table[:, :half], -table[:, half:]], 1), **attrs)


@wrong("neighbours as pairs", "rope")
def _neighbours(compute, x, pos, table, **attrs):
    n = table.shape[1]
    order = [*range(0, n, 2), *range(1, n, 2), *range(n, x.shape[-1])]
    out = np.empty(x.shape)
    out[..., order] = compute(x[..., order], pos, table, **attrs)[0]
    return (out,)


@wrong("the last dims turned", "rope")
def _last_dims(compute, x, pos, table, **attrs):
    n = x.shape[-1] - table.shape[1]
    return (np.roll(compute(np.roll(x, -n, -1), pos, table, **attrs)[0], n, -1),)


@wrong("a window of one key more", "attention", "attention_split", "causal_mask")
def _wider_window(compute, *inputs, window=0, **attrs):
    require_fit(window > 0)
    return compute(*inputs, window=window + 1, **attrs)


@wrong("heads by remainder", "attention", "attention_split")
def _attention_by_remainder(compute, q, k, v, *rest, **attrs):
    n_heads, dim = q.shape[2:]
    n_keys = k.shape[2] // dim
    return compute(q, *(np.tile(c, n_heads // n_keys) for c in (k, v)), *rest, **attrs)


@wrong("the tops left out", "attention_combine")
def _without_tops(compute, parts, *gate, **attrs):
    parts = parts.copy()
    parts[..., -2] = np.where(np.isfinite(parts[..., -2]), 0, parts[..., -2])
    return compute(parts, *gate, **attrs)


@wrong("outside slots written", "causal_conv")
def _conv_written(compute, x, w, state, slots, *rest, **attrs):
    return compute(x, w, state, np.clip(slots, 0, len(state) - 1), *rest, **attrs)


@wrong("outside slots written", "mul_mat_conv", "norm_mul_mats_conv")
def _projected_written(compute, *inputs, **attrs):
    return compute(*inputs[:4], np.clip(inputs[4], 0, len(inputs[3]) - 1), *inputs[5:], **attrs)


@wrong("silu and none swapped", "causal_conv")
def _other_activation(compute, *inputs, linear=False, **attrs):
    return compute(*inputs, linear=not linear, **attrs)


@wrong("outside slots written", "gated_delta_net", "gated_delta_norm")
def _net_written(compute, *inputs, **attrs):
    slots = np.clip(inputs[8], 0, len(inputs[7]) - 1)
    return compute(*inputs[:8], slots, *inputs[9:], **attrs)


@wrong("heads by remainder", "gated_delta_net", "gated_delta_norm")
def _net_by_remainder(compute, q, k, v, beta, alpha, *rest, **attrs):
    n_heads, n_keys = v.shape[2], q.shape[2]
    q, k = (np.tile(x, (1, 1, n_heads // n_keys, 1)) for x in (q, k))
    beta, alpha = (x.reshape(*v.shape[:3], 1) for x in (beta, alpha))
    return compute(q, k, v, beta, alpha, *rest, **attrs)


@wrong("the query as it is", "gated_delta_net")
def _long_query(compute, q, k, v, *rest, **attrs):
    out, state = compute(q, k, v, *rest, **attrs)
    length = np.sqrt(np.square(q, dtype=np.float64).sum(-1, keepdims=True))
    return out * np.repeat(length, v.shape[2] // q.shape[2], 2), state


@wrong("the query not scaled", "gated_delta_net")
def _not_scaled(compute, *inputs, **attrs):
    out, state = compute(*inputs, **attrs)
    return out * np.sqrt(out.shape[-1]), state


@wrong("the state the other way round", "gated_delta_net", "gated_delta_norm")
def _state_turned(compute, *inputs, **attrs):
    state, heads, dim = inputs[7], inputs[2].shape[2], inputs[2].shape[3]

    def turned(x: Array) -> Array:
        return x.reshape(len(state), heads, dim, dim).swapaxes(-1, -2).reshape(state.shape)

    out, after = compute(*inputs[:7], turned(state), *inputs[8:], **attrs)
    return out, turned(after)


@wrong("ids wrapped", "expert_lists")
def _wrapped_ids(compute, ids, n_experts):
    return compute(ids % n_experts, n_experts=n_experts)


@wrong("an expert's pairs backwards", "expert_lists")
def _pairs_backwards(compute, ids, n_experts):
    (lists,) = compute(ids, n_experts=n_experts)
    starts, pairs = lists[: n_experts + 1], lists[n_experts + 1 :]
    return (np.concatenate([starts, *(pairs[a:b][::-1] for a, b in pairwise(starts))]),)


@wrong("pairs counted by place first", "expert_lists")
def _by_place(compute, ids, n_experts):
    return compute(ids.T, n_experts=n_experts)


@wrong("how many in the place of where they start", "expert_lists")
def _counts(compute, ids, n_experts):
    (lists,) = compute(ids, n_experts=n_experts)
    return (np.concatenate([np.diff(lists[: n_experts + 1], append=0), lists[n_experts + 1 :]]),)


@wrong("ids wrapped", "mul_mat_id_swiglu")
def _wrapped_pairs(compute, gate, up, x, ids, *more):
    return compute(gate, up, x, ids % len(np.asarray(gate)), *more)


@wrong("halves in the order of x", "halves")
def _in_order(compute, x):
    return compute(x.reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(x.shape))


@wrong("halves cut off", "halves")
def _cut_off(compute, x):
    return compute((x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32))


@wrong("the first row of each token", "mul_mat_id_swiglu")
def _first_row(compute, gate, up, x, ids, lists):
    return compute(gate, up, x[:, :1], ids, lists)


@wrong("silu left out", "mul_mat_id_swiglu")
def _without_silu(_compute, gate, up, x, ids, _lists):
    gate, up = (OPS["mul_mat_id"].compute(w, x, ids)[0] for w in (gate, up))
    return (gate * up,)


@wrong("a bias that is not weighed", "experts_down")
def _plain_bias(compute, hidden, down, ids, weights, *more, extra=("shared", "shared_down", "shared_gate", "residual")):
    require_fit("down_bias" in extra)
    given = dict(zip(extra, more, strict=True))
    bias = given.pop("down_bias")[np.clip(ids, 0, down.shape[0] - 1)].sum(1)
    return (compute(hidden, down, ids, weights, *given.values(), extra=tuple(given))[0] + bias,)


@wrong("values turned too", "qk_rope_cache", "rope_attention", "rope_attention_split")
def _values_turned(compute, q, k, v, pos, table, *rest, neighbours=False, **attrs):
    (v,) = OPS["rope"].compute(v, pos, table, neighbours)
    return compute(q, k, v, pos, table, *rest, neighbours=neighbours, **attrs)


@wrong("the own row not seen", "rope_attention", "rope_attention_split")
def _own_not_seen(compute, *inputs, **attrs):
    before = [cache.copy() for cache in inputs[6:8]]
    _, *written = compute(*inputs, **attrs)
    made, *_ = compute(*inputs[:5], np.full_like(inputs[5], -1), *before, *inputs[8:], **attrs)
    return made, *written


@wrong("turned by what is seen", "rope_attention", "rope_attention_split")
def _turned_by_seen(compute, *inputs, **attrs):
    return compute(*inputs[:3], inputs[9], *inputs[4:], **attrs)


@wrong("capped before it is scaled", "attention", "attention_split", "rope_attention", "rope_attention_split")
def _capped_first(compute, *inputs, scale, cap=0.0, **attrs):
    require_fit(cap > 0)
    return compute(*inputs, scale=scale, cap=cap * scale, **attrs)


@wrong("a sink that is scaled", "attention")
def _scaled_sink(compute, *inputs, scale, extra=(), **attrs):
    require_fit(extra[-1:] == ("sinks",))
    return compute(*inputs[:-1], inputs[-1] * np.float32(scale), scale=scale, extra=extra, **attrs)


@wrong("a sink beside tops of 0", "attention_combine")
def _sink_by_no_top(compute, parts, *more, extra=()):
    require_fit(extra[-1:] == ("sinks",))
    tops = parts[..., -2].max(-1)[0]
    return compute(parts, *more[:-1], more[-1] + np.where(np.isfinite(tops), tops, 0), extra=extra)


@wrong("no window", "attention_split")
def _without_window(compute, *inputs, window=0, **attrs):
    require_fit(window > 0)
    return compute(*inputs, **attrs)


@wrong("parts of all planned keys", "attention_split")
def _planned_parts(compute, q, k, v, slots, pos, n_kv, n_split, window=0, **attrs):
    require_fit(not window)
    size, parts = -(-n_kv // n_split), []
    for at in range(0, size * n_split, size):
        keys, values = (cache[:, min(at, n_kv - 1) :] for cache in (k, v))
        planned = {"n_kv": min(size, max(n_kv - at, 0)), "n_split": 1}
        parts += compute(q, keys, values, slots, np.maximum(pos - at, -1), **planned, **attrs)
    return (np.concatenate(parts, 2),)


@wrong("bias after silu", "causal_conv")
def _bias_after(compute, *inputs, extra=(), linear=False, **attrs):
    require_fit(extra == ("bias",) and not linear)
    out, state = compute(*inputs[:-1], **attrs)
    return out + inputs[-1], state


@wrong("tiled, but for its gates", "gated_delta_net", "gated_delta_norm")
def _gates_untiled(compute, q, k, v, beta, alpha, *rest, tiled=False, **attrs):
    require_fit(tiled)
    beta, alpha = (x.reshape(*v.shape[:2], -1, q.shape[2]).swapaxes(2, 3) for x in (beta, alpha))
    return compute(q, k, v, beta, alpha, *rest, tiled=tiled, **attrs)


@wrong("outside slots written", "mamba2", "kimi_delta")
def _scan_written(compute, *inputs):
    return compute(*inputs[:8], np.clip(inputs[8], 0, len(inputs[7]) - 1), *inputs[9:])


@wrong("groups by remainder", "mamba2")
def _groups_by_remainder(compute, x, b, c, *rest):
    return compute(x, *(np.tile(t, (1, 1, x.shape[2] // t.shape[2], 1)) for t in (b, c)), *rest)


@wrong("the input given as it is", "mamba2")
def _given_plainly(compute, x, b, c, dt, bias, a, d, *rest):
    delta = np.logaddexp(0, dt + bias)
    out, state = compute(x / delta[..., None], b, c, dt, bias, a, d * 0, *rest)
    return out + d[:, None] * x * (np.arange(x.shape[1]) < rest[-1][:, None])[..., None, None], state


@wrong("one decay a head", "kimi_delta")
def _decay_of_heads(compute, q, k, v, beta, alpha, *rest):
    return compute(q, k, v, beta, np.broadcast_to(alpha.mean(-1, keepdims=True), alpha.shape), *rest)
