"""What kernels say of themselves is true: an operand changed in one way is refused, or the numbers are right."""

from dataclasses import replace
from math import inf

import pytest
from vkrun.backends.base import Device
from vkrun.backends.cpu import BACKEND as CPU
from vkrun.backends.host import BACKEND as HOST
from vkrun.backends.vulkan import BACKEND
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import Setting, compare, execute, limited, planned, run
from vkrun.runtime.optable.table import CASES
from vkrun.shaders import catalogue
from vkrun.shaders.kernel import Features
from vkrun.shaders.operands import FLOATS, NUMBERS
from vkrun.tests.ops.flips import Flip, cases_to_flip, flips_of

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers too large for halves are tried too
OPS_OF_TABLE = list(dict.fromkeys(c.op for c in CASES))
SAMPLE = 6  # of the flips that are taken, so many go to a run without --full

DEVICES = {
    "its own": {},
    "for GPUs": {"software": False, "delta_chunks": False},
    "poorest": vars(Features()),
}


def fault(flip: Flip, device: Device) -> str:
    """Empty when the device's numbers are those of the op's meaning."""
    setting = flip.setting()
    assert setting
    wanted = execute(setting, CPU.open(CPU.devices()[0]))
    plan = planned(setting, device)
    case = flip.case.in_halves() if _by_matrices(setting, device) else limited(flip.case, device, plan)
    if all(t.shape[-1:] == (1,) for t in setting.node.outputs):
        case = replace(case, row=inf)  # the only number of a row may be next to nothing
    outcome = compare(case, setting, run(setting, device, plan), wanted)
    return "" if outcome.status == "pass" else f"{flip.what}: {outcome.why}"


def _by_matrices(setting: Setting, device: Device) -> bool:
    """Is the changed case large enough for the kernel that rounds to halves?"""
    call = catalogue.lower(setting.node, device.features)
    return call is not None and call.code.stem.endswith("_matrix")


def taken(case: Case, device: Device) -> list[Flip]:
    """The flips that both the op and the device take."""
    return [flip for flip in flips_of(case) if flip.is_taken(device)]


def pytest_generate_tests(metafunc):
    if "device" in metafunc.fixturenames:
        wanted = ["its own"]
        if metafunc.config.getoption("--full"):
            wanted = [*DEVICES, *([] if HOST.why_missing() else ["host"])]  # on the host every access is checked
        metafunc.parametrize("device", wanted, indirect=True, scope="module")


@pytest.fixture(scope="module")
def device(request):
    if request.param == "host":
        opened = HOST.open(HOST.devices()[0])
    else:
        info = BACKEND.devices()[0]
        opened = BACKEND.open(info, features=Features(**{**info.features, **DEVICES[request.param]}))
    yield opened
    opened.close()


@pytest.mark.parametrize("op", OPS_OF_TABLE)
def test_operands(op, device, full):
    for case in cases_to_flip(op, device)[: 2 if full else 1]:
        flips = taken(case, device)
        assert flips[0].what == "as it is"
        sample = flips if full else flips[:: max(1, len(flips) // SAMPLE)]
        assert [why for flip in sample if (why := fault(flip, device))] == []


@pytest.mark.parametrize(
    ("op", "name", "claimed"),
    [
        ("qk_rope_cache", "v", NUMBERS.rows.joined(2)),
        ("experts_down", "hidden", FLOATS),
        ("qk_rope_cache", "q", FLOATS.joined(2)),
    ],
)
def test_a_kernel_that_claims_too_much_is_found(op, name, claimed, devices, monkeypatch):
    """Halves read as floats, and inner strides that the shader does not read."""
    device = devices("vulkan")
    case = cases_to_flip(op, device)[0]
    boastful = [replace(k, takes=k.takes | {name: claimed}) for k in catalogue.KERNELS[op]]
    monkeypatch.setitem(catalogue.KERNELS, op, boastful)
    assert [why for flip in taken(case, device) if (why := fault(flip, device))]
