"""Programs on kompute: order between dependent nodes, replay, states, several programs, profile, failure."""

import numpy as np
import pytest
from vkrun.backends.base import Device
from vkrun.backends.cpu import BACKEND as CPU
from vkrun.backends.kompute import BACKEND
from vkrun.backends.kompute.device import KomputeDevice
from vkrun.backends.kompute.program import KomputeProgram
from vkrun.runtime.errors import BackendError
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.plan import Plan, make_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())


@pytest.fixture(params=[True, False], ids=["on host", "on device"])
def device(request: pytest.FixtureRequest):
    opened = KomputeDevice(BACKEND.devices()[0], request.param)
    yield opened
    opened.close()


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def stored(name: str, kind: Kind, *shape: int, dtype: DType = DType.F32) -> Tensor:
    return Storage(name, kind, dtype, shape).tensor()


def storages_of(plan: Plan) -> list[Storage]:
    return [s for kind in (Kind.WEIGHT, Kind.STATE, Kind.INPUT) for s in plan.storages(kind)]


def outputs(device: Device, plan: Plan, *contents: dict[Storage, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Compile once; for each set of contents write them, run, and read every output."""
    device.alloc(storages_of(plan))
    program = device.compile(plan)
    found = []
    for content in contents:
        for storage, data in content.items():
            device.write(storage, data)
        program.run()
        found.append({name: program.read(t) for name, t in plan.graph.outputs.items()})
    program.close()
    return found


def assert_same_as_cpu(device: Device, plan: Plan, *contents: dict[Storage, np.ndarray]) -> None:
    wanted = outputs(CPU.open(CPU.devices()[0]), plan, *contents)
    for got, want in zip(outputs(device, plan, *contents), wanted, strict=True):
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-5, err_msg=name)


def chain(n_links: int = 40) -> tuple[Graph, Storage, Storage]:
    """Every node needs the one before it; x keeps its size because it is scaled down by as much as it grows."""
    g = Graph()
    x, w = g.input("x", (5, 33)), stored("w", Kind.WEIGHT, 33)
    y = x
    for i in range(n_links):
        y = g.mul(y, w) if i % 2 else g.add(y.permute(1, 0), x.permute(1, 0)).permute(1, 0)
        if i % 8 == 7:
            g.output(f"after {i}", y)
    g.output("end", y)
    return g, x.storage, w.storage


@pytest.mark.parametrize("every_barrier", [False, True])
def test_a_chain_replayed_with_other_inputs(device: KomputeDevice, every_barrier: bool) -> None:
    g, x, w = chain()
    plan = make_plan(g, every_barrier)
    weights = {w: numbers(0, 33).clip(-0.9, 0.9)}
    assert_same_as_cpu(device, plan, *({x: numbers(seed, 5, 33)} | weights for seed in range(4)))


def test_independent_nodes_share_a_sequence_and_dependent_ones_do_not(device: KomputeDevice) -> None:
    g = Graph()
    x = g.input("x", (64,))
    halves = [g.scale(x, float(i)) for i in range(8)]
    total = halves[0]
    for h in halves[1:]:
        total = g.add(total, h)
    g.output("total", total)
    plan = make_plan(g)
    device.alloc(storages_of(plan))
    program = device.compile(plan)
    assert isinstance(program, KomputeProgram) and len(program._sequences) == 1 + plan.n_barriers == 8
    program.close()
    assert_same_as_cpu(device, plan, {x.storage: numbers(1, 64)})


def test_nodes_alike_share_one_pipeline(device: KomputeDevice) -> None:
    g, _, _ = chain()
    plan = make_plan(g)
    device.alloc(storages_of(plan))
    program = device.compile(plan)
    assert isinstance(program, KomputeProgram) and len(program._dispatcher._algorithms) <= 10 < len(plan.nodes)


def test_a_state_lives_across_runs_and_programs(device: KomputeDevice) -> None:
    state = stored("state", Kind.STATE, 3, 7)
    plans = []
    for factor in (1.0, 10.0):
        g = Graph()
        x = g.input("x", (3, 7))
        g.cpy(g.add(state, g.scale(x, factor)), state)
        plans.append((make_plan(g), x.storage))
    device.alloc([state.storage, *(x for _, x in plans)])
    programs = [device.compile(plan) for plan, _ in plans]
    data = numbers(2, 3, 7)
    for _, x in plans:
        device.write(x, data)
    for _ in range(3):
        for program in programs:
            program.run()
    np.testing.assert_allclose(device.read(state.storage), 33 * data, rtol=1e-5)
    programs[0].close()
    programs[1].run()
    np.testing.assert_allclose(device.read(state.storage), 43 * data, rtol=1e-5)


def test_nodes_with_nothing_to_do_are_left_out_but_not_their_barriers(device: KomputeDevice) -> None:
    g = Graph()
    x = g.input("x", (4, 6))
    state = stored("state", Kind.STATE, 4, 6)
    y = g.scale(x, 2.0)
    g.cpy(y.slice(0, 2, 2), state.slice(0, 0, 0))
    ids = g.input("ids", (0,), DType.I32)
    g.set_rows(state, ids, y.slice(0, 0, 0))
    g.output("empty", g.scale(y.slice(1, 3, 3), 3.0))
    g.output("y", g.add(y, y))
    assert_same_as_cpu(device, make_plan(g, every_barrier=True), {x.storage: numbers(3, 4, 6)})
    assert not device.read(state.storage).any()


def test_a_strided_output_is_read_in_its_shape(device: KomputeDevice) -> None:
    g = Graph()
    x = g.input("x", (5, 9))
    g.output("view", g.scale(x, -1.0).permute(1, 0).slice(0, 2, 8, 2))
    g.output("input", x.slice(1, 1, 4))
    assert_same_as_cpu(device, make_plan(g), {x.storage: numbers(4, 5, 9)})


def test_profile_has_a_time_for_each_node(device: KomputeDevice) -> None:
    g = Graph()
    x = g.input("x", (1 << 20,))
    g.output("y", g.silu(g.silu(x)))
    g.output("none", g.silu(x.slice(0, 0, 0)))
    plan = make_plan(g)
    device.alloc(storages_of(plan))
    program = device.compile(plan)
    for _ in range(2):
        times = program.profile()
        assert len(times) == 3 and times[2] == 0 and min(times[:2]) > 1e-6


def test_a_node_without_a_kernel_is_named(device: KomputeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    g, x, w = chain(3)
    device.alloc([x, w])
    monkeypatch.setattr(device, "supports", lambda node: "[mul] too odd" if node.op == "mul" else "")
    with pytest.raises(BackendError, match=r"^mul: \[mul\] too odd$"):
        device.compile(make_plan(g))


def test_what_was_freed_or_closed_does_not_run(device: KomputeDevice) -> None:
    g, x, w = chain(3)
    plan = make_plan(g)
    with pytest.raises(BackendError, match=r"[wx]: [a-z]+ without memory on this device"):
        device.compile(plan)
    device.alloc([x, w])
    first, second, third = (device.compile(plan) for _ in range(3))
    first.close()
    first.close()
    with pytest.raises(BackendError, match="closed"):
        first.run()
    second.run()
    device.free([w])
    with pytest.raises(BackendError, match="freed"):
        second.run()
    device.close()
    device.close()
    for use in (third.run, third.profile, lambda: third.read(plan.graph.outputs["end"])):
        with pytest.raises(BackendError, match="closed"):
            use()


def test_a_lost_device_is_noticed(device: KomputeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    g, x, w = chain(3)
    device.alloc([x, w])
    program = device.compile(make_plan(g))
    program.run()
    transfers, real = device._store._transfers, device._store._transfers._echo_copy
    monkeypatch.setattr(transfers, "_echo_copy", type("Lost", (), {"eval": lambda self: None})())
    with pytest.raises(BackendError, match="no longer answers"):
        program.run()
    monkeypatch.setattr(transfers, "_echo_copy", real)
    program.run()
