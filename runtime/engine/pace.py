"""Pace: how much of prompts to read beside those that decode, so that no one of them waits for long."""

from itertools import takewhile

from .decode import batch_size
from .sizes import BESIDE_OTHERS

FEWEST = 8  # tokens of prompts in a step, whatever they take
STEPS = tuple(FEWEST << i for i in range((BESIDE_OTHERS // FEWEST).bit_length()))
LONGEST = 1.9  # of a gap between two tokens while a prompt is read, in usual ones; with room for what varies below 2
NEWEST = 0.25  # the weight of the latest figure in a mean
MOST_AT_ONCE = 4.0  # times as much as expected a figure may count, since some steps are late for reasons of their own
FADING, FADING_GUESS = 0.998, 0.98


class Pace:
    """Learns from seconds that steps took: those that decode alone, by their number, and what tokens of prompts beside
    them took more."""

    def __init__(self) -> None:
        self._gaps: dict[int, float] = {}  # by batch size
        self._more: dict[int, float] = {}  # by tokens of prompts, measured or guessed
        self._measured: set[int] = set()

    def took(self, seconds: float, n_tokens: int, n: int) -> None:
        """A step of n_tokens of prompts, as planned, and a token of each of n sequences."""
        gap, size = self._gap(n), batch_size(n)
        if not n_tokens:
            self._gaps[size] = _mean(self._gaps.get(size), seconds)
        elif gap is not None:
            self._took_more(max(0.0, seconds - gap), n_tokens)

    def _took_more(self, seconds: float, n_tokens: int) -> None:
        """What the next larger step is thought to take fades: it is tried some time, soon where nobody measured it."""
        if larger := [k for k in self._more if k > n_tokens]:
            self._more[min(larger)] *= FADING if min(larger) in self._measured else FADING_GUESS
        guess, old = self._estimate(n_tokens), self._more.get(n_tokens) if n_tokens in self._measured else None
        self._more[n_tokens] = _mean(old, min(seconds, MOST_AT_ONCE * guess))
        self._measured.add(n_tokens)
        self._more.setdefault(2 * n_tokens, self._estimate(2 * n_tokens))

    def most(self, n: int) -> int:
        """How many tokens of prompts a step may read beside n sequences that decode, at least FEWEST."""
        gap = self._gap(n)
        if gap is None:
            return BESIDE_OTHERS
        fits = takewhile(lambda s: self._estimate(s) <= (LONGEST - 1) * gap, STEPS)
        return max(fits, default=FEWEST)

    def _gap(self, n: int) -> float | None:
        """The usual one, of as many or nearly as many."""
        size = batch_size(n)
        nearest = min(self._gaps, key=lambda k: abs(k - size), default=None)
        return None if nearest is None else self._gaps[nearest]

    def _estimate(self, n_tokens: int) -> float:
        """Seconds more that so many tokens of prompts take, at most: no fewer than less, no more for each."""
        if n_tokens in self._more:
            return self._more[n_tokens]
        above = [seconds for k, seconds in self._more.items() if k > n_tokens]
        below = [seconds * n_tokens / k for k, seconds in self._more.items() if k < n_tokens]
        return min([*above, *below], default=float("inf"))


def _mean(old: float | None, new: float) -> float:
    return new if old is None else old + NEWEST * (min(new, MOST_AT_ONCE * old) - old)
