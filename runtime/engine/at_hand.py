"""AtHand: which planned size decoding runs in. One of its own, or a larger one that is there while a plan does not pay:
it makes all wait for longer than some steps with empty rows do."""

from collections import Counter
from dataclasses import replace

from ..models.step import StepShape
from .engine import Engine, Ready

BEFORE_A_PLAN = 2  # runs in a larger size, of
STEPS = 32  # steps at most
FURTHER_KEYS = 4  # times as many keys as needed a larger size may be planned for
COARSE = 8  # sequences, beyond which a power of two is planned first


class AtHand:
    """For steps of one token of each sequence."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked: Counter[StepShape] = Counter()

    def ready(self, shape: StepShape) -> Ready:
        """A program whose rows, keys and candidates are at least those of the shape; steps of any other than its own
        are to be no more than STEPS, before it is asked for again."""
        if shape in self._engine.planned():
            return self._engine.ready(shape)
        self._asked[shape] += 1
        if self._asked[shape] > BEFORE_A_PLAN:
            return self._engine.ready(shape)
        larger = [s for s in self._engine.planned() if _may_stand_in(s, shape)]
        return self._engine.ready(min(larger, key=_cost, default=_coarse(shape)))


def _may_stand_in(s: StepShape, shape: StepShape) -> bool:
    same = replace(shape, groups=s.groups, n_kv=s.n_kv, n_out=s.n_out, n_drawn=s.n_drawn) == s
    ((n, size),) = shape.groups
    rows = len(s.groups) == 1 and s.groups[0][1] == size and s.groups[0][0] == s.n_out >= n
    return same and rows and shape.n_kv <= s.n_kv <= FURTHER_KEYS * shape.n_kv and s.n_drawn >= shape.n_drawn > 0


def _cost(s: StepShape) -> tuple[int, int, int]:
    return s.n_out, s.n_kv, s.n_drawn


def _coarse(shape: StepShape) -> StepShape:
    ((n, size),) = shape.groups
    power = 1 << (n - 1).bit_length()
    return shape if n <= COARSE else replace(shape, groups=((power, size),), n_out=power)
