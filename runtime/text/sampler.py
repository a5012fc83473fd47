"""Choosing the next token on the host: penalties, top-k, top-p, min-p, temperature, in llama.cpp's order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from ..errors import TextError, UsageError

Floats = NDArray[np.float64]
Ids = NDArray[np.intp]


@dataclass(frozen=True)
class SamplerSettings:
    """Defaults are llama.cpp's. Off: temp 0 (greedy), top_k 0, top_p 1, min_p 0, repeat_penalty 1, other penalties 0.

    repeat_last_n: tokens of the history that are penalised, -1 for all of them. logit_bias: what is added to the logits
    of some tokens, by their ids; those outside the vocabulary are left out.
    seed: None or -1 for another one each time.
    """

    temp: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        limit = 2.0**31 - 1
        _check("temp", self.temp, 0.0, 1e6)
        _check("top_k", self.top_k, -limit, limit, whole=True)
        _check("top_p", self.top_p, 0.0, 1.0)
        _check("min_p", self.min_p, 0.0, 1.0)
        _check("repeat_penalty", self.repeat_penalty, 1e-3, 1e3)
        _check("repeat_last_n", self.repeat_last_n, -1, limit, whole=True)
        _check("frequency_penalty", self.frequency_penalty, -1e3, 1e3)
        _check("presence_penalty", self.presence_penalty, -1e3, 1e3)
        if self.seed is not None:
            _check("seed", self.seed, -1, 2.0**64 - 1, whole=True)
        for token, bias in self.logit_bias:
            _check("logit_bias", token, 0, limit, whole=True)
            _check("logit_bias", bias, -1e6, 1e6)

    @property
    def penalises(self) -> bool:
        return (self.repeat_penalty, self.frequency_penalty, self.presence_penalty) != (1.0, 0.0, 0.0)


class Sampler:
    """Draws tokens; the same settings with a seed, logits and history give the same tokens again."""

    def __init__(self, settings: SamplerSettings | None = None) -> None:
        self.settings = settings or SamplerSettings()
        seed = None if self.settings.seed == -1 else self.settings.seed
        self._random = np.random.Generator(np.random.PCG64(seed))

    def sample(
        self, logits: NDArray[np.floating], history: Sequence[int] = (), mask: NDArray[np.int32] | None = None
    ) -> int:
        """The next token for `logits` [n_vocab] after the tokens `history`; TextError unless all logits are finite.

        mask [ceil(n_vocab / 32)]: a bit for each token that may come, the first in the lowest of the first number."""
        ids, weights = self.distribution(logits, history, mask)
        if len(ids) == 1:
            return int(ids[0])
        total = np.cumsum(weights)
        place = np.searchsorted(total, self._random.random() * total[-1], side="right")
        return int(ids[min(int(place), len(ids) - 1)])

    def distribution(
        self, logits: NDArray[np.floating], history: Sequence[int] = (), mask: NDArray[np.int32] | None = None
    ) -> tuple[Ids, Floats]:
        """Candidates, the likeliest first, and their probabilities (sum 1)."""
        _check_logits(logits)
        settings = self.settings
        if settings.logit_bias:
            logits = _biased(logits, settings.logit_bias)
        if settings.penalises:
            logits = _penalised(logits, history, settings)
        allowed = None if mask is None else _allowed(mask, logits.size)
        left = logits if allowed is None else logits[allowed]
        ids = np.array([np.argmax(left)], dtype=np.intp) if settings.temp == 0 else _top_k(left, settings.top_k)
        ids = ids if allowed is None else allowed[ids]
        if settings.temp == 0:
            return ids, np.ones(1)
        values = logits[ids].astype(np.float64)
        ids, values = _top_p_min_p(ids, values, settings)
        with np.errstate(over="ignore"):  # a temperature near 0 sends all but the likeliest to -inf, as it should
            return ids, _softmax((values - values[0]) / settings.temp)


def _check(name: str, value: float, low: float, high: float, whole: bool = False) -> None:
    kind = Integral if whole else Real  # numpy's numbers too
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        noun = "an integer" if whole else "a number"
        raise UsageError(f"{name}: {value!r:.60}, expected {noun} from {low:.12g} to {high:.12g}")


def _check_logits(logits: NDArray[np.floating]) -> None:
    if logits.ndim != 1 or not logits.size:
        raise TextError(f"logits: shape {logits.shape}, expected (n_vocab,)")
    finite = np.isfinite(logits)
    if not finite.all():
        first = int(np.argmin(finite))
        raise TextError(
            f"logits: {logits[first]} for token {first} ({int((~finite).sum())} of {logits.size} not finite)"
        )


def _biased(logits: NDArray[np.floating], biases: Sequence[tuple[int, float]]) -> NDArray[np.floating]:
    logits = logits.astype(np.float64)
    for token, bias in biases:
        if token < logits.size:
            logits[token] += bias
    return logits


def _allowed(mask: NDArray[np.int32], n_vocab: int) -> Ids:
    """Ids whose bit is set."""
    bits = np.unpackbits(np.ascontiguousarray(mask, "<i4").view(np.uint8), bitorder="little")
    ids = np.flatnonzero(bits[:n_vocab])
    if not ids.size:
        raise TextError(f"mask: none of {n_vocab} tokens may come next")
    return ids


def _penalised(logits: NDArray[np.floating], history: Sequence[int], settings: SamplerSettings) -> NDArray[np.floating]:
    """A copy with the last tokens made unlikelier: positive logits divided, others multiplied, then shifted down."""
    n = settings.repeat_last_n
    recent = np.asarray(history[len(history) - n :] if 0 <= n < len(history) else history, dtype=np.int64)
    ids, counts = np.unique(recent[(recent >= 0) & (recent < logits.size)], return_counts=True)
    logits = logits.astype(np.float64)
    values = logits[ids]
    values = np.where(values <= 0, values * settings.repeat_penalty, values / settings.repeat_penalty)
    logits[ids] = values - counts * settings.frequency_penalty - settings.presence_penalty
    return logits


def _top_k(logits: NDArray[np.floating], k: int) -> Ids:
    """Ids of the k largest logits (all for k <= 0), unsorted; of equal ones at the border, the lowest ids."""
    if k <= 0 or k >= logits.size:
        return np.arange(logits.size)
    ids = np.flatnonzero(logits >= _lower_bound(logits, k))
    values = logits[ids]
    border = np.partition(values, values.size - k)[values.size - k]
    above, equal = ids[values > border], ids[values == border]
    return np.concatenate([above, equal[: k - above.size]])


def _lower_bound(logits: NDArray[np.floating], k: int, width: int = 64) -> np.floating:
    """A value that at least k logits reach: the k-th largest of the maxima of blocks. Much faster than a partition."""
    n_blocks = logits.size // width
    if n_blocks < k:
        return logits.min()
    maxima = logits[: n_blocks * width].reshape(n_blocks, width).max(axis=1)
    return np.partition(maxima, n_blocks - k)[n_blocks - k]


def _top_p_min_p(ids: Ids, values: Floats, settings: SamplerSettings) -> tuple[Ids, Floats]:
    """Both keep a head of the sorted candidates, so min-p may go first and spare sorting what it drops."""
    highest = values.max()
    total = np.exp(values - highest).sum()
    if settings.min_p > 0:
        keep = values >= highest + math.log(settings.min_p)
        ids, values = ids[keep], values[keep]
    order = np.argsort(-values, kind="stable")  # equal ones by id, as ids ascend among them
    ids, values = ids[order], values[order]
    if settings.top_p < 1:
        before = np.cumsum(np.exp(values - highest))[:-1] / total
        n = 1 + int(np.searchsorted(before, settings.top_p, side="left"))
        ids, values = ids[:n], values[:n]
    return ids, values


def _softmax(values: Floats) -> Floats:
    weights = np.exp(values - values.max())
    return weights / weights.sum()
