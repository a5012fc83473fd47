"""The metal backend on a stand-in for Apple's framework, which runs kernels on the CPU; and what it says where things
are missing."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from vkrun.backends import registry
from vkrun.backends.host import msl
from vkrun.backends.metal import BACKEND, api
from vkrun.backends.metal.api import CommandError, System
from vkrun.backends.metal.device import MetalDevice
from vkrun.backends.work import BUDGETS
from vkrun.runtime.errors import BackendError
from vkrun.runtime.extras import brought_by
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Branch, Graph, Node
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.runtime.optable.run import run_case
from vkrun.runtime.optable.table import CASES
from vkrun.tests.metal_stand_in.framework import MEMORY_NBYTES
from vkrun.tests.metal_stand_in.framework import StandIn as Mac
from vkrun.tests.metal_stand_in.values import Failure
from vkrun.tests.ops.spread import spread

runs_kernels = pytest.mark.skipif(bool(msl.why_missing()), reason=msl.why_missing())


def state(name: str, *shape: int, kind: Kind = Kind.STATE) -> Storage:
    return Storage(name, kind, DType.F32, shape)


def chain(n: int, size: int = 64) -> tuple[Graph, Storage]:
    """x [size] after n additions of itself, one after the other."""
    graph, x = Graph(), state("x", size)
    t = x.tensor()
    for _ in range(n):
        (t,) = graph.emit("add", t, t)
    graph.output("y", t)
    return graph, x


def test_the_device_says_what_it_is(mac: Mac) -> None:
    (info,) = BACKEND.devices()
    assert (info.name, info.kind, info.memory, info.missing) == ("Stand-in M3", "integrated gpu", MEMORY_NBYTES, "")
    assert info.driver == "macOS 14.5" and info.features["subgroup_size"] == 32 and BACKEND.why_missing() == ""


@pytest.mark.parametrize(
    ("system", "why"),
    [
        (System("linux", "x86_64", ""), "metal: there is no Metal but on macOS"),
        (System("darwin", "x86_64", "14.5"), "metal: Apple's own processors are needed, this is x86_64: an Intel Mac"),
        (System("darwin", "arm64", "12.7.1"), "metal: macOS 12.7.1 is too old, 13 is needed"),
    ],
)
def test_what_is_missing_is_one_line(mac: Mac, system: System, why: str) -> None:
    mac.system = system
    assert BACKEND.why_missing().startswith(why) and "\n" not in BACKEND.why_missing()
    assert BACKEND.devices() == []


@pytest.mark.parametrize("lacks", [{"family": 1006}, {"is_unified": False}])
def test_a_gpu_of_others_is_refused(mac: Mac, lacks: dict[str, int]) -> None:
    for name, value in lacks.items():
        setattr(mac.device, name, value)
    (info,) = BACKEND.devices()
    with pytest.raises(BackendError, match=r"^metal: Stand-in M3: no GPU of Apple's own"):
        BACKEND.open(info)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "system", lambda: System("darwin", "arm64", "14.5"))
    monkeypatch.setitem(sys.modules, "Metal", None)
    api.framework.cache_clear()
    assert BACKEND.why_missing().endswith(f"; {brought_by('metal')}") and "\n" not in BACKEND.why_missing()
    api.framework.cache_clear()


def test_nothing_but_metal_itself_touches_pyobjc() -> None:
    """All of vkrun, and the metal backend asked for its devices, without a module of pyobjc."""
    code = (
        "import sys, vkrun, vkrun.runtime.cli.main, vkrun.backends.metal as metal; vkrun.devices(); "
        "assert 'there is no Metal' in metal.BACKEND.why_missing() or sys.platform == 'darwin'; "
        "found = {'objc', 'Metal', 'AppKit', 'Foundation'} & set(sys.modules); "
        "assert sys.platform == 'darwin' or not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_storages_keep_what_is_written(metal: MetalDevice) -> None:
    s, zeros = state("s", 70, 100), state("z", 3)
    metal.alloc([s, zeros])
    data = np.arange(7000, dtype=np.float32).reshape(70, 100)
    metal.write(s, data)
    metal.write(s, data[:2] + 0.5, row=68)
    data[68:] = data[:2] + 0.5
    assert (metal.read(s) == data).all() and (metal.read(zeros) == 0).all()
    metal.free([s])
    with pytest.raises(BackendError, match="s: state without memory on this device"):
        metal.read(s)


def test_weights_stand_in_few_buffers_and_pass_no_other(metal: MetalDevice, mac: Mac) -> None:
    weights = [state(f"w{i}", 100, 100, kind=Kind.WEIGHT) for i in range(50)]
    metal.alloc(weights)
    for w in weights:
        metal.write(w, np.ones((100, 100), np.float32))
    assert mac.calls["newBufferWithLength_options_"] == 1
    assert metal.memory_used()["weight"] < 1.1 * 50 * 40000


def test_out_of_memory_is_one_line_with_both_figures(metal: MetalDevice, mac: Mac) -> None:
    before = metal.memory_used()
    mac.device.taken = MEMORY_NBYTES - (8 << 20)
    few, many = state("few", 1000), state("many", 4 << 20)
    with pytest.raises(BackendError, match=r"out of memory for many: 16\.0 MiB wanted .*, .* MiB free, of 256\.0 MiB"):
        metal.alloc([few, many])
    assert metal.memory_used() == before


def test_what_no_buffer_can_hold_is_one_line(metal: MetalDevice) -> None:
    with pytest.raises(BackendError, match=r"^many: 1073741824 bytes, Stand-in M3 allows at most 134217728 in one"):
        metal.alloc([state("many", MEMORY_NBYTES)])


@runs_kernels
def test_a_chain_is_encoded_by_few_calls(metal: MetalDevice, mac: Mac) -> None:
    """Between two barriers the stand-in runs dispatches backwards: only the barriers keep the chain in order."""
    graph, x = chain(5)
    metal.alloc([x])
    program = metal.compile(make_plan(graph))
    before = mac.calls.copy()
    for number in (1, 3):
        metal.write(x, np.full(64, number, np.float32))
        program.run()
        assert (program.read(graph.outputs["y"]) == 32 * number).all()
    made = mac.calls - before
    assert made["setBuffers_offsets_withRange_"] == made["dispatchThreadgroups_threadsPerThreadgroup_"] == 10
    assert (made["memoryBarrierWithScope_"], made["setComputePipelineState_"], made["commit"]) == (8, 2, 2)
    assert program.profile() == [0.5] * 5


@runs_kernels
@pytest.mark.parametrize("dropped", [1, 2, 3])
def test_every_barrier_is_needed(metal: MetalDevice, dropped: int) -> None:
    """Without one the stand-in runs the two kernels around it the other way round."""
    graph, x = chain(4)
    plan = make_plan(graph)
    assert plan.barriers == (False, True, True, True)
    metal.alloc([x])
    fewer = tuple(b and i != dropped for i, b in enumerate(plan.barriers))
    for number, barriers in ((1, plan.barriers), (3, fewer)):  # another number, since memory keeps what was there
        metal.write(x, np.full(64, number, np.float32))
        program = metal.compile(replace(plan, barriers=barriers))
        program.run()
        assert (program.read(graph.outputs["y"]) == 16 * number).all() == (barriers is plan.barriers)


@runs_kernels
@pytest.mark.parametrize(("n", "gflop", "n_buffers"), [(63, "", 1), (64, "", 2), (200, "", 2), (20, "0.0011", 10)])
def test_the_first_part_of_a_long_plan_goes_ahead(metal: MetalDevice, mac: Mac, monkeypatch, n, gflop, n_buffers):
    """And what is too much for one command buffer is cut."""
    monkeypatch.setenv("VKRUN_SUBMIT_GFLOP", gflop)
    monkeypatch.setitem(BUDGETS, "integrated gpu", 1e12)
    graph, x = chain(n, 1 << 14 if gflop else 64)
    metal.alloc([x])
    metal.write(x, np.zeros(x.shape, np.float32))
    program = metal.compile(make_plan(graph))
    mac.device.keeps = True
    program.run()
    (queue,) = mac.device.queues
    sizes = [sum(len(e.commands) for e in b.encoders) for b in queue.ran]
    assert len(sizes) == n_buffers and (gflop or n < 64 or sizes[0] == 2 * (n // 8) - 1)


@runs_kernels
def test_work_that_fails_is_one_line_and_the_next_runs(metal: MetalDevice, mac: Mac) -> None:
    graph, x = chain(70)
    metal.alloc([x])
    program = metal.compile(make_plan(graph))
    mac.device.failures[:] = [Failure(2, "Caused GPU Timeout Error")]  # of the first part, for which nobody waits
    with pytest.raises(CommandError, match=r"^Stand-in M3: the GPU took too long.*\(Metal error 2\)$"):
        program.run()
    program.run()
    mac.device.failures[:] = [Failure(77, "Strange\nand long")]
    program.submit()
    with pytest.raises(CommandError, match=r"^Stand-in M3: .* \(Metal error 77\)$"):
        metal.read(x)


@runs_kernels
def test_any_thread_may_call(metal: MetalDevice) -> None:
    graph, x = chain(2)

    def use() -> float:
        metal.write(x, np.full(64, 3, np.float32))
        program = metal.compile(make_plan(graph))
        program.run()
        return float(program.read(graph.outputs["y"])[0]) + float(metal.read(x)[0])

    metal.alloc([x])
    metal.write(x, np.full(64, 3, np.float32))
    with ThreadPoolExecutor(4) as pool:
        assert [f.result() for f in [pool.submit(use) for _ in range(8)]] == [15.0] * 8


@runs_kernels
def test_two_may_be_under_way_and_no_more(metal: MetalDevice) -> None:
    graph, x = chain(1)
    metal.alloc([x])
    program = metal.compile(make_plan(graph))
    program.submit()
    program.submit()
    with pytest.raises(BackendError, match="2 submissions under way"):
        program.submit()
    program.wait()
    program.submit()
    metal.free([x])
    with pytest.raises(BackendError, match="closed"):
        program.submit()


@runs_kernels
def test_a_program_goes_on_when_the_arena_has_moved(metal: MetalDevice) -> None:
    graph, x = chain(3)
    metal.alloc([x])
    metal.write(x, np.ones(64, np.float32))
    small = metal.compile(make_plan(graph))
    big, wide = Graph(), state("wide", 1 << 20)
    metal.alloc([wide])
    (t,) = big.emit("add", wide.tensor(), wide.tensor())
    big.output("y", *big.emit("add", t, t))
    used = metal.memory_used()["arena"]
    metal.compile(make_plan(big))
    assert metal.memory_used()["arena"] > used > 0
    small.run()
    assert (small.read(graph.outputs["y"]) == 8).all()


@runs_kernels
def test_outputs_outlive_what_others_do_with_the_arena(metal: MetalDevice) -> None:
    """Temporaries that are outputs have memory of their own; of a state a copy is kept."""
    graph, x = chain(2)
    graph.output("x", x.tensor())
    metal.alloc([x])
    metal.write(x, np.ones(64, np.float32))
    first, second = metal.compile(make_plan(graph)), metal.compile(make_plan(graph))
    first.run()
    metal.write(x, np.full(64, 5, np.float32))
    second.run()
    assert [first.read(t)[0] for t in graph.outputs.values()] == [4, 1]
    assert [second.read(t)[0] for t in graph.outputs.values()] == [20, 5]


@runs_kernels
@pytest.mark.parametrize("side", [0, 1])
def test_only_runs_that_take_a_branch_run_its_nodes(metal: MetalDevice, mac: Mac, side: int) -> None:
    which, y = Storage("which", Kind.INPUT, DType.I32, (1,)).tensor(), state("y", 64).tensor()
    node = Node("scale", (y,), (y,), {"factor": 1.0, "bias": 1.0}, branch=Branch(which, side))
    metal.alloc([y.storage, which.storage])
    program = metal.compile(make_plan(Graph().replaced([node])))
    for number, times in ((1 - side, 0), (side, 1), (side, 2)):
        metal.write(which.storage, np.array([number], np.int32))
        program.run()
        assert (metal.read(y.storage) == times).all()
    name = "dispatchThreadgroupsWithIndirectBuffer_indirectBufferOffset_threadsPerThreadgroup_"
    assert mac.calls[name] == 3 and mac.calls["computeCommandEncoderWithDispatchType_"] == 6
    assert program.profile() == [0.5]


@runs_kernels
def test_pipelines_are_kept_on_disk(mac: Mac, monkeypatch, tmp_path) -> None:
    """What one process compiled the next finds; a file that is damaged is begun anew."""
    monkeypatch.setenv("VKRUN_CACHE_DIR", str(tmp_path))

    def made() -> tuple[int, int]:
        before = mac.calls.copy()
        device = BACKEND.open(BACKEND.devices()[0])
        graph, x = chain(2)
        device.alloc([x])
        device.compile(make_plan(graph))
        device.close()
        return tuple((mac.calls - before)[f"pipelines {how}"] for how in ("made", "found"))  # type: ignore[return-value]

    assert [made(), made()] == [(1, 0), (0, 1)]
    (kept,) = (tmp_path / "metal").iterdir()
    kept.write_text("damaged")
    assert [made(), made()] == [(1, 0), (0, 1)]
    monkeypatch.setenv("VKRUN_NO_PIPELINE_CACHE", "1")
    assert made() == (1, 0)


@runs_kernels
@pytest.mark.parametrize(
    ("lacks", "why"),
    [
        ({"max_threads": 32}, r"shader .*: \d+ threads in a threadgroup, it can have 32"),
        ({"simd_width": 16}, r"shader .*: simdgroups of 16, 32 are needed"),
    ],
)
def test_a_kernel_that_does_not_fit_is_one_line(metal: MetalDevice, mac: Mac, lacks, why: str) -> None:
    for name, value in lacks.items():
        setattr(mac.device, name, value)
    graph, x = chain(1)
    metal.alloc([x])
    with pytest.raises(BackendError, match=rf"^Stand-in M3: {why}$"):
        metal.compile(make_plan(graph))


def test_a_source_that_does_not_compile_is_one_line(metal: MetalDevice, mac: Mac) -> None:
    def refuse(_source: str):
        raise ValueError("program_source:7:3: error: unknown type name 'flaot'\nmore")

    mac.compile = refuse
    graph, x = chain(1)
    metal.alloc([x])
    with pytest.raises(BackendError, match=r"^Stand-in M3: shader .*: program_source:7:3: error: .*'flaot'"):
        metal.compile(make_plan(graph))


@runs_kernels
def test_pad_and_set_take_any_layout(metal: MetalDevice) -> None:
    cases = [c for c in CASES if c.op in ("pad", "set") and c.in_one]
    outcomes = [run_case(c, metal) for c in cases]
    assert len(outcomes) > 20
    assert [f"{o.case.op} {o.case.what}: {o.why}" for o in outcomes if o.status != "pass"] == []


@runs_kernels
def test_the_op_table_on_the_stand_in(metal: MetalDevice, full: bool) -> None:
    cases = [c for c in CASES if c.in_one]
    cases = spread(cases, 16) if full else cases[::200]
    outcomes = [run_case(c, metal) for c in cases]
    assert len(outcomes) > 10
    assert [f"{o.case.op} {o.case.what}: {o.why}" for o in outcomes if o.status != "pass"] == []


def test_this_machine_has_it_or_says_why_not_in_one_line() -> None:
    backend = registry.get("metal")
    assert bool(backend.devices()) == (backend.why_missing() == "")
    assert len(backend.why_missing().splitlines()) <= 1
