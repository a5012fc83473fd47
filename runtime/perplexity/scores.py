"""How likely a model finds a text, and how far its probabilities are from another's, as llama.cpp counts both.

A text is cut into chunks of n_ctx tokens, each read from an empty state with BOS in the place of its first token where
the model's file wants one; the tokens of a chunk's second half are counted, so that each has n_ctx / 2 before it.
Perplexity is exp of the mean of -log p (https://huggingface.co/docs/transformers/perplexity); its uncertainty is that
of a mean of independent values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UsageError

FEWEST = 11  # values, of which an uncertainty says something
FLOOR = -16.0  # base log-probabilities at or below it are no part of a divergence: files hold nothing below
Pair = tuple[float, float]


def n_counted(n_ctx: int) -> int:
    """Tokens of a chunk that are counted: its last logits foretell a token of the next one."""
    return n_ctx - 1 - n_ctx // 2


def chunks_of(ids: Sequence[int], n_ctx: int, n_most: int = -1) -> np.ndarray:
    """int32 [n_chunks, n_ctx], at most n_most of them where that is not negative; a rest is left out."""
    if len(ids) < 2 * n_ctx:
        raise UsageError(f"the text has {len(ids)} tokens, expected at least {2 * n_ctx}: twice the context of {n_ctx}")
    n = len(ids) // n_ctx
    n = n if n_most < 0 else min(n, n_most)
    return np.array(ids[: n * n_ctx], np.int32).reshape(n, n_ctx)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 [n, n_vocab]: log p of each token."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def nll(log_p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [n]: -log p of the tokens that came, of [n, n_vocab]."""
    return -log_p[np.arange(len(targets)), targets].astype(np.float64)


def mean_of(values: np.ndarray) -> Pair:
    """The mean and its uncertainty, 0 of fewer than FEWEST values."""
    mean = float(values.mean())
    variance = float((values * values).mean()) - mean * mean
    return mean, (variance / (len(values) - 1)) ** 0.5 if variance > 0 and len(values) >= FEWEST else 0.0


def covariance(a: np.ndarray, b: np.ndarray) -> float:
    """Of two means."""
    return float(((a * b).mean() - a.mean() * b.mean()) / (len(a) - 1)) if len(a) >= FEWEST - 1 else 0.0


@dataclass
class Divergence:
    """float64 [n] each, token by token: -log p of the model and of the base, the divergence sum p_base (log p_base -
    log p) over the vocabulary, the difference of the probabilities of the token that came, and whether both find the
    same token the likeliest."""

    nll: np.ndarray = field(default_factory=lambda: np.zeros(0))
    nll_base: np.ndarray = field(default_factory=lambda: np.zeros(0))
    kld: np.ndarray = field(default_factory=lambda: np.zeros(0))
    p_diff: np.ndarray = field(default_factory=lambda: np.zeros(0))
    same_top: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, logits: np.ndarray, base: np.ndarray, targets: np.ndarray) -> None:
        """logits, base: [n, n_vocab], of the model and log p of the base."""
        log_p = log_softmax(logits)
        mine, theirs = nll(log_p, targets), nll(base, targets)
        base64 = base.astype(np.float64)
        kld = np.where(base64 > FLOOR, np.exp(base64) * (base64 - log_p), 0.0).sum(-1)
        more = (mine, theirs, kld, np.exp(-mine) - np.exp(-theirs), logits.argmax(-1) == base.argmax(-1))
        for name, values in zip(("nll", "nll_base", "kld", "p_diff", "same_top"), more, strict=True):
            setattr(self, name, np.concatenate([getattr(self, name), values]))

    @property
    def ln_ratio(self) -> Pair:
        """ln(PPL / PPL of the base)."""
        (mine, a), (base, b) = mean_of(self.nll), mean_of(self.nll_base)
        return mine - base, max(0.0, a * a + b * b - 2 * covariance(self.nll, self.nll_base)) ** 0.5

    @property
    def p_rms(self) -> Pair:
        """The root of the mean square of p_diff."""
        mean, spread = mean_of(self.p_diff**2)
        return mean**0.5, 0.5 / mean**0.5 * spread if mean else 0.0

    @property
    def top(self) -> Pair:
        """How often the likeliest token is the same."""
        p, n = float(self.same_top.mean()), len(self.same_top)
        return p, (p * (1 - p) / (n - 1)) ** 0.5 if n > 1 else 0.0


def exp_of(log: Pair) -> Pair:
    """exp of a value with its uncertainty."""
    value = float(np.exp(log[0]))
    return value, value * log[1]
