"""Pace: how much of prompts to read beside those that decode, so that no one of them waits for long."""

from collections import deque
from itertools import takewhile
from math import inf
from statistics import median

from .decode import batch_size
from .sizes import BESIDE_OTHERS, StepSizes

LONGEST = 1.9  # of a gap between two tokens while a prompt is read, in usual ones; with room for what varies below 2
N_GAPS = 15  # of which the median is the usual one
NEWEST = 0.25  # the weight of the latest figure in a mean
MOST_AT_ONCE = 4.0  # times as much as expected a figure may count, since some steps are late for reasons of their own
FADING, FADING_GUESS = 0.998, 0.98


class Pace:
    """Learns from seconds that steps took: those that decode alone, by their number, and what tokens of prompts beside
    them took more, by the planned size that holds them."""

    def __init__(self, planned: StepSizes) -> None:
        self._sizes = planned.within(BESIDE_OTHERS).sizes
        self._gaps: dict[int, deque[float]] = {}  # the latest ones by batch size
        self._more: dict[int, float] = {}  # by planned size, measured or guessed
        self._measured: set[int] = set()

    def took(self, seconds: float, n_tokens: int, n: int) -> None:
        """A step of n_tokens of prompts, as planned, and a token of each of n sequences."""
        gap, size = self._gap(n), batch_size(n)
        if not n_tokens:
            self._gaps.setdefault(size, deque(maxlen=N_GAPS)).append(seconds)
        elif gap is not None:
            place = next((i for i, s in enumerate(self._sizes) if s >= n_tokens), len(self._sizes) - 1)
            self._took_more(max(0.0, seconds - gap), place, gap)

    def most(self, n: int) -> int:
        """How many tokens of prompts a step may read beside n sequences that decode, at least one."""
        gap = self._gap(n)
        if gap is None:
            return BESIDE_OTHERS
        fits = takewhile(lambda s: self._more.get(s, inf) <= (LONGEST - 1) * gap, self._sizes)
        return max(fits, default=1)

    def _took_more(self, seconds: float, place: int, gap: float) -> None:
        """What the next larger step is thought to take fades: it is tried some time, soon where nobody measured it."""
        size, *larger = self._sizes[place:]
        old = self._more.get(size, gap)
        shown = min(seconds, MOST_AT_ONCE * max(old, gap))
        self._more[size] = old + NEWEST * (shown - old) if size in self._measured else shown
        self._measured.add(size)
        for after in larger[:1]:
            guess = self._more.get(after, self._more[size] * after / size)
            self._more[after] = guess * (FADING if after in self._measured else FADING_GUESS)

    def _gap(self, n: int) -> float | None:
        """The usual one, of as many or nearly as many."""
        size = batch_size(n)
        nearest = min(self._gaps, key=lambda k: abs(k - size), default=None)
        return None if nearest is None else median(self._gaps[nearest])
