"""Mutants of single ops: the mistakes that their definitions invite."""

from math import erf

import numpy as np
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.ops import OPS

from . import special_layers as _layers  # noqa: F401  whose mutants are registered too
from .mutants import Compute, Mutant
from .wrong import MUTANTS, require_fit, wrong

erfs = np.vectorize(erf, otypes=[np.float64])


def _cut_bits(compute: Compute, node: Node) -> Compute:
    """Rounds toward zero."""
    lost = {DType.F16: 13, DType.BF16: 16}.get(node.outputs[0].dtype)
    require_fit(lost is not None)

    def run(*inputs, **attrs):
        bits = np.ascontiguousarray(compute(*inputs, **attrs)[0], np.float32).view(np.uint32)
        return ((bits >> lost << lost).view(np.float32),)

    return run


for _op in ("cast", "cpy"):
    MUTANTS[_op] = [Mutant("rounded toward zero", _cut_bits)]


@wrong("b before a", "concat")
def _b_first(compute, a, b, axis):
    return compute(b, a, axis=axis)


@wrong("each number repeated, not the whole", "repeat")
def _each_repeated(_compute, x, shape):
    for axis, n in enumerate(shape):
        x = np.repeat(x, n // x.shape[axis], axis)
    return (x,)


@wrong("filled with the edge", "pad")
def _edge(_compute, x, before, after):
    require_fit(x.size > 0)
    return (np.pad(x, list(zip(before, after, strict=True)), mode="edge"),)


@wrong("before and after swapped", "pad")
def _after_first(compute, x, before, after):
    return compute(x, before=after, after=before)


@wrong("ids wrapped", "get_rows")
def _wrapped_rows(compute, table, ids):
    return compute(table, ids % table.shape[-2])


@wrong("ids clamped to what is here", "get_rows_within")
def _clamped_within(compute, into, table, ids, first, n_rows):
    return compute(into, table, np.clip(ids, first, first + table.shape[-2] - 1), first=first, n_rows=n_rows)


@wrong("all others become zeros", "get_rows_within")
def _others_zeroed(compute, into, *rest, **place):
    return compute(np.zeros_like(into), *rest, **place)


@wrong("ids clamped, none dropped", "set_rows")
def _none_dropped(compute, dst, ids, src):
    return compute(dst, np.clip(ids, 0, len(dst) - 1), src)


@wrong("the first of equal ids counts", "set_rows")
def _first_counts(compute, dst, ids, src):
    return compute(dst, ids[::-1], src[::-1])


@wrong("by erf", "gelu", "geglu")
def _by_erf(_compute, x, *up):
    return (0.5 * x * (1 + erfs(x / np.sqrt(2))) * (up[0] if up else 1),)


@wrong("by tanh", "gelu_erf")
def _by_tanh(_compute, x):
    return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),)


@wrong("a kink", "softplus")
def _kink(_compute, x):
    return (np.maximum(x, 0),)


@wrong("leaky", "relu")
def _leaky(_compute, x):
    return (np.maximum(x, 0.01 * x),)


@wrong("bias before factor", "scale")
def _bias_first(_compute, x, factor, bias):
    return ((x + np.float32(bias)) * np.float32(factor),)


@wrong("by sign", "select")
def _by_sign(compute, which, a, b, decision):
    return compute(np.maximum(which, 0), a, b, decision=decision)


@wrong("mean of one less", "rms_norm", "rms_norm_scale", "gated_norm", "rms_norm_add")
def _mean_of_less(compute, x, *rest, eps):
    require_fit(x.shape[-1] > 1)
    share = np.sqrt(x.shape[-1] / (x.shape[-1] - 1))
    return (compute(x * share, *rest, eps=eps)[0] / share,)


@wrong("the mean taken off first", "rms_norm", "rms_norm_scale", "gated_norm", "l2_norm", "rms_norm_add")
def _centred(compute, x, *rest, **attrs):
    return compute(x - x.mean(-1, keepdims=True), *rest, **attrs)


@wrong("eps outside of the root", "rms_norm", "rms_norm_scale", "gated_norm")
def _eps_outside(compute, x, *rest, eps):
    mean = np.mean(np.square(x, dtype=np.float64), -1, keepdims=True)
    return (compute(x, *rest, eps=eps)[0] * np.sqrt(mean + eps) / (np.sqrt(mean) + eps),)


@wrong("mask scaled too", "softmax")
def _mask_scaled(compute, x, *mask, scale):
    return compute(x, *(m * np.float32(scale) for m in mask), scale=scale)


@wrong("of a masked row all alike", "softmax")
def _masked_alike(compute, x, *mask, scale):
    (p,) = compute(x, *mask, scale=scale)
    return (np.where(p.sum(-1, keepdims=True) == 0, 1 / p.shape[-1], p),)


