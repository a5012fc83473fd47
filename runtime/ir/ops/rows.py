"""Ops along the last axis: norms, softmax, sums, scans, selection."""

import numpy as np

from ..dtypes import DType
from ..tensor import Tensor
from .elementwise import sigmoid
from .op import Op, OpKind, Spec, broadcast_shapes, register, require, require_dtype

F32 = DType.F32


def _same(name: str):
    def infer(x: Tensor, **_attrs: float) -> tuple[Spec]:
        require_dtype(name, x, F32)
        return (Spec(x.shape),)

    return infer


def _rms_norm(x: np.ndarray, eps: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + eps); Zhang & Sennrich, 2019."""
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)


def _l2_norm(x: np.ndarray, eps: float, eps_inside: bool) -> np.ndarray:
    """eps_inside: x / sqrt(sum(x^2) + eps), as the delta net wants it; else x / max(sqrt(sum(x^2)), eps), ggml's."""
    x = x.astype(np.float64)
    total = np.sum(x * x, -1, keepdims=True)
    return x / (np.sqrt(total + eps) if eps_inside else np.maximum(np.sqrt(total), eps))


def _softmax_infer(x: Tensor, mask: Tensor | None = None, *, scale: float) -> tuple[Spec]:
    """softmax(scale * x + mask); mask broadcasts onto x. A row masked everywhere gives 0."""
    require_dtype("softmax", x, F32)
    if mask is not None:
        require_dtype("softmax", mask, F32)
        wide = broadcast_shapes("softmax", x.shape, mask.shape)
        require(wide == x.shape, "softmax", f"mask {mask.shape} is larger than x {x.shape}")
    return (Spec(x.shape),)


