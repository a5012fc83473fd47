"""Judges of drawing a token and of moving the step buffer on."""

import math
import struct

import numpy as np

from .judge import Array, Judge

WORD = 0xFFFFFFFF


def _draw(logits: Array, ids: Array, settings: Array, pos: Array) -> tuple[Array]:
    rows = zip(logits, ids.tolist(), settings.tolist(), pos.tolist(), strict=True)
    return (np.array([[_drawn(*row)] for row in rows]),)


def _drawn(logits: Array, candidates: list[int], settings: list[int], pos: list[int]) -> int:
    temp, top_p, min_p, top_k, seed = _plain(settings)
    candidates = candidates[:top_k] if top_k > 0 else candidates
    z = [float(logits[min(max(i, 0), len(logits) - 1)]) for i in candidates]
    if temp <= 0 or not math.isfinite(z[0]):
        return candidates[0]
    kept = _kept(z, top_p, min_p)
    shares = _shares([z[i] / temp for i in kept])
    return candidates[kept[_place(shares, _unit(seed, pos[0] & WORD))]]


def _plain(settings: list[int]) -> tuple[float, float, float, int, int]:
    """temperature, top_p and min_p are the bits of float32; then top_k and the seed."""
    return *struct.unpack("<3f", struct.pack("<3i", *settings[:3])), settings[3], settings[4] & WORD


def _shares(z: list[float]) -> list[float]:
    """softmax of logits, the first of which is the largest."""
    weights = [math.exp(x - z[0]) for x in z]
    return [w / sum(weights) for w in weights]


def _kept(z: list[float], top_p: float, min_p: float) -> list[int]:
    """Until their probabilities reach top_p, and of these who have min_p of the first one's. The first always stays."""
    shares = _shares(z)
    before, enough = [sum(shares[:i]) for i in range(len(z))], top_p if top_p < 1 else math.inf
    return [i for i, p in enumerate(shares) if i == 0 or (enough > before[i] and p >= min_p * shares[0])]


def _place(shares: list[float], unit: float) -> int:
    """The first place where the running sum passes unit; rounding may leave none."""
    return next((i for i in range(len(shares)) if sum(shares[: i + 1]) > unit), len(shares) - 1)


def margin(logits: Array, ids: Array, settings: Array, pos: Array) -> float:
    """How near the nearest of some draws is to being another: what a device's exp must not be off by."""
    rows = zip(logits, ids.tolist(), settings.tolist(), pos.tolist(), strict=True)
    return min((gap for row in rows for gap in _gaps(*row)), default=1.0)


def _gaps(logits: Array, candidates: list[int], settings: list[int], pos: list[int]) -> list[float]:
    temp, top_p, min_p, top_k, seed = _plain(settings)
    z = [float(logits[i]) for i in candidates[: top_k if top_k > 0 else None]]
    if temp <= 0 or not math.isfinite(z[0]):
        return []
    kept, shares = _kept(z, top_p, min_p), _shares(z)
    drawn, unit = _shares([z[i] / temp for i in kept]), _unit(seed, pos[0] & WORD)
    places = [abs(sum(drawn[:i]) - unit) for i in range(1, len(drawn))]
    ends = [abs(sum(shares[:i]) - top_p) for i in range(1, len(z)) if top_p < 1]
    return [*places, *ends, *(abs(p / shares[0] - min_p) for p in shares if min_p > 0)]


def _unit(seed: int, pos: int) -> float:
    """24 bits of PCG's hash of the hashed seed and the position, as a number in [0, 1)."""
    return (_pcg((_pcg(seed) + pos) & WORD) >> 8) / 2**24


def _pcg(number: int) -> int:
    """One step of PCG's generator with its RXS-M-XS output, 32 bits."""
    state = (number * 747796405 + 2891336453) & WORD
    word = (((state >> ((state >> 28) + 4)) ^ state) * 277803737) & WORD
    return (word >> 22) ^ word


def _advance(logits: Array, token: Array, *moved: Array, n_window_rows: int = 0) -> tuple[Array, ...]:
    ids, pos, rows, ring, *window_rows = (x.copy() for x in moved)
    for b in range(len(token)):
        at = int(pos[b, 0])
        if at >= 0:
            logit = logits[b, min(max(int(token[b, 0]), 0), logits.shape[1] - 1)]
            ring[b, at % ring.shape[1]] = token[b, 0] if math.isfinite(logit) else -1
            ids[b, 0] = token[b, 0]
            pos[b, 0], rows[b] = at + 1, rows[b] + 1
            for wrapped in window_rows:
                wrapped[b] += 1 if not n_window_rows else (at + 1) % n_window_rows - at % n_window_rows
    return ids, pos, rows, ring, *window_rows


def _mask_tokens(logits: Array, mask: Array) -> tuple[Array]:
    """By loops over the bits of each number, the lowest one first."""
    made = np.full(logits.shape, -np.inf)
    for row, token in np.ndindex(logits.shape):
        if (int(mask[row, token // 32]) & WORD) >> token % 32 & 1:
            made[row, token] = logits[row, token]
    return (made,)


JUDGES = {"draw": Judge(_draw), "advance": Judge(_advance), "mask_tokens": Judge(_mask_tokens)}
