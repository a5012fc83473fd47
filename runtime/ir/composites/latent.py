"""Inputs of latent attention (DeepSeek-V2, 2024): latents normed, queries and keys turned, a row of the cache each."""

import numpy as np

from ..graph import Graph
from ..ops import OPS
from ..ops.attention import rope_work
from ..ops.op import Op, OpKind, Out, Spec, Work, register, require
from ..tensor import Tensor


def latent_cache(
    g: Graph,
    q: Tensor,
    kv: Tensor,
    norm: Tensor,
    pos: Tensor,
    table: Tensor,
    rows: Tensor,
    cache: Tensor,
    eps: float,
    neighbours: bool = False,
) -> Tensor:
    """rope(q), and the cache's rows written: rms_norm of the first L of kv times norm, then rope of the others.

    q [B, T, H, r]; kv [B, T, L + r]; norm [L]; pos [B, T]; table as rope's; rows [B*T] of a cache [n, L + r], those
    outside of it are dropped. Returns [B, T, H, r].
    """
    return g.emit("latent_cache", q, kv, norm, pos, table, rows, cache, eps=eps, neighbours=neighbours)[0]


def _infer(q, kv, norm, pos, table, rows, cache, *, eps: float, neighbours: bool = False) -> tuple[Out, ...]:
    ok = q.shape[:2] == kv.shape[:2] == pos.shape and norm.shape == (kv.shape[2] - q.shape[3],)
    require(ok, "latent_cache", f"q {q.shape}, kv {kv.shape}, norm {norm.shape}, pos {pos.shape}")
    ok = cache.ndim == 2 and cache.shape[1] == kv.shape[2] and rows.shape == (kv.shape[0] * kv.shape[1],)
    require(ok, "latent_cache", f"kv {kv.shape}, rows {rows.shape}, cache {cache.shape}")
    OPS["rope"].infer(q, pos, table)
    return Spec(q.shape), cache


def _compute(q, kv, norm, pos, table, rows, cache, eps: float, neighbours: bool = False) -> tuple[np.ndarray, ...]:
    n_latent, turn = len(norm), OPS["rope"].compute
    latent = OPS["rms_norm_scale"].compute(kv[..., :n_latent], norm, eps=eps)[0]
    key = turn(kv[..., None, n_latent:], pos, table, neighbours)[0]
    row = np.concatenate([latent, key[:, :, 0]], -1).reshape(len(rows), cache.shape[-1])
    return turn(q, pos, table, neighbours)[0], *OPS["set_rows"].compute(cache, rows, row)


def _decompose(
    g: Graph, q, kv, norm, pos, table, rows, cache, eps: float, neighbours: bool = False
) -> tuple[Tensor, ...]:
    n_latent, n = norm.shape[0], kv.shape[2]
    latent = g.rms_norm_scale(kv.slice(2, 0, n_latent), norm, eps)
    key = g.rope(kv.slice(2, n_latent, n).unsqueeze(2), pos, table, neighbours)
    row = g.concat(latent, key.select(2, 0), 2)
    return g.rope(q, pos, table, neighbours), g.set_rows(cache, rows, g.reshape(row, *rows.shape, n))


def _work(q, kv, _norm, pos, table, *_places: Tensor, **_attrs: object) -> Work:
    """The cache is only written, a row a token."""
    (n_angles,) = rope_work(q, pos, table).reads.values()
    return Work({4: n_angles, 6: 0}, {1: kv.layout.n_elements})


register(Op("latent_cache", _infer, _compute, _decompose, OpKind.FUSED, work=_work))
