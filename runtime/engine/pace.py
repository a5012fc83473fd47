"""Pace: how much of prompts to read beside those that decode, so that no one of them waits for long."""

from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from math import ceil, inf
from statistics import median

from .decode import batch_size
from .sizes import BESIDE_OTHERS, TOGETHER, StepSizes

USUAL_GAPS = 2.0  # so long one between two tokens may be while a prompt is read, unless told otherwise
LONGEST = 0.95  # of it, with room for what varies
LONE = 1 / 14  # of the rate at which prompts are read alone; where for one prompt what fits is slower, or where others
MOSTLY = 0.75  # wait for theirs and it is slower than this part of the best rate that any size has, steps take longer
N_GAPS = 15  # of which the median is the usual one
NEWEST = 0.25  # the weight of the latest figure in a mean
MOST_AT_ONCE = 4.0  # times as much as expected a figure may count, since some steps are late for reasons of their own
FADING, FADING_GUESS = 0.998, 0.98


class Pace:
    """Learns from seconds that steps took: those that decode alone, by their number, and what tokens of prompts beside
    them took more, by the planned size that holds them; and what of it was too long, so that steps without any prompt
    follow until the mean gap is below twice the usual one. Usual is what gaps will be once all decode that are there:
    where many wait for their prompts, few that decode hold them up no more than all together will each other.

    max_gap: usual ones that no single gap may be longer than, but for one in hundreds by which it is found out whether
    more fits; None where the mean alone counts, if that reads prompts much faster."""

    max_gap: float | None = None

    def __init__(self, planned: StepSizes) -> None:
        self._sizes, self._start = planned.beside(TOGETHER).sizes, planned.start
        self._whole = planned.most / (planned.start + planned.most)
        self._gaps: dict[int, deque[float]] = {}  # the latest ones by batch size
        self._more: dict[int, float] = {}  # by planned size, measured or guessed
        self._measured: set[int] = set()
        self._faded: set[int] = set()  # sizes that are thought to take less than was found, so that they are tried
        self._alone = 0.0  # tokens a second of prompts that are read alone in the largest steps
        self._is_long, self._owed = False, 0.0  # is the step that comes too long by intent, and seconds of those before
        self._fits = 1  # tokens of prompts beside which no single gap is too long
        self._usual = 0.0  # the gap of which some are allowed

    def took(self, seconds: float, n_tokens: int, n: int) -> None:
        """A step of n_tokens of prompts, as planned, and a token of each of n sequences."""
        gap, size = self._gap(n), batch_size(n)
        if not n_tokens and seconds > 0:  # else a token that had waited for the host
            self._gaps.setdefault(size, deque(maxlen=N_GAPS)).append(seconds)
        elif n_tokens and gap is not None:
            place = next((i for i, s in enumerate(self._sizes) if s >= n_tokens), len(self._sizes) - 1)
            self._took_more(max(0.0, seconds - gap), place, gap)
            self._owed += max(0.0, seconds - USUAL_GAPS * self._usual) if self._is_long else 0.0

    def took_alone(self, seconds: float, n_tokens: int, n_used: int) -> None:
        """A step of n_tokens of prompts, as planned, of which n_used were some."""
        if 4 * n_tokens >= self._start:  # of shorter ones little can be told
            self._alone = max((self._start + n_used) / seconds * self._whole, 0.99 * self._alone)

    def rested(self, n: int) -> None:
        """A step of n sequences with no prompt."""
        self._owed = max(0.0, self._owed - self._repaid(n))

    def n_rests(self, n: int) -> int:
        """How many steps with no prompt are to come of n sequences before the next one with some."""
        return ceil(self._owed / self._repaid(n))

    def most(self, n: int, n_all: int = 0) -> int:
        """How many tokens of prompts a step may read beside n sequences that decode; 0: none before rested().

        n_all: those that decode and those with a prompt to read, where these are several."""
        gap = self._gap(n)
        if gap is None:
            return BESIDE_OTHERS
        if self._owed > 0:
            return 0
        is_lone = n_all <= n + 1
        self._usual = gap if is_lone and self.max_gap else max(gap, self._gap(n_all) or 0.0)
        sizes = [s for s in self._sizes if s <= (BESIDE_OTHERS if is_lone else TOGETHER)]
        room = LONGEST * (self.max_gap or USUAL_GAPS) * self._usual - gap
        self._fits = fits = max(takewhile(lambda s: self._more.get(s, inf) <= room, sizes), default=1)
        chosen = self._best([fits, *(s for s in sizes if s > fits and s in self._more)], gap)
        if self.max_gap or (is_lone and fits >= LONE * self._alone * (gap + self._more.get(fits, 0.0))):
            chosen = fits
        self._is_long = chosen > fits
        return chosen

    def rereads(self, n: int) -> float | None:
        """Seconds in which n tokens of a prompt are read alone; None while that is not known."""
        return (self._start + n) * self._whole / self._alone if self._alone else None

    def _best(self, sizes: Sequence[int], gap: float) -> int:
        """The first that reads nearly as much in a time as any."""
        rates = [self._rate(s, gap) for s in sizes]
        return next(s for s, rate in zip(sizes, rates, strict=True) if rate >= MOSTLY * max(rates))

    def _rate(self, size: int, gap: float) -> float:
        """Tokens of prompts a second, the steps without any included that have to follow."""
        step = max(gap + self._more.get(size, 0.0), 1e-9)
        return size / (step + max(0.0, step - USUAL_GAPS * self._usual) * gap / self._repaid_by(gap))

    def _repaid(self, n: int) -> float:
        """What a step of n sequences with no prompt makes good of steps that were too long: seconds."""
        gap = self._gap(n)
        return inf if gap is None else self._repaid_by(gap)

    def _repaid_by(self, gap: float) -> float:
        return max(gap, USUAL_GAPS * self._usual - gap, 1e-9)

    def _took_more(self, seconds: float, place: int, gap: float) -> None:
        """What the next larger step is thought to take fades: it is tried some time, soon where nobody measured it; and
        so does, where steps are too long by intent, what the least takes that does not fit."""
        size, *larger = self._sizes[place:]
        old = self._more.get(size, gap)
        shown = min(seconds, max(MOST_AT_ONCE * old, gap if size in self._measured else MOST_AT_ONCE * gap))
        is_mean = size in self._measured - self._faded
        self._more[size] = old + NEWEST * (shown - old) if is_mean else shown
        self._measured.add(size)
        self._faded.discard(size)
        for after in larger[:1]:
            likely = self._more[size] * (self._start + after) / (self._start + size)
            guess = self._more.get(after, likely)
            self._more[after] = guess * (FADING if after in self._measured else FADING_GUESS)
            self._faded.add(after)
        between = [s for s in self._sizes if self._fits < s < size and s in self._more] if self._is_long else []
        for least in between[:1]:
            self._more[least] *= FADING_GUESS
            self._faded.add(least)

    def _gap(self, n: int) -> float | None:
        """The usual one, of as many or nearly as many."""
        size = batch_size(n)
        nearest = min(self._gaps, key=lambda k: abs(k - size), default=None)
        return None if nearest is None else median(self._gaps[nearest])
