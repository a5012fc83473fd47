"""Choosing the next token on the device, and moving a step buffer on to it."""

import numpy as np

from ..dtypes import DType
from ..tensor import Tensor
from .op import Op, Spec, Work, register, require, require_dtype

N_SETTINGS = 5  # temperature, top_p, min_p as the bits of float32; top_k; seed


def settings_row(temp: float, top_p: float, min_p: float, top_k: int, seed: int) -> np.ndarray:
    """One row of `draw`'s settings, int32 [N_SETTINGS]. The seed is taken modulo 2^32."""
    bits = np.array([temp, top_p, min_p], np.float32).view(np.int32)
    return np.concatenate([bits, np.array([int(top_k) & 0xFFFFFFFF, int(seed) & 0xFFFFFFFF], np.uint32).view(np.int32)])


def _draw_infer(logits: Tensor, ids: Tensor, settings: Tensor, pos: Tensor) -> tuple[Spec]:
    """logits [B, V], ids [B, K] of the largest, largest first, settings [B, N_SETTINGS], pos [B, 1] -> token [B, 1].

    Of the first top_k candidates (all K for 0 or less) those stay that top_p (1: all) and min_p leave, in llama.cpp's
    order; one is drawn by their logits over the temperature. temperature <= 0, or a largest that is not finite: the
    first. The random number is a hash of seed and position, so that a step needs nothing from the host.
    """
    for t in (ids, settings, pos):
        require_dtype("draw", t, DType.I32)
    n_seqs = logits.shape[0]
    ok = ids.ndim == 2 and ids.shape[0] == n_seqs and 0 not in (ids.shape[1], logits.shape[1])
    ok = ok and settings.shape == (n_seqs, N_SETTINGS) and pos.shape == (n_seqs, 1)
    require(ok, "draw", f"logits {logits.shape}, ids {ids.shape}, settings {settings.shape}, pos {pos.shape}")
    return (Spec((n_seqs, 1), DType.I32),)


def random_unit(seed: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """A number in [0, 1) with 24 bits: two rounds of PCG's output hash (O'Neill, 2014; Jarzynski & Olano, 2020)."""
    return (_pcg(_pcg(seed.astype(np.uint32)) + pos.astype(np.uint32)) >> np.uint32(8)) * np.float32(2**-24)


def _pcg(v: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = v * np.uint32(747796405) + np.uint32(2891336453)
        word = ((state >> ((state >> np.uint32(28)) + np.uint32(4))) ^ state) * np.uint32(277803737)
    return (word >> np.uint32(22)) ^ word


def _draw(logits: np.ndarray, ids: np.ndarray, settings: np.ndarray, pos: np.ndarray) -> tuple[np.ndarray]:
    temp, top_p, min_p = np.ascontiguousarray(settings[:, :3]).view(np.float32).T
    unit = random_unit(np.ascontiguousarray(settings[:, 4]).view(np.uint32), pos[:, 0])
    z = np.take_along_axis(logits, np.clip(ids, 0, logits.shape[1] - 1), 1).astype(np.float64)
    token = np.empty((len(ids), 1), np.int32)
    for b in range(len(ids)):
        k = min(settings[b, 3], len(ids[b])) if settings[b, 3] > 0 else len(ids[b])
        p = np.exp(z[b, :k] - z[b, 0])
        before = np.cumsum(p) - p
        kept = (p >= min_p[b]) & ((before < top_p[b] * p.sum()) | (top_p[b] >= 1))
        kept[0] = True
        weight = np.where(kept, np.exp((z[b, :k] - z[b, 0]) / temp[b]), 0) if temp[b] > 0 else np.eye(1, k)[0]
        past = np.cumsum(weight) > unit[b] * weight.sum()
        token[b, 0] = ids[b, int(np.argmax(past))]
    return (token,)


def _advance_infer(
    logits: Tensor,
    token: Tensor,
    ids: Tensor,
    pos: Tensor,
    rows: Tensor,
    ring: Tensor,
    *window_rows: Tensor,
    n_window_rows: int = 0,
) -> tuple[Tensor, ...]:
    """Move a step buffer on: ring[b, pos % R] = token, ids = token, pos and rows + 1; where pos < 0 nothing changes.

    logits [B, V]; token, ids, pos [B, 1]; rows [B]; ring [B, R], which gets -1 for a token whose logit is not finite.
    There may be window_rows [B], which move on as rows do, but for n_window_rows back where that divides pos + 1.
    """
    n_seqs = token.shape[0]
    ok = token.shape == ids.shape == pos.shape == (n_seqs, 1) and rows.shape == (n_seqs,)
    require(ok, "advance", f"token {token.shape}, ids {ids.shape}, pos {pos.shape}, rows {rows.shape}")
    ok = logits.ndim == 2 and logits.shape[0] == ring.shape[0] == n_seqs and 0 not in (logits.shape[1], ring.shape[1])
    require(ok, "advance", f"token {token.shape}, logits {logits.shape}, ring {ring.shape}")
    shapes = [t.shape for t in window_rows]
    ok = n_window_rows >= 0 and (shapes == [rows.shape] or not (shapes or n_window_rows))
    require(ok, "advance", f"window_rows {shapes}, rows {rows.shape}, n_window_rows {n_window_rows}")
    return ids, pos, rows, ring, *window_rows


def _advance(logits, token, ids, pos, rows, ring, *window_rows, n_window_rows: int = 0) -> tuple[np.ndarray, ...]:
    live = pos[:, 0] >= 0
    ring = ring.copy()
    chosen = np.take_along_axis(logits, np.clip(token, 0, logits.shape[1] - 1), 1)
    ring[live, pos[live, 0] % ring.shape[1]] = np.where(np.isfinite(chosen), token, -1)[live, 0]
    begins = live & ((pos[:, 0] + 1) % max(n_window_rows, 1) == 0)
    moved = (r + live - n_window_rows * begins for r in window_rows)
    return np.where(live[:, None], token, ids), pos + live[:, None], rows + live, ring, *moved


register(Op("draw", _draw_infer, _draw))

WORD = 32  # tokens of one number of a mask


def n_words(n_vocab: int) -> int:
    """Numbers of a mask over a vocabulary."""
    return -(-n_vocab // WORD)


def _mask_tokens_infer(logits: Tensor, mask: Tensor) -> tuple[Spec]:
    """logits [B, V] where the token's bit is set in mask [B, ceil(V / 32)], -inf elsewhere; token 0 is the lowest bit
    of the first number, as grammar engines lay masks out."""
    require_dtype("mask_tokens", mask, DType.I32)
    ok = logits.ndim == 2 and mask.shape == (logits.shape[0], n_words(logits.shape[1]))
    require(ok, "mask_tokens", f"logits {logits.shape}, mask {mask.shape}")
    return (Spec(logits.shape),)


def masked(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """logits [..., V] by the bits of mask [..., ceil(V / 32)], see mask_tokens."""
    bits = np.unpackbits(np.ascontiguousarray(mask, "<i4").view(np.uint8), axis=-1, bitorder="little")
    return np.where(bits[..., : logits.shape[-1]] != 0, logits, np.float32(-np.inf))


def _mask_tokens(logits: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray]:
    return (masked(logits, mask),)


register(Op("mask_tokens", _mask_tokens_infer, _mask_tokens))


def _advance_work(_logits: Tensor, token: Tensor, *_buffer: Tensor, **_attrs: object) -> Work:
    return Work(reads={0: token.layout.n_elements})


register(Op("advance", _advance_infer, _advance, work=_advance_work))
