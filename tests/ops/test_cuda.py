"""The cuda backend on a stand-in driver, which runs kernels on the CPU; and what it says where things are missing."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from vkrun.backends import registry
from vkrun.backends.cuda import BACKEND, api, physical
from vkrun.backends.cuda.device import CudaDevice
from vkrun.backends.host import BACKEND as HOST
from vkrun.backends.together import Once
from vkrun.backends.work import BUDGETS
from vkrun.runtime.errors import BackendError
from vkrun.runtime.extras import brought_by
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Branch, Graph, Node
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES
from vkrun.tests.cuda_stand_in import MEMORY_NBYTES, StandIn
from vkrun.tests.ops.spread import spread

runs_kernels = pytest.mark.skipif(bool(HOST.why_missing()), reason=HOST.why_missing())


def state(name: str, *shape: int, kind: Kind = Kind.STATE) -> Storage:
    return Storage(name, kind, DType.F32, shape)


def test_the_device_says_what_it_is(driver: StandIn) -> None:
    (info,) = BACKEND.devices()
    assert (info.name, info.kind, info.memory, info.missing) == ("Stand-in", "discrete gpu", MEMORY_NBYTES, "")
    assert info.driver == "CUDA 13.0, NVRTC 13.0" and info.features["subgroup_size"] == 32
    assert info.features["capability"] == "9.0" and info.features["cooperative_matrix"] == ((16, 16, 16), (16, 8, 16))
    assert BACKEND.why_missing() == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue\nGCC version: 12\n",
            "NVIDIA 580.159.04, ",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  575.57.08  Release\n", "NVIDIA 575.57.08, "),
        ("NVRM version: none\n", ""),
    ],
)
def test_the_driver_is_named_as_linux_names_it(driver: StandIn, monkeypatch, tmp_path, text: str, said: str) -> None:
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(physical, "KERNEL_MODULE", tmp_path / "version")
    assert [info.driver for info in BACKEND.devices()] == [f"{said}CUDA 13.0, NVRTC 13.0"]


@pytest.mark.parametrize(
    ("driver", "version", "why"),
    [
        (StandIn(n_devices=0), (13, 0), "cuda: no NVIDIA device"),
        (StandIn(version=11080), (11, 8), "cuda: the driver is too old: it knows CUDA 11.8, 12.4 is needed"),
        (StandIn(version=12040), (13, 5), "cuda: NVRTC 13.5 is newer than the driver, which knows CUDA 12.4"),
    ],
)
def test_what_is_missing_is_one_line(put_in, driver: StandIn, version: tuple[int, int], why: str) -> None:
    put_in(driver, version)
    assert BACKEND.why_missing().startswith(why) and "\n" not in BACKEND.why_missing()
    assert BACKEND.devices() == []


@pytest.mark.parametrize(("version", "nvrtc"), [(12040, (12, 4)), (13030, (12, 9)), (13000, (13, 5))])
def test_drivers_and_compilers_of_one_generation_and_older_compilers_go_together(put_in, version, nvrtc) -> None:
    put_in(StandIn(version=version), nvrtc)
    assert BACKEND.why_missing() == "" and len(BACKEND.devices()) == 1


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"COMPUTE_CAPABILITY_MAJOR": 6}, "compute capability 6.0, at least 7.0 is needed"),
        ({"COMPUTE_CAPABILITY_MAJOR": 7}, "NVRTC 13.0 knows nothing of compute capability 7.0; another version does"),
        ({"VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED": 0}, "no virtual memory management, .*"),
    ],
)
def test_a_device_says_what_it_lacks(driver: StandIn, attributes: dict[str, int], why: str) -> None:
    driver.attributes |= attributes
    (info,) = BACKEND.devices()
    assert re.fullmatch(why, info.missing)
    with pytest.raises(BackendError, match=rf"^cuda: Stand-in: {why}$"):
        BACKEND.open(info)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (
            46,
            r"another process has the device for itself .* \(CUDA error 46\)",
        ),
        (2, r"out of memory \(CUDA error 2\); others hold nearly all of its 256 MiB"),
        (802, r"the system is not ready \(is nvidia-fabricmanager running\?\) \(CUDA error 802\)"),
    ],
)
def test_a_device_that_cannot_be_had_is_one_line(driver: StandIn, status: int, why: str) -> None:
    driver.refuses["cuDevicePrimaryCtxRetain"] = status, 0
    (info,) = BACKEND.devices()
    with pytest.raises(BackendError, match=rf"^Stand-in: cuda: cuDevicePrimaryCtxRetain: {why}$"):
        BACKEND.open(info)


def test_a_device_that_fails_half_opened_leaves_nothing(driver: StandIn) -> None:
    driver.refuses["cuMemAddressReserve"] = 2, 0
    with pytest.raises(BackendError, match="cuMemAddressReserve: out of memory"):
        BACKEND.open(BACKEND.devices()[0])


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    api.nvrtc.cache_clear(), api.driver.cache_clear(), api.start.cache_clear()
    assert BACKEND.why_missing().endswith(f"; {brought_by('cuda')}") and "\n" not in BACKEND.why_missing()
    assert BACKEND.devices() == []
    api.nvrtc.cache_clear(), api.driver.cache_clear(), api.start.cache_clear()


def test_storages_keep_what_is_written(device: CudaDevice) -> None:
    s, zeros = state("s", 70, 100), state("z", 3)
    device.alloc([s, zeros])
    data = np.arange(7000, dtype=np.float32).reshape(70, 100)
    device.write(s, data)
    device.write(s, data[:2] + 0.5, row=68)
    data[68:] = data[:2] + 0.5
    assert (device.read(s) == data).all() and (device.read(zeros) == 0).all()
    device.free([s])
    with pytest.raises(BackendError, match="s: state without memory on this device"):
        device.read(s)


def test_out_of_memory_is_one_line_with_both_figures(device: CudaDevice) -> None:
    before = device.memory_used()
    few, many = state("few", 1000), state("many", MEMORY_NBYTES)
    with pytest.raises(
        BackendError, match=r"out of memory for many: 1024\.0 MiB wanted .*, .* MiB free, of 256\.0 MiB"
    ):
        device.alloc([few, many])
    assert device.memory_used() == before


def chain(n: int, size: int = 64) -> tuple[Graph, Storage]:
    """x [size] after n additions of itself, one after the other."""
    graph, x = Graph(), state("x", size)
    t = x.tensor()
    for _ in range(n):
        (t,) = graph.emit("add", t, t)
    graph.output("y", t)
    return graph, x


@runs_kernels
@pytest.mark.parametrize("off", ["", "CUDA_GRAPH", "DEPENDENT_LAUNCH"])
def test_a_chain_in_a_graph_and_without(device: CudaDevice, driver: StandIn, monkeypatch, off: str) -> None:
    """In a graph whatever may run in another order does: only its edges keep the chain in order."""
    if off:
        monkeypatch.setenv(f"VKRUN_NO_{off}", "1")
    graph, x = chain(5)
    device.alloc([x])
    program = device.compile(make_plan(graph))
    for number in (1, 3):
        device.write(x, np.full(64, number, np.float32))
        program.run()
        assert (program.read(graph.outputs["y"]) == 32 * number).all()
    assert driver.edges == (0 if off else 4)
    assert (driver.calls["cuGraphLaunch"], driver.calls["cuLaunchKernel"]) == (
        (0, 10) if off == "CUDA_GRAPH" else (2, 0)
    )
    assert len(program.profile()) == 5


@runs_kernels
@pytest.mark.parametrize("dropped", [1, 2, 3])
def test_every_edge_is_needed(device: CudaDevice, dropped: int) -> None:
    """Without one barrier the stand-in runs the two kernels around it the other way round."""
    graph, x = chain(4)
    plan = make_plan(graph)
    assert plan.barriers == (False, True, True, True)
    device.alloc([x])
    device.write(x, np.ones(64, np.float32))
    for barriers in (plan.barriers, tuple(b and i != dropped for i, b in enumerate(plan.barriers))):
        program = device.compile(replace(plan, barriers=barriers))
        program.run()
        assert (program.read(graph.outputs["y"]) == 16).all() == (barriers == plan.barriers)


@runs_kernels
@pytest.mark.parametrize(("watched", "gflop", "n_graphs"), [(0, "", 1), (1, "", 3), (0, "0.0011", 6)])
def test_long_steps_are_cut_where_a_watchdog_looks_on(
    driver: StandIn, monkeypatch: pytest.MonkeyPatch, watched: int, gflop: str, n_graphs: int
) -> None:
    """Each graph within the budget, or of one launch; those after it wait for it."""
    monkeypatch.setitem(BUDGETS, "discrete gpu", 2.5e6)
    monkeypatch.setenv("VKRUN_SUBMIT_GFLOP", gflop)
    driver.attributes["KERNEL_EXEC_TIMEOUT"] = watched
    graph, x = chain(6, 1 << 15)
    with closing(BACKEND.open(BACKEND.devices()[0])) as device:
        device.alloc([x])
        device.write(x, np.ones(1 << 15, np.float32))
        program = device.compile(make_plan(graph))
        program.run()
        y = program.read(graph.outputs["y"])
    assert (y == 64).all() and driver.calls["cuGraphLaunch"] == n_graphs


@runs_kernels
def test_a_lost_device_is_one_line_and_closes(put_in) -> None:
    driver = put_in(StandIn())
    device = BACKEND.open(BACKEND.devices()[0])
    graph, x = chain(2)
    device.alloc([x])
    program = device.compile(make_plan(graph))
    driver.is_lost = True
    with pytest.raises(BackendError, match=r"cuGraphLaunch: a kernel touched memory that is not its own.*error 700\)$"):
        program.run()
    program.close()
    device.close()


@runs_kernels
def test_any_thread_may_call(device: CudaDevice) -> None:
    graph, x = chain(2)

    def use() -> float:
        device.write(x, np.full(64, 3, np.float32))
        program = device.compile(make_plan(graph))
        program.run()
        return float(program.read(graph.outputs["y"])[0]) + float(device.read(x)[0])

    device.alloc([x])
    with ThreadPoolExecutor(4) as pool:
        assert [f.result() for f in [pool.submit(use) for _ in range(8)]] == [15.0] * 8


@runs_kernels
def test_kernels_are_compiled_ahead_by_another_thread(device: CudaDevice) -> None:
    g, x = chain(3)
    device.alloc([x])
    compiled, kernels = [], device._resources.kernels
    kernels._cubins = Once(lambda key: compiled.append(key) or key)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(device.make_kernels, make_plan(g)).result()
    n_ahead, program = len(compiled), device.compile(make_plan(g))
    program.run()
    assert len(compiled) == n_ahead > 0 and program.read(g.outputs["y"]).shape == (64,)


@runs_kernels
def test_two_may_be_under_way_and_no_more(device: CudaDevice) -> None:
    graph, x = chain(1)
    device.alloc([x])
    program = device.compile(make_plan(graph))
    program.submit()
    program.submit()
    with pytest.raises(BackendError, match="2 submissions under way"):
        program.submit()
    program.wait()
    program.submit()
    device.free([x])
    with pytest.raises(BackendError, match="closed"):
        program.submit()


@runs_kernels
def test_a_program_goes_on_when_the_arena_grows(device: CudaDevice) -> None:
    """Its graph stays as it was made."""
    graph, x = chain(3)
    device.alloc([x])
    device.write(x, np.ones(64, np.float32))
    small = device.compile(make_plan(graph))
    big, wide = Graph(), state("wide", 1 << 20)
    device.alloc([wide])
    (t,) = big.emit("add", wide.tensor(), wide.tensor())
    big.output("y", *big.emit("add", t, t))
    used = device.memory_used()["arena"]
    device.compile(make_plan(big))
    assert device.memory_used()["arena"] > used > 0
    small.run()
    assert (small.read(graph.outputs["y"]) == 8).all()


@runs_kernels
@pytest.mark.parametrize("side", [0, 1])
def test_only_runs_that_take_a_branch_run_its_nodes(device: CudaDevice, side: int) -> None:
    which, y = Storage("which", Kind.INPUT, DType.I32, (1,)).tensor(), state("y", 64).tensor()
    node = Node("scale", (y,), (y,), {"factor": 1.0, "bias": 1.0}, branch=Branch(which, side))
    device.alloc([y.storage, which.storage])
    program = device.compile(make_plan(Graph().replaced([node])))
    for number, times in ((1 - side, 0), (side, 1), (side, 2)):
        device.write(which.storage, np.array([number], np.int32))
        program.run()
        assert (device.read(y.storage) == times).all()


@runs_kernels
def test_pad_and_set_take_any_layout(device: CudaDevice) -> None:
    """Also what is permuted, strided and set apart, on both sides."""
    cases = [c for c in CASES if c.op in ("pad", "set") and c.in_one]
    outcomes = [run_case(c, device) for c in cases]
    assert len(outcomes) > 20 and {o.case.strided_out for o in outcomes} == {False, True}
    assert [f"{o.case.op} {o.case.what}: {o.why}" for o in outcomes if o.status != "pass"] == []


@runs_kernels
def test_the_op_table_on_the_stand_in(device: CudaDevice, full: bool) -> None:
    cases = [c for c in CASES if c.in_one]
    cases = spread(cases, 16) if full else cases[::150]
    outcomes = [run_case(c, device) for c in cases]
    assert len(outcomes) > 15
    assert [f"{o.case.op} {o.case.what}: {o.why}" for o in outcomes if o.status != "pass"] == []


def test_this_machine_has_it_or_says_why_not_in_one_line() -> None:
    backend = registry.get("cuda")
    assert bool(backend.devices()) == (backend.why_missing() == "")
    assert len(backend.why_missing().splitlines()) <= 1
