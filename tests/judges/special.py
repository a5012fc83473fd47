"""Mutants of single ops: the mistakes that their definitions invite."""

from collections.abc import Callable
from math import erf

import numpy as np
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Node

from .judge import Array
from .mutants import Compute, Mutant, Unfit

MUTANTS: dict[str, list[Mutant]] = {}
erfs = np.vectorize(erf, otypes=[np.float64])


def _wrong(name: str, *ops: str) -> Callable:
    """Registers f(compute, *inputs, **attrs) as a mutant of the ops."""

    def register(f: Callable) -> Callable:
        for op in ops:
            made = Mutant(name, lambda compute, _node: lambda *inputs, **attrs: f(compute, *inputs, **attrs))
            MUTANTS.setdefault(op, []).append(made)
        return f

    return register


def _require(fits: bool) -> None:
    if not fits:
        raise Unfit


def _cut_bits(compute: Compute, node: Node) -> Compute:
    """Rounds toward zero."""
    lost = {DType.F16: 13, DType.BF16: 16}.get(node.outputs[0].dtype)
    _require(lost is not None)

    def run(*inputs, **attrs):
        bits = np.ascontiguousarray(compute(*inputs, **attrs)[0], np.float32).view(np.uint32)
        return ((bits >> lost << lost).view(np.float32),)

    return run


for _op in ("cast", "cpy"):
    MUTANTS[_op] = [Mutant("rounded toward zero", _cut_bits)]


@_wrong("b before a", "concat")
def _b_first(compute, a, b, axis):
    return compute(b, a, axis=axis)


