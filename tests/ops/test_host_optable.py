"""The op table on the host backend, where every access is checked: spread over its devices, each case on one."""

from functools import cache

import pytest
from vkrun.backends.base import Device
from vkrun.backends.host import BACKEND, LANES
from vkrun.runtime.ir.traffic import traffic
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import Outcome, run_case
from vkrun.runtime.optable.table import CASES
from vkrun.tests.nodes import bare

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

SPREAD = 10  # without --full one of so many neighbours of an op
PARTS = 16
N_DEVICES = 2 * len(LANES)  # Metal's are tried in test_host_msl.py


@cache
def device(index: int) -> Device:
    return BACKEND.open(BACKEND.devices()[index % N_DEVICES])


def outcome_on(case: Case, index: int) -> Outcome:
    """Of the case as one node, or as a plan makes it where the device has kernels for its parts only."""
    found = run_case(case, device(index))
    return run_case(case, device(index), 3) if found.status == "refused" else found


@cache
def spread() -> list[Case]:
    """Spread over each op's cases, of neighbours the one that is least work."""
    of_ops = [[c for c in CASES if c.op == op] for op in dict.fromkeys(c.op for c in CASES)]
    return [min(of_op[i : i + SPREAD], key=work) for of_op in of_ops for i in range(0, len(of_op), SPREAD)]


def work(case: Case) -> int:
    return traffic(bare(case).node).flops


@pytest.mark.parametrize("part", range(PARTS))
def test_cases(part: int, full: bool) -> None:
    """With --full all of them."""
    cases = CASES if full else spread()
    outcomes = [outcome_on(c, i) for i, c in list(enumerate(cases))[part::PARTS]]
    assert len(outcomes) >= 20
    assert [f"{o.case.op} {o.case.what}: {o.status}, {o.why}" for o in outcomes if o.status != "pass"] == []