def _softmax(x: np.ndarray, mask: np.ndarray | None = None, *, scale: float) -> tuple[np.ndarray]:
    z = x.astype(np.float64) * scale + (0 if mask is None else mask)
    top = np.max(z, -1, keepdims=True, initial=-np.inf)
    e = np.exp(z - np.where(np.isneginf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    return (np.divide(e, total, out=np.zeros_like(e), where=total != 0),)


def _sum_rows(x: Tensor) -> tuple[Spec]:
    require_dtype("sum_rows", x, F32)
    return (Spec((*x.shape[:-1], 1)),)


def _top_k_infer(x: Tensor, k: int) -> tuple[Spec]:
    """Ids of the k largest of each row, largest first; of equals the lower id first. NaN is the largest."""
    require_dtype("top_k", x, F32)
    require(0 < k <= x.shape[-1], "top_k", f"k {k} of rows of {x.shape[-1]}")
    return (Spec((*x.shape[:-1], k), DType.I32),)


def _top_k(x: np.ndarray, k: int) -> tuple[np.ndarray]:
    nan = np.isnan(x)
    order = np.lexsort((-np.where(nan, 0, x), ~nan))  # stable
    return (order[..., :k].astype(np.int32),)


def _tri(x: np.ndarray, lower: bool, diagonal: bool) -> tuple[np.ndarray]:
    keep = np.tril(np.ones(x.shape[-2:], bool), 0 if diagonal else -1)
    return (np.where(keep if lower else np.swapaxes(keep, -1, -2), x, 0),)


def _tri_infer(x: Tensor, lower: bool, diagonal: bool) -> tuple[Spec]:
    """The lower (or upper) triangle of the last two, equally long axes, with or without the diagonal; rest 0."""
    require_dtype("tri", x, F32)
    require(x.ndim >= 2 and x.shape[-1] == x.shape[-2], "tri", f"no square matrix: {x.shape}")
    return (Spec(x.shape),)


def _causal_mask_infer(pos: Tensor, n_kv: int, *, window: int = 0) -> tuple[Spec]:
    """pos [B, T] -> [B, 1, T, n_kv]: 0 where a key is seen, else -inf; a row of pos < 0 is -inf throughout.

    Row s is of the last position up to pos that is s modulo n_kv, which is not seen where it is negative. window:
    where it is not 0 only the last so many positions are seen, those > pos - window.
    """
    require_dtype("causal_mask", pos, DType.I32)
    require(pos.ndim == 2, "causal_mask", f"pos {pos.shape}, expected two axes")
    return (Spec((pos.shape[0], 1, pos.shape[1], n_kv)),)


def _causal_mask(pos: np.ndarray, n_kv: int, window: int = 0) -> tuple[np.ndarray]:
    last = pos[:, None, :, None]
    distance = (last - np.arange(n_kv)) % n_kv
    seen = (distance <= last) & (distance < window) if window else distance <= last
    return (np.where(seen, 0, -np.inf),)


def _valid_mask_infer(n_valid: Tensor, n_tokens: int) -> tuple[Spec]:
    """n_valid [B] -> [B, n_tokens]: 1 for the first n_valid tokens of a sequence, 0 for its padding."""
    require_dtype("valid_mask", n_valid, DType.I32)
    require(n_valid.ndim == 1, "valid_mask", f"n_valid {n_valid.shape}, expected one axis")
    return (Spec((n_valid.shape[0], n_tokens)),)


def _valid_mask(n_valid: np.ndarray, n_tokens: int) -> tuple[np.ndarray]:
    return ((np.arange(n_tokens) < n_valid[:, None]).astype(np.float32),)


register(Op("valid_mask", _valid_mask_infer, _valid_mask))
register(Op("rms_norm", _same("rms_norm"), lambda x, eps: (_rms_norm(x, eps),)))
register(Op("l2_norm", _same("l2_norm"), lambda x, eps, eps_inside: (_l2_norm(x, eps, eps_inside),)))
register(Op("softmax", _softmax_infer, _softmax))
register(Op("sum_rows", _sum_rows, lambda x: (x.sum(-1, keepdims=True, dtype=np.float64),)))
register(Op("cumsum", _same("cumsum"), lambda x: (np.cumsum(x, -1, dtype=np.float64),)))
register(Op("top_k", _top_k_infer, _top_k))
register(Op("tri", _tri_infer, _tri))
register(Op("causal_mask", _causal_mask_infer, _causal_mask))


def _rms_norm_scale_infer(x: Tensor, w: Tensor, eps: float) -> tuple[Spec]:
    require_dtype("rms_norm_scale", x, F32)
    require(w.shape == x.shape[-1:], "rms_norm_scale", f"rows of {x.shape[-1]}, weight {w.shape}")
    return (Spec(x.shape),)


register(
    Op(
        "rms_norm_scale",
        _rms_norm_scale_infer,
        lambda x, w, eps: (_rms_norm(x, eps) * w,),
        lambda g, x, w, eps: (g.mul(g.rms_norm(x, eps), w),),
        OpKind.FUSED,
    )
)


def _layer_norm_infer(x: Tensor, w: Tensor, bias: Tensor, eps: float) -> tuple[Spec]:
    """w * (x - mean(x)) / sqrt(var(x) + eps) + bias; Ba, Kiros & Hinton, 2016. w, bias: a row."""
    require(w.shape == bias.shape, "layer_norm", f"weight {w.shape}, bias {bias.shape}")
    return _rms_norm_scale_infer(x, w, eps)


def _layer_norm(x: np.ndarray, w: np.ndarray, bias: np.ndarray, eps: float) -> tuple[np.ndarray]:
    return (_rms_norm(x - x.mean(-1, keepdims=True, dtype=np.float64), eps) * w + bias,)


def _layer_norm_parts(g, x: Tensor, w: Tensor, bias: Tensor, eps: float) -> tuple[Tensor]:
    mean = g.scale(g.sum_rows(x), 1 / x.shape[-1])
    return (g.add(g.rms_norm_scale(g.sub(x, mean), w, eps), bias),)


register(Op("layer_norm", _layer_norm_infer, _layer_norm, _layer_norm_parts, OpKind.FUSED))


def _gated_norm_infer(x: Tensor, w: Tensor, gate: Tensor, eps: float) -> tuple[Spec]:
    """rms_norm(x) * w * silu(gate): the delta net's output norm."""
    require(gate.shape == x.shape, "gated_norm", f"x {x.shape}, gate {gate.shape}")
    return _rms_norm_scale_infer(x, w, eps)


def _gated_norm(x: np.ndarray, w: np.ndarray, gate: np.ndarray, eps: float) -> tuple[np.ndarray]:
    z = gate.astype(np.float64)
    return (_rms_norm(x, eps) * w * z * sigmoid(z),)


register(
    Op(
        "gated_norm",
        _gated_norm_infer,
        _gated_norm,
        lambda g, x, w, gate, eps: (g.mul(g.mul(g.rms_norm(x, eps), w), g.silu(gate)),),
        OpKind.FUSED,
    )
)
