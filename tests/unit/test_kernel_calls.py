"""Kernel calls fit what their shaders declare: buffers, arguments and constants, in the shader's own order."""

import pytest
from vkrun.runtime.optable.run import prepare
from vkrun.runtime.optable.table import cases_for
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.compile import spirv
from vkrun.shaders.kernel import Features, KernelCall
from vkrun.tests.spirv_module import interface_of

CPU = Features(subgroup_size=8, software=True, shared_nbytes=32768, max_workgroup=1024)
GPU = Features(subgroup_size=32, shared_nbytes=49152, max_workgroup=1024, delta_chunks=True, float16=True, int_dot=True)
POOREST = Features()


def calls(op: str, features: Features) -> dict[tuple, KernelCall]:
    """One for each variant that the cases of an op use."""
    nodes = (prepare(case).node for case in cases_for(features.software) if case.op == op)
    made = (lower(node, features) for node in nodes if not refusal(node, features))
    return {(call.stem, call.defines): call for call in made if call}


@pytest.mark.parametrize("op", list(dict.fromkeys(c.op for c in cases_for(True))))
def test_calls_fit_their_shaders(op: str, full: bool) -> None:
    for features in (CPU, GPU, POOREST) if full else (CPU,):
        for variant, call in calls(op, features).items():
            declared = interface_of(spirv(*variant))
            assert declared.bindings == set(range(len(call.buffers))), call
            assert declared.n_words == len(call.arguments), call
            assert declared.constants <= set(range(len(call.constants))), call