@_wrong("each number repeated, not the whole", "repeat")
def _each_repeated(_compute, x, shape):
    for axis, n in enumerate(shape):
        x = np.repeat(x, n // x.shape[axis], axis)
    return (x,)


@_wrong("filled with the edge", "pad")
def _edge(_compute, x, before, after):
    _require(x.size > 0)
    return (np.pad(x, list(zip(before, after, strict=True)), mode="edge"),)


@_wrong("before and after swapped", "pad")
def _after_first(compute, x, before, after):
    return compute(x, before=after, after=before)


@_wrong("ids wrapped", "get_rows")
def _wrapped_rows(compute, table, ids):
    return compute(table, ids % table.shape[-2])


@_wrong("ids clamped, none dropped", "set_rows")
def _none_dropped(compute, dst, ids, src):
    return compute(dst, np.clip(ids, 0, len(dst) - 1), src)


@_wrong("the first of equal ids counts", "set_rows")
def _first_counts(compute, dst, ids, src):
    return compute(dst, ids[::-1], src[::-1])


@_wrong("by erf", "gelu")
def _by_erf(_compute, x):
    return (0.5 * x * (1 + erfs(x / np.sqrt(2))),)


@_wrong("a kink", "softplus")
def _kink(_compute, x):
    return (np.maximum(x, 0),)


@_wrong("leaky", "relu")
def _leaky(_compute, x):
    return (np.maximum(x, 0.01 * x),)


@_wrong("bias before factor", "scale")
def _bias_first(_compute, x, factor, bias):
    return ((x + np.float32(bias)) * np.float32(factor),)


@_wrong("by sign", "select")
def _by_sign(compute, which, a, b, decision):
    return compute(np.maximum(which, 0), a, b, decision=decision)


@_wrong("mean of one less", "rms_norm", "rms_norm_scale", "gated_norm")
def _mean_of_less(compute, x, *rest, eps):
    _require(x.shape[-1] > 1)
    share = np.sqrt(x.shape[-1] / (x.shape[-1] - 1))
    return (compute(x * share, *rest, eps=eps)[0] / share,)


@_wrong("the mean taken off first", "rms_norm", "rms_norm_scale", "gated_norm", "l2_norm")
def _centred(compute, x, *rest, **attrs):
    return compute(x - x.mean(-1, keepdims=True), *rest, **attrs)


@_wrong("eps outside of the root", "rms_norm", "rms_norm_scale", "gated_norm")
def _eps_outside(compute, x, *rest, eps):
    mean = np.mean(np.square(x, dtype=np.float64), -1, keepdims=True)
    return (compute(x, *rest, eps=eps)[0] * np.sqrt(mean + eps) / (np.sqrt(mean) + eps),)


@_wrong("mask scaled too", "softmax")
def _mask_scaled(compute, x, *mask, scale):
    return compute(x, *(m * np.float32(scale) for m in mask), scale=scale)


@_wrong("of a masked row all alike", "softmax")
def _masked_alike(compute, x, *mask, scale):
    (p,) = compute(x, *mask, scale=scale)
    return (np.where(p.sum(-1, keepdims=True) == 0, 1 / p.shape[-1], p),)


@_wrong("along the axis before", "softmax", "rms_norm", "l2_norm", "cumsum")
def _other_axis(compute, x, *none, **attrs):
    _require(not none and x.ndim > 1)
    return (np.swapaxes(compute(np.swapaxes(x, -1, -2), **attrs)[0], -1, -2),)


@_wrong("the mean", "sum_rows")
def _mean(compute, x):
    return (compute(x)[0] / x.shape[-1],)


@_wrong("without the number itself", "cumsum")
def _exclusive(compute, x):
    return (compute(x)[0] - x,)


@_wrong("from the end", "cumsum")
def _from_the_end(compute, x):
    return (np.flip(compute(np.flip(x, -1))[0], -1),)


@_wrong("of equals the higher id first", "top_k", "route")
def _higher_first(compute, x, k, **attrs):
    _require(not attrs)
    ids, *weights = compute(np.flip(x, -1), k=k)
    return x.shape[-1] - 1 - ids, *weights


@_wrong("NaN counts as smallest", "top_k", "route")
def _nan_last(compute, x, *bias, **attrs):
    return compute(np.where(np.isnan(x), np.float32(-np.inf), x), *bias, **attrs)


@_wrong("one less found", "top_k", "route")
def _one_less(compute, x, *bias, k, **attrs):
    _require(k > 1)
    return tuple(np.concatenate([y, y[..., -1:]], -1) for y in compute(x, *bias, k=k - 1, **attrs))


@_wrong("weights not renormalised", "route")
def _not_renormalised(compute, *inputs, normalise=True, **attrs):
    return compute(*inputs, normalise=not normalise, **attrs)


@_wrong("the other score", "route", "moe_ffn")
def _other_score(compute, *inputs, score="softmax", **attrs):
    return compute(*inputs, score="sigmoid" if score == "softmax" else "softmax", **attrs)


@_wrong("a bias that weighs", "route")
def _weighing_bias(compute, logits, *bias, **attrs):
    _require(len(bias) > 0)
    ids, weights = compute(logits, *bias, **attrs)
    return ids, weights + bias[0][ids]


@_wrong("groups left out", "route", "moe_ffn")
def _without_groups(compute, *inputs, n_groups=1, n_groups_used=1, **attrs):
    _require(n_groups > 1)
    return compute(*inputs, **attrs)


@_wrong("another activation", "experts_gate_up", "moe_ffn")
def _other_glu(compute, *inputs, activation="silu", **attrs):
    return compute(*inputs, activation="gelu" if activation == "silu" else "silu", **attrs)


@_wrong("heads by remainder", "mul_mat")
def _heads_by_remainder(compute, w, x):
    w = np.asarray(w)
    _require(w.ndim > 2)
    return compute(np.tile(w, (x.shape[-3] // w.shape[-3], 1, 1)), x)


@_wrong("ids wrapped", "mul_mat_id")
def _wrapped_experts(compute, w, x, ids):
    return compute(w, x, ids % len(np.asarray(w)))


@_wrong("ids wrapped", "experts_gate_up")
def _wrapped_gate_up(compute, x, gate, up, ids, *more, **attrs):
    return compute(x, gate, up, ids % gate.shape[0], *more, **attrs)


@_wrong("ids wrapped", "experts_down")
def _wrapped_down(compute, hidden, down, ids, *rest, **attrs):
    return compute(hidden, down, ids % down.shape[0], *rest, **attrs)


@_wrong("a diagonal of ones", "solve_tri")
def _unit_diagonal(compute, a, b):
    return compute(np.where(np.eye(a.shape[-1], dtype=bool), np.float32(1), a), b)


@_wrong("the upper triangle", "solve_tri")
def _upper(compute, a, b):
    return compute(np.swapaxes(a, -1, -2), b)


@_wrong("positions wrapped", "rope")
def _wrapped_positions(compute, x, pos, table, **attrs):
    return compute(x, pos % len(table), table, **attrs)


@_wrong("sines negated", "rope")
def _turned_back(compute, x, pos, table, **attrs):
    half = table.shape[1] // 2
    return compute(x, pos, np.concatenate([table[:, :half], -table[:, half:]], 1), **attrs)


@_wrong("neighbours as pairs", "rope")
def _neighbours(compute, x, pos, table, **attrs):
    n = table.shape[1]
    order = [*range(0, n, 2), *range(1, n, 2), *range(n, x.shape[-1])]
    out = np.empty(x.shape)
    out[..., order] = compute(x[..., order], pos, table, **attrs)[0]
    return (out,)


@_wrong("the last dims turned", "rope")
def _last_dims(compute, x, pos, table, **attrs):
    n = x.shape[-1] - table.shape[1]
    return (np.roll(compute(np.roll(x, -n, -1), pos, table, **attrs)[0], n, -1),)


@_wrong("a window of one key more", "attention", "causal_mask")
def _wider_window(compute, *inputs, window=0, **attrs):
    if not window:
        raise Unfit
    return compute(*inputs, window=window + 1, **attrs)


@_wrong("a cap that cuts", "attention", "attention_split")
def _cutting_cap(compute, *inputs, cap=0.0, **attrs):
    if not cap:
        raise Unfit
    return compute(*inputs, cap=1e9, **attrs)


@_wrong("sinks left out", "attention")
def _without_sinks(compute, *inputs, extra=(), **attrs):
    if "sinks" not in extra:
        raise Unfit
    return compute(*inputs[:-1], extra=extra[:-1], **attrs)


@_wrong("heads by remainder", "attention", "attention_split")
def _attention_by_remainder(compute, q, k, v, *rest, **attrs):
    n_heads, dim = q.shape[2:]
    n_keys = k.shape[2] // dim
    return compute(q, *(np.tile(c, n_heads // n_keys) for c in (k, v)), *rest, **attrs)


@_wrong("the tops left out", "attention_combine")
def _without_tops(compute, parts, *gate, **attrs):
    parts = parts.copy()
    parts[..., -2] = np.where(np.isfinite(parts[..., -2]), 0, parts[..., -2])
    return compute(parts, *gate, **attrs)


@_wrong("outside slots written", "causal_conv")
def _conv_written(compute, x, w, state, slots, *rest, **attrs):
    return compute(x, w, state, np.clip(slots, 0, len(state) - 1), *rest, **attrs)


@_wrong("silu and none swapped", "causal_conv")
def _other_activation(compute, *inputs, linear=False, **attrs):
    return compute(*inputs, linear=not linear, **attrs)


@_wrong("outside slots written", "gated_delta_net", "gated_delta_norm")
def _net_written(compute, *inputs, **attrs):
    slots = np.clip(inputs[8], 0, len(inputs[7]) - 1)
    return compute(*inputs[:8], slots, *inputs[9:], **attrs)


@_wrong("heads by remainder", "gated_delta_net", "gated_delta_norm")
def _net_by_remainder(compute, q, k, v, beta, alpha, *rest, **attrs):
    n_heads, n_keys = v.shape[2], q.shape[2]
    q, k = (np.tile(x, (1, 1, n_heads // n_keys, 1)) for x in (q, k))
    beta, alpha = (x.reshape(*v.shape[:3], 1) for x in (beta, alpha))
    return compute(q, k, v, beta, alpha, *rest, **attrs)


@_wrong("the query as it is", "gated_delta_net")
def _long_query(compute, q, k, v, *rest, **attrs):
    out, state = compute(q, k, v, *rest, **attrs)
    length = np.sqrt(np.square(q, dtype=np.float64).sum(-1, keepdims=True))
    return out * np.repeat(length, v.shape[2] // q.shape[2], 2), state


@_wrong("the query not scaled", "gated_delta_net")
def _not_scaled(compute, *inputs, **attrs):
    out, state = compute(*inputs, **attrs)
    return out * np.sqrt(out.shape[-1]), state


@_wrong("the state the other way round", "gated_delta_net", "gated_delta_norm")
def _state_turned(compute, *inputs, **attrs):
    state, heads, dim = inputs[7], inputs[2].shape[2], inputs[2].shape[3]

    def turned(x: Array) -> Array:
        return x.reshape(len(state), heads, dim, dim).swapaxes(-1, -2).reshape(state.shape)

    out, after = compute(*inputs[:7], turned(state), *inputs[8:], **attrs)
    return out, turned(after)


@_wrong("the place instead of the id", "draw")
def _place(compute, logits, ids, settings, pos):
    (token,) = compute(logits, ids, settings, pos)
    return (np.argmax(ids == token, -1)[:, None],)


@_wrong("the seed without its position", "draw")
def _without_position(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings, pos * 0)


@_wrong("one candidate more", "draw")
def _one_more(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings + np.array([0, 0, 0, 1, 0], np.int32), pos)


@_wrong("one candidate less", "draw")
def _one_fewer(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings - np.array([0, 0, 0, 1, 0], np.int32), pos)


@_wrong("another seed", "draw")
def _next_seed(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings + np.array([0, 0, 0, 0, 1], np.int32), pos)


def _with_setting(name: str, column: int, value: float) -> None:
    @_wrong(name, "draw")
    def _set(compute, logits, ids, settings, pos):
        changed = settings.copy()
        changed[:, column] = np.array(value, np.float32).view(np.int32)
        return compute(logits, ids, changed, pos)


_with_setting("temperature of 1", 0, 1.0)
_with_setting("no top_p", 1, 1.0)
_with_setting("no min_p", 2, 0.0)


@_wrong("a token of any logit kept", "advance")
def _any_kept(compute, logits, *rest):
    return compute(np.zeros_like(logits), *rest)


@_wrong("rows of no sequence moved on too", "advance")
def _all_moved(compute, logits, token, ids, pos, *rest):
    return compute(logits, token, ids, np.maximum(pos, 0), *rest)
