"""The op table on every backend, and what the table itself must hold."""

import pytest
from vkrun.runtime.ir.ops import OPS
from vkrun.runtime.ir.traffic import traffic
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES, cases_for
from vkrun.shaders.catalogue import KERNELS, lower, refusal, variants
from vkrun.shaders.kernel import Features
from vkrun.tests.nodes import bare
from vkrun.tests.ops.kompute_cases import spread

MOST, MOST_COMPILED = 12, 2  # cases of an op in a plain run, spread: numpy's, and where kernels are compiled for them
OPS_OF_TABLE = list(dict.fromkeys(c.op for c in CASES))


def some(cases, backend, full):
    if full:
        return spread(cases) if backend == "kompute" else cases
    most = MOST if backend == "cpu" else MOST_COMPILED
    return cases[:: max(1, -(-len(cases) // most))]


@pytest.mark.full("kompute")  # of which test_kompute_optable runs a part
@pytest.mark.parametrize("op", OPS_OF_TABLE)
def test_op(op, backend, devices, full):
    """Plainly some."""
    device = devices(backend)
    outcomes = [run_case(c, device) for c in some([c for c in CASES if c.op == op], backend, full)]
    wrong = [f"{o.case.what}: {o.status}, {o.why}" for o in outcomes if o.status != "pass"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.full("kompute")
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("op", [name for name in OPS_OF_TABLE if OPS[name].decompose])
def test_decomposed(op, level, backend, devices, full):
    """Primitives are the same at every level, and levels 2 and 3 keep what has a kernel. Plainly some."""
    cases = [c for c in cases_for(True, level) if c.op == op]
    outcomes = [run_case(c, devices(backend), level) for c in some(cases, backend, full)]
    wrong = [f"{o.case.what}: {o.status}, {o.why}" for o in outcomes if o.status != "pass"]
    assert not wrong, "\n".join(wrong)


def test_the_table_is_large_and_mostly_of_views():
    assert len(OPS_OF_TABLE) >= 25
    assert len(CASES) >= 400
    assert sum(not c.plain for c in CASES) * 2 >= len(CASES)


def test_every_primitive_is_in_the_table():
    missing = [name for name, op in OPS.items() if op.decompose is None and name not in OPS_OF_TABLE]
    assert missing == ["delta_parts", "delta_scan"]  # which cases of gated_delta_net come to: test_host_delta.py


@pytest.mark.parametrize("op", OPS_OF_TABLE)
def test_every_case_is_counted_and_cut(op):
    for case in (c for c in CASES if c.op == op):
        node = bare(case).node
        assert traffic(node).written > 0 or not any(t.layout.n_elements for t in node.outputs)
        OPS[op].cuts(*node.inputs, **node.attrs)


SORTS_OF_DEVICES = (
    Features(),
    Features(subgroup_size=4),
    Features(subgroup_size=8, software=True),
    Features(subgroup_size=32, int_dot=True, float16=True, shared_nbytes=49152, max_workgroup=1024),
)


@pytest.mark.parametrize("features", SORTS_OF_DEVICES, ids=["plain", "of 4", "software", "usual"])
def test_every_dispatch_is_of_a_variant_that_wheels_bring(features):
    known = set(variants())
    for case in cases_for(features.software)[::3]:
        node = bare(case).node
        call = None if refusal(node, features) else lower(node, features)
        assert call is None or (call.stem, call.defines) in known, case.what


def test_a_kernel_refuses_what_it_does_not_name():
    unknown = [(op, k.options - OPS[op].options.keys()) for op, kernels in KERNELS.items() for k in kernels]
    named = {op: {name for c in CASES if c.op == op for name in OPS[op].options_of(c.attrs)} for op in KERNELS}
    assert [(op, names - named[op]) for op, names in unknown if names - named[op]] == []
    for case in CASES:
        node = bare(case).node if case.attrs else None
        for kernel in KERNELS.get(case.op, []) if node else ():
            if others := OPS[case.op].options_of(node.attrs) - kernel.options:
                assert kernel.refuses(node, Features()) == f"knows no {' or '.join(sorted(others))}"


def test_the_names_of_an_ops_cases_differ():
    names = [(c.op, c.what) for c in CASES]
    assert len(set(names)) == len(names)
