"""AtHand: which planned size a step runs in. One of its own, or a larger one that is there while a plan does not pay,
which makes all wait for longer than some steps with empty rows do."""

from collections import Counter
from dataclasses import replace

from ..models.step import StepShape
from .decode import few_sizes
from .engine import Engine, Ready
from .ways import FURTHER_KEYS

BEFORE_A_PLAN = 64  # steps in a larger size
STEPS = 32  # of a run at most
FURTHER_PROMPTS = 4  # times as many prompts as needed a larger size may be planned for
COARSE = 8  # sequences that decode alone, beyond which few sizes are planned at first
SOON = 256  # tokens, in whose time a size is planned


class AtHand:
    """Of single tokens, which are a step's last group, a larger size may have more, and of prompts some more. Where the
    engine has foresight, a size of its own is planned meanwhile; without, all wait for it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked: Counter[StepShape] = Counter()

    def ready(self, shape: StepShape, n_steps: int = STEPS) -> Ready:
        """A program whose rows, keys and candidates are at least those of the shape. n_steps: how many are to follow,
        no more than STEPS in another size than its own."""
        shape = _with_few(self._with_few_prompts(shape), at_first=False)
        if self._engine.is_planned(shape):
            return self._engine.ready(shape)
        self._asked[shape] += min(n_steps, STEPS)
        pays = self._asked[shape] > BEFORE_A_PLAN and self._is_prepared(shape)
        larger = self._larger(shape)
        return self._engine.ready(shape if pays else min(larger, key=_cost, default=_with_few(shape, at_first=True)))

    def foresee(self, shape: StepShape, n_held: int) -> None:
        """A step of this size is over n_held tokens: what its sequences will want once they have grown is planned
        before they wait for it."""
        ahead, n_tokens = self._engine.foresight, max(size for _, size in shape.groups)
        n_kv = self._engine.kv_size(n_held + max(SOON, n_tokens))
        if ahead and n_kv > shape.n_kv:
            ahead.want(replace(shape, n_kv=n_kv))

    def _larger(self, shape: StepShape) -> list[StepShape]:
        """What may stand in, at once or else once it is planned; of what is yet to be planned one that is likely, which
        others will want too."""
        ahead = self._engine.foresight
        found = [[*self._engine.planned()]]
        if ahead:
            found = [[*found[0], *ahead.begun(done=True)], ahead.begun(done=False), ahead.waiting()]
        return next((fit for sizes in found if (fit := [s for s in sizes if _may_stand_in(s, shape)])), [])

    def _with_few_prompts(self, shape: StepShape) -> StepShape:
        """Several prompts are read in few sizes where these are planned ahead, see ways.py."""
        if self._engine.foresight is None or self._engine.device.info.is_software:
            return shape
        groups = tuple((few_sizes(n) if size > 1 else n, size) for n, size in shape.groups)
        return replace(shape, groups=groups, n_out=_n_rest(shape) + sum(n for n, _ in groups))

    def _is_prepared(self, shape: StepShape) -> bool:
        ahead = self._engine.foresight
        if ahead is None or shape.rests:
            return True
        ahead.want(shape)
        return ahead.is_over(shape)


def _may_stand_in(s: StepShape, shape: StepShape) -> bool:
    same = replace(shape, groups=s.groups, n_kv=s.n_kv, n_out=s.n_out, n_drawn=s.n_drawn) == s
    if not same or [size for _, size in shape.groups] != [size for _, size in s.groups]:
        return False
    rows = all(_has_rows(*pair) for pair in zip(s.groups, shape.groups, strict=True)) and _n_rest(s) == _n_rest(shape)
    return rows and shape.n_kv <= s.n_kv <= FURTHER_KEYS * shape.n_kv and s.n_drawn >= shape.n_drawn > 0


def _has_rows(of: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Rows for nobody among prompts cost as much as others."""
    (n, size), (m, _) = of, wanted
    return n >= m and (size == 1 or n <= FURTHER_PROMPTS * m)


def _n_rest(s: StepShape) -> int:
    """Rows of logits beside one for each sequence."""
    return s.n_out - sum(n for n, _ in s.groups)


def _cost(s: StepShape) -> tuple[int, int, int]:
    return s.n_rows, s.n_kv, s.n_drawn


def _with_few(shape: StepShape, at_first: bool) -> StepShape:
    """Few sizes of those that decode beside long prompts, where empty rows cost little; at first, for fewer plans where
    many join or leave, beside any and where more than COARSE decode."""
    *reads, (n, size) = shape.groups
    few, n_tokens = few_sizes(n), sum(m * tokens for m, tokens in reads)
    if size > 1 or not (4 * few <= n_tokens or (at_first and (reads or n > COARSE))):
        return shape
    return replace(shape, groups=(*reads, (few, 1)), n_out=shape.n_out - n + few)
