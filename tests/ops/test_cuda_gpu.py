"""What only a GPU shows of the cuda backend; tests/ops/test_cuda.py has the rest, on a stand-in driver."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from vkrun.backends import registry
from vkrun.backends.base import Device
from vkrun.backends.cuda import api
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import Plan, make_plan
from vkrun.runtime.ir.tensor import Kind, Storage

WHY = registry.get("cuda").why_missing()
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY)
N = 2048
RIGHT = [[-1.0], [-2.0], [-3.0]]


@pytest.fixture
def device(devices: Callable[[str], Device]) -> Device:
    return devices("cuda")


def long_then_short() -> tuple[Plan, Storage, Storage]:
    """A product that takes long, and what is made of it in no time."""
    w, x = (Storage(name, Kind.STATE, DType.F32, (N, N)) for name in "wx")
    graph = Graph()
    graph.output("y", graph.neg(graph.mul_mat(w.tensor(), x.tensor())))
    return make_plan(graph), w, x


def results(device: Device, plan: Plan, w: Storage, x: Storage) -> list[list[float]]:
    """Of an identity and of constants: the numbers that each run gives in its last row."""
    device.write(w, np.eye(N, dtype=np.float32))
    program, found = device.compile(plan), []
    for number in (1, 2, 3):
        device.write(x, np.full((N, N), number, np.float32))
        program.run()
        found.append(np.unique(program.read(plan.graph.outputs["y"])[-1]).tolist())
    program.close()
    return found


@pytest.mark.parametrize("off", ["", "CUDA_GRAPH", "DEPENDENT_LAUNCH"])
def test_a_run_sees_what_was_written_before_it(device: Device, monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    if off:
        monkeypatch.setenv(f"VKRUN_NO_{off}", "1")
    plan, w, x = long_then_short()
    device.alloc([w, x])
    assert results(device, plan, w, x) == RIGHT
    device.free([w, x])


def test_an_edge_that_is_dropped_shows(device: Device) -> None:
    """The second kernel then begins beside the first, and takes what the run before had left."""
    plan, w, x = long_then_short()
    device.alloc([w, x])
    assert plan.barriers == (False, True) and results(device, plan, w, x) == RIGHT
    assert results(device, replace(plan, barriers=(False, False)), w, x)[1:] != RIGHT[1:]
    device.free([w, x])


def test_memory_that_is_not_there_is_one_line_with_both_figures(device: Device) -> None:
    free = device.nbytes_free() or 0
    huge = [Storage(f"t{i}", Kind.STATE, DType.F32, (1 << 28,)) for i in range(free // (1 << 30) + 1)]
    with pytest.raises(
        BackendError, match=r"^.*: out of memory for t\d+: .* MiB wanted .*, .* MiB free, of .* in all$"
    ):
        device.alloc(huge)
    assert abs((device.nbytes_free() or 0) - free) < 1 << 27


def test_profiles_take_about_what_runs_take(device: Device) -> None:
    plan, w, x = long_then_short()
    device.alloc([w, x])
    program = device.compile(plan)
    program.run()
    product, rest = program.profile()
    assert product > 10 * rest > 0
    device.free([w, x])


def test_the_driver_says_what_it_is(device: Device) -> None:
    assert f"CUDA {api.version_text(api.start())}, NVRTC " in device.info.driver
    assert device.info.memory >= (device.nbytes_free() or 0) > 0
