"""TokenChoice: how the next tokens of one sequence are chosen, on the device where it can, else on the host."""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import TextError
from ..ir.ops import OPS
from ..ir.ops.sampling import masked, n_words, settings_row
from ..text.sampler import Sampler, SamplerSettings


class Constraint(Protocol):
    """What text may come, such as a grammar says; knows the tokens so far."""

    def mask(self) -> np.ndarray:
        """int32 [ceil(n_vocab / 32)]: a bit for each token that may come next, see mask_tokens. Raises TextError."""
        ...

    def accept(self, token: int) -> None:
        """Go on with a token. Raises TextError."""
        ...

    @property
    def is_over(self) -> bool:
        """May nothing more come?"""
        ...


MAX_CANDIDATES = 64  # of a token that the device draws


def can_draw(settings: SamplerSettings) -> bool:
    """Can the device choose by these settings? Penalties, biases and long candidate lists need all logits on the
    host."""
    few = settings.temp <= 0 or 0 < settings.top_k <= MAX_CANDIDATES
    return few and not settings.penalises and not settings.logit_bias


@dataclass(frozen=True)
class Logprobs:
    """Natural logarithms of probability by the model's own logits: of the token chosen, and of the likeliest ones, the
    best first, each with its id."""

    own: float
    top: tuple[tuple[int, float], ...]


class TokenChoice:
    """`row`: the settings as the op `draw` reads them, int32 [N_SETTINGS]; n_drawn: candidates that it needs.

    n_logprobs: how many of the likeliest tokens `logprobs` tells for each token chosen; None for nothing at all. The
    tokens are the same with and without. constraint: what may be chosen.
    """

    def __init__(
        self, settings: SamplerSettings, n_logprobs: int | None = None, constraint: Constraint | None = None
    ) -> None:
        self.constraint = constraint
        self._draws, self._n_logprobs = can_draw(settings), n_logprobs
        self.on_device = self._draws and n_logprobs is None
        self.logprobs: deque[Logprobs] = deque()
        self.n_drawn = 1 if settings.temp <= 0 else MAX_CANDIDATES
        seed = settings.seed
        if seed in (None, -1):
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.row = settings_row(settings.temp, settings.top_p, settings.min_p, settings.top_k, seed or 0)
        self.failed: TextError | None = None  # why nobody knows what may come next
        self._sampler = Sampler(settings)

    def mask(self, n_vocab: int) -> np.ndarray:
        """int32 [ceil(n_vocab / 32)]: a bit for each token that may come next; all where none may or nobody knows."""
        try:
            if self.constraint and not self.constraint.is_over:
                return self.constraint.mask()
        except TextError as error:
            self.failed = error
        return np.full(n_words(n_vocab), -1, np.int32)

    def accept(self, token: int) -> bool:
        """Go on with a token; is that the end of all that may come?"""
        if self.constraint is None:
            return False
        self.constraint.accept(token)
        return self.constraint.is_over

    def choose(self, logits: np.ndarray, ids: list[int], mask: np.ndarray | None = None) -> int:
        """The token after ids, by their logits [n_vocab], on the host; what the device draws is drawn here alike.

        mask: of tokens that may come. TextError unless all logits are finite."""
        token = self._chosen(logits, ids, mask)
        if self._n_logprobs is not None:
            self.logprobs.append(logprobs(logits, token, self._n_logprobs))
        return token

    def _chosen(self, logits: np.ndarray, ids: list[int], mask: np.ndarray | None) -> int:
        if not self._draws:
            return self._sampler.sample(logits, ids, mask)
        if not np.isfinite(logits).all():
            raise not_finite(len(ids))
        logits = logits if mask is None else masked(logits, mask)
        (best,) = OPS["top_k"].compute(logits[None], k=min(self.n_drawn, logits.size))
        (token,) = OPS["draw"].compute(logits[None], best, self.row[None], np.array([[len(ids) - 1]], np.int32))
        return int(token[0, 0])


def logprobs(logits: np.ndarray, token: int, n: int) -> Logprobs:
    """logits [n_vocab], all finite; n: of the likeliest."""
    highest = float(logits.max())
    base = highest + float(np.log(np.exp(logits.astype(np.float64) - highest).sum()))
    n = min(n, logits.size)
    best = OPS["top_k"].compute(logits[None], k=n)[0][0].tolist() if n else []
    return Logprobs(float(logits[token]) - base, tuple((i, float(logits[i]) - base) for i in best))


def not_finite(n_tokens: int) -> TextError:
    return TextError(f"logits: not finite after {n_tokens} tokens, so no token can be chosen")
