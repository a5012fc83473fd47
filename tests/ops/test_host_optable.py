"""The op table on the host backend, where every access is checked: spread over its devices, each case on one."""

import re
from functools import cache

import pytest
from vkrun.backends.base import Device
from vkrun.backends.host import BACKEND, LANES
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import Outcome, run_case
from vkrun.runtime.optable.table import CASES
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.kernel import Variant
from vkrun.tests.nodes import bare
from vkrun.tests.ops.spread import spread, work
from vkrun.tests.ops.test_host_matrices import STEMS, cases_of
from vkrun.tests.untyped import untyped

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

SPREAD = 10  # without --full one of so many neighbours of an op
PARTS = 16
N_DEVICES = 2 * len(LANES)  # Metal's are tried in test_host_msl.py
OF_MATRICES = 0, 1  # of them
TYPES = re.compile(rf"^((?:{'|'.join(t.name for t in DType)})(?:, |: ))+")  # of weights: names of cases begin so


@cache
def device(index: int) -> Device:
    return BACKEND.open(BACKEND.devices()[index % N_DEVICES])


def outcome_on(case: Case, index: int) -> Outcome:
    """Of the case as one node, or as a plan makes it where the device has kernels for its parts only."""
    found = run_case(case, device(index))
    return run_case(case, device(index), 3) if found.status == "refused" else found


@cache
def of_all_kinds() -> list[tuple[int, Case]]:
    """Of cases that differ in types of weights alone the one that is least work, and such a one of each shader's flags
    and of each of its types with them; but for what test_host_matrices.py runs on the same device. With their indices,
    which choose their devices."""
    found: dict[object, list[int]] = {}
    others = {(c.op, c.what) for stem in STEMS for c in cases_of(stem)}
    for i, case in enumerate(CASES):
        if i % N_DEVICES not in OF_MATRICES or (case.op, case.what) not in others:
            for kind in kinds(case, variant(case, i)):
                found.setdefault(kind, []).append(i)
    works = [work(case) for case in CASES]
    return [(i, CASES[i]) for i in sorted({min(those, key=works.__getitem__) for those in found.values()})]


def kinds(case: Case, variant: Variant | None) -> list[object]:
    of_case = (case.op, TYPES.sub("", case.what))
    if variant is None:
        return [of_case]
    alike = untyped(variant)
    return [of_case, alike, *((alike, d) for d in variant[1] if d not in alike[1])]


def variant(case: Case, index: int) -> Variant | None:
    """That runs it on a device, None where a plan makes several of it."""
    node, features = bare(case).node, device(index).features
    call = None if refusal(node, features) else lower(node, features)
    return (call.stem, call.defines) if call else None


@pytest.mark.parametrize("part", range(PARTS))
def test_cases(part: int, full: bool, exhaustive: bool) -> None:
    """With --full of all kinds, with --exhaustive all of them."""
    chosen = of_all_kinds() if full and not exhaustive else list(enumerate(CASES if full else spread(CASES, SPREAD)))
    outcomes = [outcome_on(c, i) for i, c in chosen[part::PARTS]]
    assert len(outcomes) >= 20
    assert [f"{o.case.op} {o.case.what}: {o.status}, {o.why}" for o in outcomes if o.status != "pass"] == []
