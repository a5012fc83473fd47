"""Ways: how many prompts a step reads and how many tokens of each, among the sizes that are there."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from ..ir.composites.slots import SPAN
from ..models.architecture import Architecture
from ..models.step import StepShape
from .choice import MAX_CANDIDATES
from .decode import few_sizes
from .engine import Engine
from .sizes import StepSizes

Way = tuple[int, int]  # prompts, and tokens of each, as planned
COUNTS = 1, 4, 16, 32  # of prompts, for which sizes are planned ahead
WISHES = 16  # steps for which another way was better, before that is planned
POOR = 0.5  # of the rate of what is wished for: what is slower is put up with until the plan is there, and no longer
FURTHER_KEYS = 4  # times as many keys as needed a larger size may be planned for


class Ways:
    """Where sizes are planned ahead a plan takes longer than some steps: what is there is taken meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wished: Counter[StepShape] = Counter()

    def choose(self, planned: StepSizes, unread: Sequence[int], most: int, n_beside: int, n_kv: int) -> Way:
        """unread: tokens of prompts, the oldest's first, which takes part. most: tokens of the step, as planned.
        n_beside: sequences that decode in it."""
        ahead = self._engine.foresight
        sizes = planned.beside(most).sizes if n_beside else planned.sizes
        if ahead is None or self._engine.device.info.is_software:
            return best(unread, _all(range(1, len(unread) + 1), sizes, most), planned.start)
        wish = best(unread, _all([n for n in COUNTS if n <= few_sizes(len(unread))], sizes, most), planned.start)
        there = [(n, size) for n, size in self._there(n_beside, n_kv) if n * size <= most]
        there += [(n, 1) for n in COUNTS if n <= min(most, few_sizes(len(unread))) and n_beside]
        if wish in there or wish[1] == 1 or not there:
            return wish
        found = best(unread, there, planned.start)
        is_poor = rate(unread, found, planned.start) < POOR * rate(unread, wish, planned.start)
        return wish if self._is_planned(wish, n_beside, n_kv, is_poor) else found

    def _there(self, n_beside: int, n_kv: int) -> Iterator[Way]:
        """For which a program is ready beside so many."""
        ahead, model = self._engine.foresight, self._engine.model
        for s in [*self._engine.planned(), *(ahead.begun(done=True) if ahead else ())]:
            way, *ones = s.groups
            fits = bool(ones) == bool(n_beside) and all(n >= n_beside for n, _ in ones) and way[1] > 1
            if fits and n_kv <= s.n_kv <= FURTHER_KEYS * n_kv and s == shape_of(model, s.n_kv, *s.groups):
                yield way

    def _is_planned(self, wish: Way, n_beside: int, n_kv: int, now: bool) -> bool:
        """Is what is wished for there by now, or can it not be? now: it is to be planned at once."""
        ahead, ones = self._engine.foresight, [(few_sizes(n_beside), 1)] if n_beside else []
        shape = shape_of(self._engine.model, n_kv, wish, *ones)
        self._wished[shape] += 1
        if ahead is None or not (now or self._wished[shape] > WISHES):
            return False
        ahead.want(shape)
        return ahead.is_over(shape)


def best(unread: Sequence[int], ways: Sequence[Way], start: int) -> Way:
    """What reads most for what the step costs, which whatever its size are `start` tokens; of equals fewer prompts."""
    read = {size: _read(unread, size, start) for size in {size for _, size in ways}}
    return max(ways, key=lambda way: (_rate(read[way[1]], way, start), way[1]))


def rate(unread: Sequence[int], way: Way, start: int) -> float:
    """Tokens of prompts that are read, for each that the step costs."""
    return _rate(_read(unread, way[1], start), way, start)


def readers(unread: Sequence[int], way: Way) -> list[int]:
    """Whose turn it is: the oldest, and those with most to read in a chunk of the size."""
    n, size = way
    others = sorted(range(1, len(unread)), key=lambda i: -min(size, unread[i]))
    return [0, *sorted(others[: n - 1])]


def _read(unread: Sequence[int], size: int, start: int) -> list[float]:
    """Tokens that are read of one prompt, of two, and so on."""
    others = sorted((min(size, n) for n in unread[1:]), reverse=True)
    return list(accumulate([_in_a_step(unread[0], size, start), *others]))


def _in_a_step(n: int, size: int, start: int) -> float:
    """Tokens of a prompt of n in a step's chunk. What is left for another step, which costs its start again, counts
    against it."""
    n_whole, rest = divmod(n, size)
    n_steps = n_whole + ((start + rest) / (start + size) if rest and n_whole else bool(rest))
    return n / n_steps


def _rate(read: Sequence[float], way: Way, start: int) -> float:
    n, size = way
    return read[min(n, len(read)) - 1] / (start + n * size)


def shape_of(model: Architecture, n_kv: int, *groups: tuple[int, int]) -> StepShape:
    """What a step of such groups is planned as ahead."""
    n_drawn = min(MAX_CANDIDATES, model.params.n_vocab)
    snapshots = bool(model.states) and any(size >= SPAN for _, size in groups)
    return StepShape(groups, n_kv, sum(n for n, _ in groups), n_drawn, snapshots=snapshots)


def _all(counts: Iterable[int], sizes: Iterable[int], most: int) -> list[Way]:
    return [(n, size) for n in counts for size in sizes if n * size <= most or n == 1]