@wrong("along the axis before", "softmax", "rms_norm", "l2_norm", "cumsum")
def _other_axis(compute, x, *none, **attrs):
    require_fit(not none and x.ndim > 1)
    return (np.swapaxes(compute(np.swapaxes(x, -1, -2), **attrs)[0], -1, -2),)


@wrong("the mean", "sum_rows")
def _mean(compute, x):
    return (compute(x)[0] / x.shape[-1],)


@wrong("without the number itself", "cumsum")
def _exclusive(compute, x):
    return (compute(x)[0] - x,)


@wrong("from the end", "cumsum")
def _from_the_end(compute, x):
    return (np.flip(compute(np.flip(x, -1))[0], -1),)


@wrong("of equals the higher id first", "top_k", "route")
def _higher_first(compute, x, k, **attrs):
    require_fit(not attrs)
    ids, *weights = compute(np.flip(x, -1), k=k)
    return x.shape[-1] - 1 - ids, *weights


@wrong("NaN counts as smallest", "top_k", "route", "top_k_parts", "top_k_among")
def _nan_last(compute, x, *bias, **attrs):
    return compute(np.where(np.isnan(x), np.float32(-np.inf), x), *bias, **attrs)


@wrong("one less found", "top_k", "route")
def _one_less(compute, x, *bias, k, **attrs):
    require_fit(k > 1)
    return tuple(np.concatenate([y, y[..., -1:]], -1) for y in compute(x, *bias, k=k - 1, **attrs))


@wrong("part by part", "top_k_parts")
def _part_by_part(compute, x, *, k, n_part):
    require_fit(k > 1 and n_part < x.shape[-1])
    (ids,) = compute(x, k=k, n_part=n_part)
    return (np.swapaxes(ids.reshape(*ids.shape[:-1], k, -1), -1, -2).reshape(ids.shape),)


@wrong("ids within parts", "top_k_parts")
def _within_parts(compute, x, *, k, n_part):
    return (compute(x, k=k, n_part=n_part)[0] % n_part,)


@wrong("of equals the first named first", "top_k_among")
def _first_named(_compute, x, ids, *, k):
    return (np.take_along_axis(ids, OPS["top_k"].compute(np.take_along_axis(x, ids, -1), k=k)[0], -1),)


@wrong("places among the named", "top_k_among")
def _places(_compute, x, ids, *, k):
    return OPS["top_k"].compute(np.take_along_axis(x, ids, -1), k=k)


@wrong("heads by remainder", "mul_mat")
def _heads_by_remainder(compute, w, x):
    w = np.asarray(w)
    require_fit(w.ndim > 2)
    return compute(np.tile(w, (x.shape[-3] // w.shape[-3], 1, 1)), x)


@wrong("a diagonal of ones", "solve_tri")
def _unit_diagonal(compute, a, b):
    return compute(np.where(np.eye(a.shape[-1], dtype=bool), np.float32(1), a), b)


@wrong("the upper triangle", "solve_tri")
def _upper(compute, a, b):
    return compute(np.swapaxes(a, -1, -2), b)


@wrong("the place instead of the id", "draw")
def _place(compute, logits, ids, settings, pos):
    (token,) = compute(logits, ids, settings, pos)
    return (np.argmax(ids == token, -1)[:, None],)


@wrong("the seed without its position", "draw")
def _without_position(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings, pos * 0)


@wrong("one candidate more", "draw")
def _one_more(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings + np.array([0, 0, 0, 1, 0], np.int32), pos)


@wrong("one candidate less", "draw")
def _one_fewer(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings - np.array([0, 0, 0, 1, 0], np.int32), pos)


@wrong("another seed", "draw")
def _next_seed(compute, logits, ids, settings, pos):
    return compute(logits, ids, settings + np.array([0, 0, 0, 0, 1], np.int32), pos)


def _with_setting(name: str, column: int, value: float) -> None:
    @wrong(name, "draw")
    def _set(compute, logits, ids, settings, pos):
        changed = settings.copy()
        changed[:, column] = np.array(value, np.float32).view(np.int32)
        return compute(logits, ids, changed, pos)


_with_setting("temperature of 1", 0, 1.0)
_with_setting("no top_p", 1, 1.0)
_with_setting("no min_p", 2, 0.0)


@wrong("a token of any logit kept", "advance")
def _any_kept(compute, logits, *rest):
    return compute(np.zeros_like(logits), *rest)


@wrong("rows of no sequence moved on too", "advance")
def _all_moved(compute, logits, token, ids, pos, *rest):
    return compute(logits, token, ids, np.maximum(pos, 0), *rest)
