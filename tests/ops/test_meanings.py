"""The reference itself on trial: what every op means by judges of its own, and judges that notice when it is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import filter as matching
from functools import cache

import pytest
from vkrun.runtime.ir.ops import OPS
from vkrun.tests.judges.cases import trials
from vkrun.tests.judges.equivalents import EQUIVALENTS
from vkrun.tests.judges.mutants import Compute, Mutant, Unfit, general
from vkrun.tests.judges.sampling import margin
from vkrun.tests.judges.special import MUTANTS
from vkrun.tests.judges.table import JUDGES
from vkrun.tests.judges.trial import Trial

LEAST = 12  # mutants of each op that are noticed
every_op = pytest.mark.parametrize("op", JUDGES, scope="module")  # op by op, so that its trials are opened once
LONG = (  # whose judges or mutants take seconds: what others of their families have in part, or fused
    *("attention_split", "delta_parts", "experts_down", "experts_gate_up", "gated_delta_norm", "kimi_delta"),
    *("mul_mat_id", "mul_mats", "norm_mul_mats", "norm_mul_mats_conv", "qk_rope_cache"),
    *("rope_attention", "rope_attention_split", "route_gate_up"),
)


def test_every_op_has_a_judge_and_every_judge_an_op():
    assert set(JUDGES) == set(OPS)


@pytest.mark.full(*LONG)
@every_op
def test_an_op_means_what_its_judge_says(op):
    wrong = [f"{trial.case.what}: {why}" for trial in trials(op) if (why := trial.verdict())]
    assert trials(op)
    assert not wrong, "\n".join(wrong)


@pytest.mark.full(*LONG)
@every_op
def test_a_wrong_meaning_is_noticed(op):
    fates = _fates(op)
    assert not {name for name, fate in fates.items() if fate == "survived"} - _listed(op)
    assert sum(fate == "noticed" for fate in fates.values()) >= LEAST
    assert all(fates[mutant.name] != "unfit" for mutant in MUTANTS.get(op, ()))


@pytest.mark.full(*LONG)
@pytest.mark.parametrize("op", [op for op in JUDGES if OPS[op].options.keys() - {"extra"}])
def test_every_option_is_chosen_by_a_case_and_judged(op):
    without = {f"{option} not chosen" for option in OPS[op].options if option != "extra"}
    assert not {name for name in without if _fates(op).get(name) != "noticed"} - _listed(op)


@pytest.mark.full(*LONG)
@pytest.mark.parametrize("op", EQUIVALENTS)
def test_what_is_listed_as_equivalent_is(op):
    for pattern in EQUIVALENTS[op]:
        fates = {_fates(op)[name] for name in matching(_fates(op), pattern)}
        assert "survived" in fates
        assert "noticed" not in fates


def test_no_case_draws_at_the_edge_between_two_tokens():
    """A device's exp is right to 1e-5 or so; no case may hang on that."""
    assert all(margin(*trial.inputs) > 5e-5 for trial in trials("draw"))


@cache
def _fates(op: str) -> dict[str, str]:
    """What becomes of each mutant of an op, by its name."""
    return {mutant.name: _fate(mutant, trials(op)) for mutant in (*general(trials(op)), *MUTANTS.get(op, ()))}


def _listed(op: str) -> set[str]:
    """The names of its mutants that are no mutants."""
    return {name for pattern in EQUIVALENTS.get(op, ()) for name in matching(_fates(op), pattern)}


def _fate(mutant: Mutant, trials: tuple[Trial, ...]) -> str:
    fit = False
    for trial in trials:
        try:
            with _meaning(trial.case.op, mutant.wrong(OPS[trial.case.op].compute, trial.setting.node)):
                why = trial.verdict()
        except Unfit:
            continue
        fit = True
        if why:
            return "noticed"
    return "survived" if fit else "unfit"


@contextmanager
def _meaning(op: str, compute: Compute) -> Iterator[None]:
    """The op means something else for a while."""
    right = OPS[op]
    OPS[op] = replace(right, compute=compute)
    try:
        yield
    finally:
        OPS[op] = right
