"""The delta rule in two steps by cooperative matrices, on the host backend: right in both orders of lanes."""

from functools import cache

import pytest
from vkrun.backends.host import BACKEND
from vkrun.backends.host.device import HostDevice
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.optable.cases_prompts import CASES
from vkrun.runtime.optable.run import run_case
from vkrun.tests.nodes import bare

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

FOUND = [c for c in CASES if c.op == "gated_delta_net"]


@cache
def device(backwards: bool) -> HostDevice:
    return BACKEND.open(BACKEND.devices()[int(backwards)])


@pytest.mark.full(*(c for c in FOUND if c.what.endswith(("small values", "large values", "a value"))))
@pytest.mark.parametrize("case", FOUND, ids=lambda c: c.what)
def test_cases(case, full: bool) -> None:
    for backwards in (False, True) if full else (FOUND.index(case) % 2 == 1,):
        assert run_case(case, device(backwards), 3).why == ""


def test_they_run_in_two_steps() -> None:
    plan = lean_plan(bare(FOUND[0]).graph, 3, device(False).supports)
    assert [n.op for n in plan.nodes] == ["delta_parts", "delta_scan"]
