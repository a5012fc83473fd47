"""Programs on Vulkan: recorded once, run many times, sharing states and the arena."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from vkrun.backends.vulkan import BACKEND
from vkrun.backends.vulkan.api import vk
from vkrun.backends.vulkan.device import VulkanDevice
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Branch, Graph, Node
from vkrun.runtime.ir.plan import lean_plan, make_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.shaders.kernel import Features


@pytest.fixture
def device() -> Iterator[VulkanDevice]:
    opened = BACKEND.open(BACKEND.devices()[0])
    yield opened
    opened.close()


def state(*shape: int, name: str = "s") -> Tensor:
    return Storage(name, Kind.STATE, DType.F32, shape).tensor()


def added(s: Tensor, n: int, width: int = 64) -> tuple[Graph, Tensor]:
    """s += x, n times over, through temporaries; the sum is the output."""
    g = Graph()
    x = g.input("x", s.shape)
    y = s
    for _ in range(n):
        wide = g.repeat(g.add(s, x).unsqueeze(0), width, *s.shape)
        y = g.cpy(wide.select(0, width - 1), s)
    g.output("y", y)
    return g, y


def chain(n: int, size: int = 64) -> Graph:
    g = Graph()
    y = g.input("x", (size,))
    for i in range(n):
        y = g.scale(y, 1.0, float(i % 3))
    g.output("y", y)
    return g


def storages(g: Graph) -> list[Storage]:
    return [t.storage for t in g.inputs.values()]


def test_inputs_change_between_runs_and_nothing_is_recorded(device: VulkanDevice) -> None:
    s = state(5)
    g, y = added(s, 3)
    device.alloc([s.storage, *storages(g)])
    program, total = device.compile(make_plan(g)), np.zeros(5, np.float32)
    program.run()
    for k in range(4):
        x = np.arange(5, dtype=np.float32) + k
        total += 3 * x
        device.write(g.inputs["x"].storage, x)
        with vk.counting() as calls:
            program.run()
        assert calls == {"vkQueueSubmit": 1, "vkWaitForFences": 1, "vkResetFences": 1}
        assert np.array_equal(program.read(y), total)
        assert np.array_equal(device.read(s.storage), total)


@pytest.mark.parametrize("level", range(4))
def test_only_the_branch_that_a_step_takes_is_dispatched(device: VulkanDevice, level: int) -> None:
    """One recording serves both; the counts in a state tell which dispatches ran."""
    count = state(1, 3, name="count")
    g, which = branching()
    device.alloc([count.storage, *storages(g)])
    device.write(g.inputs["x"].storage, np.arange(6, dtype=np.float32))
    plan = lean_plan(g, level, device.supports)
    assert "select" not in {n.op for n in plan.nodes}
    nodes = *plan.nodes, *counted(count, which)
    plan = replace(plan, graph=plan.graph.replaced(nodes), barriers=(*plan.barriers, True, True))
    program, ran = device.compile(plan), np.zeros(3)
    for side in (0, 1, 7, 0, -1):
        device.write(which.storage, np.array([side], np.int32))
        with vk.counting() as calls:
            program.run()
        assert calls == {"vkQueueSubmit": 1, "vkWaitForFences": 1, "vkResetFences": 1}
        x = np.arange(6, dtype=np.float32)
        wanted = np.exp(x) if side else -x
        assert np.allclose(program.read(plan.graph.outputs["y"]), wanted)
        ran[1 if side else 0] += 1
        assert np.array_equal(device.read(count.storage)[0], ran)
    assert sum(seconds > 0 for seconds in program.profile()) >= 3


def branching() -> tuple[Graph, Tensor]:
    """exp(x) or -x."""
    g = Graph()
    x, which = g.input("x", (6,)), g.input("which", (1,), DType.I32)
    g.output("y", g.select("it", which, g.neg(x), g.exp(x)))
    return g, which


def counted(count: Tensor, which: Tensor) -> Iterator[Node]:
    """Nodes that count how often each branch ran."""
    for side in (0, 1):
        place = count.slice(1, side, side + 1)
        yield Node("scale", (place,), (place,), {"factor": 1.0, "bias": 1.0}, "", Branch(which, side))


def test_an_input_write_makes_no_vulkan_call(device: VulkanDevice) -> None:
    g = chain(1)
    device.alloc(storages(g))
    with vk.counting() as calls:
        device.write(g.inputs["x"].storage, np.ones(64, np.float32))
    assert not calls


def test_two_programs_share_a_state_and_one_arena(device: VulkanDevice) -> None:
    s = state(100)
    (small, _), (large, y) = added(s, 1, 2), added(s, 2, 500)
    device.alloc([s.storage, *storages(small), *storages(large)])
    one = np.ones(100, np.float32)
    for g in (small, large):
        device.write(g.inputs["x"].storage, one)
    first, second = device.compile(make_plan(small)), device.compile(make_plan(large))
    arena = device.memory_used()["arena"]
    assert arena == make_plan(large).arena.nbytes  # the larger plan's, for both
    for k in range(3):
        first.run()  # recorded before the arena grew
        second.run()
        assert np.array_equal(second.read(y), 3 * (k + 1) * one)
    programs = [device.compile(make_plan(added(s, 1, n)[0].replaced(small.nodes))) for n in range(1, 20)]
    assert device.memory_used()["arena"] == arena and len(programs) == 19


def test_a_result_outlives_another_programs_run(device: VulkanDevice) -> None:
    a, b = chain(4), chain(9)
    device.alloc([*storages(a), *storages(b)])
    device.write(a.inputs["x"].storage, np.full(64, 10, np.float32))
    first, second = device.compile(make_plan(a)), device.compile(make_plan(b))
    first.run()
    second.run()
    assert (first.read(a.outputs["y"]) == 10 + 0 + 1 + 2 + 0).all()
    assert (second.read(b.outputs["y"]) == 9).all()


def test_views_states_and_inputs_may_be_outputs(device: VulkanDevice) -> None:
    s, g = state(4, 6), Graph()
    x = g.input("x", (4, 6))
    g.cpy(x, s)
    y = g.neg(x)
    views = {"t": y.permute(1, 0), "part": y.slice(1, 2, 6, 3), "wide": y.slice(0, 1, 2).broadcast_to(3, 6)}
    views |= {"state": s.slice(0, 1, 3), "input": x, "none": y.slice(0, 0, 0)}
    for name, t in views.items():
        g.output(name, t)
    device.alloc([s.storage, x.storage])
    data = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    device.write(x.storage, data)
    program = device.compile(make_plan(g))
    program.run()
    wanted = {"t": -data.T, "part": -data[:, 2::3], "wide": np.repeat(-data[1:2], 3, 0)}
    wanted |= {"state": data[1:3], "input": data, "none": data[:0]}
    for name, array in wanted.items():
        got = program.read(views[name])
        assert got.flags.owndata and got.shape == array.shape and np.array_equal(got, array), name
    with pytest.raises(BackendError, match="no output of the program"):
        program.read(y.slice(0, 1, 2))


def test_nodes_over_nothing_are_left_out(device: VulkanDevice) -> None:
    g = Graph()
    x = g.input("x", (3, 4))
    y = g.concat(g.neg(x.slice(0, 0, 0)), x, 0)
    g.output("y", y)
    device.alloc(storages(g))
    device.write(x.storage, np.ones((3, 4), np.float32))
    program = device.compile(make_plan(g))
    program.run()
    assert (program.read(y) == 1).all()


def test_an_empty_plan_runs(device: VulkanDevice) -> None:
    g = Graph()
    x = g.input("x", (3,))
    g.output("y", x)
    device.alloc(storages(g))
    device.write(x.storage, np.arange(3, dtype=np.float32))
    program = device.compile(make_plan(g))
    program.run()
    assert program.read(x).tolist() == [0, 1, 2] and program.profile() == []


@pytest.mark.parametrize("every", [False, True])
def test_profile_times_each_node(device: VulkanDevice, every: bool) -> None:
    s = state(64)
    g, y = added(s, 3)
    device.alloc([s.storage, *storages(g)])
    device.write(g.inputs["x"].storage, np.ones(64, np.float32))
    program = device.compile(make_plan(g, every_barrier=every))
    taken = program.profile()
    assert len(taken) == len(g.nodes) and all(0 < t < 10 for t in taken)
    program.run()
    assert (program.read(y) == 6).all()  # profile() ran once too


def test_without_timestamps_nothing_is_timed() -> None:
    device = BACKEND.open(BACKEND.devices()[0], limits={"timestamp_ns": 0})
    g = chain(1)
    device.alloc(storages(g))
    with pytest.raises(BackendError, match="has no timestamps"):
        device.compile(make_plan(g)).profile()
    device.close()


def test_long_plans_are_split_into_submissions(device: VulkanDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VKRUN_SUBMIT_GFLOP", "0.001")
    small = BACKEND.open(BACKEND.devices()[0])
    g = chain(10, 30_000)  # 4 operations a byte in and out: 0.96e6 each
    small.alloc(storages(g))
    program = small.compile(make_plan(g))
    with vk.counting() as calls:
        program.run()
    assert calls["vkQueueSubmit"] == 10 and calls["vkWaitForFences"] == 1
    assert (program.read(g.outputs["y"]) == 9).all()
    assert len(program.profile()) == 10
    small.close()


def test_a_cancelled_submission_is_noticed(device: VulkanDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    g = chain(1)
    device.alloc(storages(g))
    program = device.compile(make_plan(g))
    (recording,) = program._recordings  # type: ignore[attr-defined]
    monkeypatch.setattr(recording, "_done", np.zeros(1, np.uint32))  # as if the last write had not come
    with pytest.raises(BackendError, match="cancelled a submission"):
        program.run()


def test_a_lost_device_is_an_error_and_can_be_closed(device: VulkanDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    g = chain(1)
    device.alloc(storages(g))
    program = device.compile(make_plan(g))
    lost = vk.VK_ERROR_DEVICE_LOST
    with monkeypatch.context() as broken:
        broken.setitem(vk.__dict__, "vkQueueSubmit", lambda *_: lost)
        with pytest.raises(BackendError, match="vkQueueSubmit: VK_ERROR_DEVICE_LOST: the driver gave up"):
            program.run()
    program.run()


def test_ctrl_c_leaves_the_program_usable(device: VulkanDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object) -> int:
        raise KeyboardInterrupt

    g = chain(3)
    device.alloc(storages(g))
    program = device.compile(make_plan(g))
    with monkeypatch.context() as broken:
        broken.setitem(vk.__dict__, "vkWaitForFences", interrupt)
        with pytest.raises(KeyboardInterrupt):
            program.run()
    program.run()
    assert (program.read(g.outputs["y"]) == 3).all()


def test_freeing_a_storage_ends_its_programs(device: VulkanDevice) -> None:
    a, b = chain(1), chain(2)
    device.alloc([*storages(a), *storages(b)])
    first, second = device.compile(make_plan(a)), device.compile(make_plan(b))
    device.free(storages(a))
    with pytest.raises(BackendError, match="closed"):
        first.run()
    second.run()


def test_programs_that_nobody_holds_give_their_memory_back(device: VulkanDevice) -> None:
    g = chain(1, 1 << 20)
    device.alloc(storages(g))
    program = device.compile(make_plan(g))
    used = device.memory_used()
    for _ in range(5):
        del program
        program = device.compile(make_plan(g))
    program.run()
    assert device.memory_used() == used


def test_closing_twice_and_using_what_is_closed() -> None:
    device = BACKEND.open(BACKEND.devices()[0])
    g = chain(1)
    device.alloc(storages(g))
    program, other = device.compile(make_plan(g)), device.compile(make_plan(g))
    other.close()
    other.close()
    device.close()
    device.close()
    program.close()
    with pytest.raises(BackendError, match="closed"):
        program.run()
    with pytest.raises(BackendError, match="the device is closed"):
        device.compile(make_plan(g))


def test_two_devices_at_once_and_one_after_the_other() -> None:
    g = chain(5)
    for _ in range(3):
        opened = [BACKEND.open(BACKEND.devices()[0]) for _ in range(2)]
        for device in opened:
            device.alloc(storages(g))
            program = device.compile(make_plan(g))
            program.run()
            assert (program.read(g.outputs["y"]) == 4).all()
        for device in opened:
            device.close()


def test_pipelines_are_made_once_a_device(device: VulkanDevice) -> None:
    g = chain(20)
    device.alloc(storages(g))
    device.compile(make_plan(g))
    with vk.counting() as calls:
        device.compile(make_plan(g))
    assert not calls["vkCreateComputePipelines"] and not calls["vkCreateShaderModule"]


def test_kernels_are_made_ahead_by_another_thread(device: VulkanDevice) -> None:
    g = chain(3)
    device.alloc(storages(g))
    with ThreadPoolExecutor(1) as pool, vk.counting() as ahead:
        pool.submit(device.make_kernels, make_plan(g)).result()
    with vk.counting() as calls:
        program = device.compile(make_plan(g))
    assert ahead["vkCreateComputePipelines"] == 1 and "vkCreateComputePipelines" not in calls
    program.run()
    assert np.array_equal(program.read(g.outputs["y"]), np.full(64, 3, np.float32))


def test_an_op_without_a_kernel_is_named(device: VulkanDevice) -> None:
    g = Graph()
    y = g.neg(g.input("x", (4,)))
    g.output("y", y)
    bad = g.replaced([replace(g.nodes[0], op="frobnicate")])
    device.alloc(storages(g))
    assert "frobnicate" in device.supports(bad.nodes[0])
    with pytest.raises(BackendError, match="frobnicate"):
        device.compile(make_plan(bad))


def test_a_process_may_end_without_closing_anything() -> None:
    code = """
from vkrun.backends.vulkan import BACKEND
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import make_plan
device = BACKEND.open(BACKEND.devices()[0])
g = Graph()
g.output("y", g.neg(g.input("x", (4,))))
device.alloc([g.inputs["x"].storage])
program = device.compile(make_plan(g))
program.run()
lost = BACKEND.open(BACKEND.devices()[0])
del lost
print("ran")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_the_poorest_device_runs_the_same_plan() -> None:
    device = BACKEND.open(BACKEND.devices()[0], features=Features())
    g = chain(5)
    device.alloc(storages(g))
    program = device.compile(make_plan(g))
    program.run()
    assert (program.read(g.outputs["y"]) == 4).all() and device.features.subgroup_size == 0
    device.close()
