"""Some of the op table on kompute: with memory of the device's own, and under the validation layer."""

import os
import subprocess
import sys

import pytest
import vulkan
from vkrun.backends.kompute import BACKEND, api
from vkrun.backends.kompute.device import KomputeDevice
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES
from vkrun.tests.ops.kompute_cases import USUAL

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

TABLE = """
import sys, warnings
warnings.simplefilter("ignore")
from vkrun.backends.kompute import BACKEND
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES
from vkrun.tests.ops.kompute_cases import USUAL
device = BACKEND.open(BACKEND.devices()[0])
for case in (CASES if sys.argv[1] == "all" else USUAL)[1 :: int(sys.argv[2])]:
    if (outcome := run_case(case, device)).status != "pass":
        print(case.op, case.what, outcome.why)
device.close()
"""


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_cases_pass_in_device_memory(exhaustive: bool) -> None:
    """Of those that test_op_table runs, with --exhaustive of all."""
    device = KomputeDevice(BACKEND.devices()[0], on_host=False)
    outcomes = [run_case(case, device) for case in (CASES[::7] if exhaustive else USUAL[::3])]
    device.close()
    assert len({o.case.op for o in outcomes}) > 30
    assert [(o.case.op, o.case.what, o.why) for o in outcomes if o.status != "pass"] == []


def test_cases_pass_and_the_validation_layer_is_silent(full: bool, exhaustive: bool) -> None:
    """Likewise."""
    layer = api.VALIDATION["VK_INSTANCE_LAYERS"]
    here = any(known.layerName == layer for known in vulkan.vkEnumerateInstanceLayerProperties())
    env = os.environ | {"VKRUN_VALIDATE": str(int(here))}
    command = [sys.executable, "-c", TABLE, *(("all", "5") if exhaustive else ("usual", "2" if full else "70"))]
    run = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
