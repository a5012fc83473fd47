"""AtHand: which planned size steps with single tokens run in. One of its own, or a larger one that is there while a
plan does not pay: it makes all wait for longer than some steps with empty rows do."""

from collections import Counter
from dataclasses import replace

from ..models.step import StepShape
from .decode import few_sizes
from .engine import Engine, Ready

BEFORE_A_PLAN = 64  # steps in a larger size
STEPS = 32  # of a run at most
FURTHER_KEYS = 4  # times as many keys as needed a larger size may be planned for
COARSE = 8  # sequences that decode alone, beyond which few sizes are planned at first


class AtHand:
    """For steps whose last group are single tokens, of which there may be more."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked: Counter[StepShape] = Counter()

    def ready(self, shape: StepShape, n_steps: int = STEPS) -> Ready:
        """A program whose rows, keys and candidates are at least those of the shape. n_steps: how many are to follow,
        no more than STEPS in another size than its own."""
        planned = self._engine.planned()
        if shape in planned or shape.groups[-1][1] != 1:
            return self._engine.ready(shape)
        self._asked[shape] += min(n_steps, STEPS)
        if self._asked[shape] > BEFORE_A_PLAN:
            return self._engine.ready(shape)
        larger = [s for s in planned if _may_stand_in(s, shape)]
        return self._engine.ready(min(larger, key=_cost, default=_coarse(shape)))


def _may_stand_in(s: StepShape, shape: StepShape) -> bool:
    same = replace(shape, groups=s.groups, n_kv=s.n_kv, n_out=s.n_out, n_drawn=s.n_drawn) == s
    (*reads, (n, _)), (*others, (m, size)) = shape.groups, s.groups
    rows = reads == others and size == 1 and m >= n and s.n_out - m == shape.n_out - n
    return same and rows and shape.n_kv <= s.n_kv <= FURTHER_KEYS * shape.n_kv and s.n_drawn >= shape.n_drawn > 0


def _cost(s: StepShape) -> tuple[int, int, int]:
    return s.n_out, s.n_kv, s.n_drawn


def _coarse(shape: StepShape) -> StepShape:
    """For fewer plans where many join or leave."""
    *reads, (n, size) = shape.groups
    few = few_sizes(n) if n > COARSE or reads else n
    return replace(shape, groups=(*reads, (few, size)), n_out=shape.n_out - n + few)
