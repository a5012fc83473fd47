"""A process that plans for another one: the same plans, over that one's own storages."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from vkrun.backends.base import DeviceInfo, Rules
from vkrun.backends.lowered import Dispatch, dispatches_of, lower, made_before
from vkrun.runtime.counts import USUAL_GPU
from vkrun.runtime.engine import planner as beside
from vkrun.runtime.engine.ahead import Ahead
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.engine.planner import LASTING, Planner, Prepared, prepare
from vkrun.runtime.errors import BackendError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.ir.plan import Plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.runtime.models import Architecture, Capacity, open_model
from vkrun.runtime.models.step import StepShape
from vkrun.shaders.catalogue import refusal
from vkrun.shaders.kernel import Features
from vkrun.tests.model_files import write_model
from vkrun.tests.null_backend import NullDevice
from vkrun.tools.presets import PRESETS
from vkrun.tools.synthesize import model_of

USUAL = Rules(partial(refusal, features=USUAL_GPU), partial(lower, features=USUAL_GPU))
SECONDS = 60.0


def decoding(n: int) -> StepShape:
    return StepShape(((n, 1),), 256, n, 8)


def reading(model: Architecture) -> StepShape:
    if not model.causal:
        return StepShape(((1, 8),), 256, 8, hidden=True, whole=True)
    return StepShape(((1, 64), (2, 1)), 256, 3, 8, snapshots=bool(model.states))


def anything(_node: Node) -> str:
    return ""


def not_at_all(_plan: Plan) -> None:
    return None


def broken(node: Node) -> str:
    raise BackendError(f"{node.op}: no")


ANY = Rules(anything, not_at_all)


def described(plan: Plan) -> list[object]:
    """All that a plan says. Lasting storages are themselves, others go by the order in which they come."""
    numbers: dict[Storage, int] = {}

    def of(t: Tensor) -> tuple[object, ...]:
        s = t.storage
        name = s if s.kind in LASTING else (numbers.setdefault(s, len(numbers)), s.name, s.kind, s.dtype, s.shape)
        return t.dtype, t.layout, name

    nodes: list[object] = [
        (n.op, n.name, [*map(of, n.inputs)], [*map(of, n.outputs)], dict(n.attrs), n.branch and of(n.branch.which))
        for n in plan.nodes
    ]
    ends = [(name, of(t)) for ts in (plan.graph.inputs, plan.graph.outputs) for name, t in ts.items()]
    arena = sorted((numbers[s], at) for s, at in plan.arena.offsets.items())
    return [*nodes, *ends, arena, plan.arena.nbytes, plan.arena.peak_live, plan.barriers]


def there_and_back(model: Architecture, shape: StepShape) -> Prepared:
    """As a planner's process makes it, in this one."""
    data, lasting = beside._written(model, [], grows=True)
    copies, other = pickle.loads(pickle.dumps((lasting, data)))
    made = beside._answer(beside._Reader(other, copies).load(), copies, shape, 3, USUAL)
    return beside._Reader(made, lasting).load()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Architecture]:
    with GGUFFile.open(write_model(tmp_path_factory.mktemp("planner") / "a.gguf")) as f:
        yield open_model(f, Capacity(256, 4, 5))


@pytest.fixture(scope="module")
def planner(model: Architecture) -> Iterator[Planner]:
    made = Planner(model)
    yield made
    made.close()


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("rules", [USUAL, ANY])
def test_a_plan_made_beside_is_the_one_made_here(
    model: Architecture, planner: Planner, level: int, rules: Rules
) -> None:
    for shape in (decoding(2), reading(model)):
        made = planner.prepare(shape, level, rules, threading.Lock())
        own = prepare(model, shape, level, rules.supports, None)
        assert described(made.plan) == described(own.plan)
        step = made.plan.graph.inputs["step"].storage
        assert made.inputs.shape == shape and made.inputs.storage is step and step.kind is Kind.INPUT
        assert set(made.plan.storages(Kind.WEIGHT)) == set(own.plan.storages(Kind.WEIGHT))


@pytest.mark.parametrize("name", PRESETS)
def test_every_family_can_be_given_to_another_process(name: str) -> None:
    model = model_of(PRESETS[name], "Q4_K_M", 4, Capacity(256, 4, 5))
    shape = reading(model)
    own = prepare(model, shape, 3, USUAL.supports, None)
    assert described(there_and_back(model, shape).plan) == described(own.plan)


def test_a_plan_comes_lowered_for_such_a_device_and_no_other(model: Architecture, planner: Planner) -> None:
    made, poor = planner.prepare(reading(model), 3, USUAL, threading.Lock()).plan, Features()
    found = dispatches_of(made, USUAL_GPU)
    own = dispatches_of(replace(made, lowered=None), USUAL_GPU)
    assert found is made.lowered.dispatches and [*map(_told, found)] == [*map(_told, own)]  # type: ignore[attr-defined]
    calls = {t for d in found for t in d.call.buffers.values()}
    assert calls <= {t for n in made.nodes for t in (*n.inputs, *n.outputs)}  # its own, so that it is bound once
    other = replace(made, graph=made.graph.replaced(made.nodes[:1]), barriers=made.barriers[:1])
    assert len(dispatches_of(other, USUAL_GPU)) == 1 and made_before(made, poor) is None


def _told(d: Dispatch) -> object:
    return d.node, d.branch, d.call


def test_what_the_graph_refuses_is_said_as_here(model: Architecture, planner: Planner) -> None:
    with pytest.raises(BackendError, match="no"):
        planner.prepare(decoding(1), 3, Rules(broken, not_at_all), threading.Lock())
    assert planner.prepare(decoding(1), 3, ANY, threading.Lock()).plan.nodes


def test_a_storage_that_only_one_side_knows_is_not_given_over(model: Architecture) -> None:
    made = prepare(model, decoding(1), 3, anything, None)
    with pytest.raises(KeyError):
        beside._written(made, [])


class Told(NullDevice):
    """Says what it supports so that another process can know."""

    told = ANY

    def rules(self) -> Rules | None:
        return self.told


@pytest.fixture
def engine(model: Architecture) -> Iterator[Engine]:
    made = Engine(model, Told(info=DeviceInfo("null", 0, "ANY", kind="virtual gpu")))
    yield made
    made.close()


def planners(ahead: Ahead) -> list[Planner]:
    found = [ahead._planners.get() for _ in range(ahead._planners.qsize())]
    for one in found:
        ahead._planners.put(one)
    return found


def test_sizes_are_planned_by_processes_that_end_with_foresight(engine: Engine) -> None:
    engine.foresight = ahead = Ahead(engine, [decoding(1), decoding(2)])
    while ahead.adopt(SECONDS):
        pass
    begun = [p._process for p in planners(ahead) if p._process]
    assert begun and set(engine.planned()) == {decoding(1), decoding(2)}
    engine.stop_foresight()
    assert all(process.returncode == 0 for process in begun)


@pytest.mark.parametrize("fate", ["killed", "failed", "never begun"])
def test_without_such_a_process_sizes_are_planned_here(engine: Engine, fate: str, monkeypatch) -> None:
    if fate == "never begun":
        monkeypatch.setattr(beside.sys, "executable", "/nowhere/python")
    ahead = Ahead(engine)
    if fate == "killed":
        for planner in planners(ahead):
            planner.prepare(decoding(4), 3, ANY, threading.Lock())
            assert planner._process
            planner._process.kill()
    if fate == "failed":
        monkeypatch.setattr(Told, "told", Rules(partial(_fails_elsewhere, os.getpid()), not_at_all))
    ahead.want(decoding(2))
    made = ahead.take(decoding(2))
    assert isinstance(made, Prepared) and made.inputs.shape == decoding(2)
    ahead.close()


def _fails_elsewhere(pid: int, node: Node) -> str:
    if os.getpid() != pid:
        raise RuntimeError(f"{node.op}: no error of ours")
    return ""


def test_several_threads_have_a_process_each(model: Architecture) -> None:
    made = [Planner(model) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(p.prepare, decoding(n), 3, ANY, threading.Lock()) for n, p in enumerate(made, 1)]
        shapes = [a.result(SECONDS).inputs.shape for a in asked]
    assert shapes == [decoding(1), decoding(2)]
    for planner in made:
        planner.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_a_worker_that_is_killed_leaves_no_planner(tmp_path: Path) -> None:
    words = (
        "import sys, threading; from vkrun.tests.unit.test_planner import *\n"
        "with GGUFFile.open(sys.argv[1]) as f: p = Planner(open_model(f, Capacity(256)))\n"
        "p.prepare(decoding(1), 3, ANY, threading.Lock()); print(p._process.pid, flush=True); sys.stdin.read()"
    )
    path = write_model(tmp_path / "a.gguf")
    worker = subprocess.Popen(
        [sys.executable, "-c", words, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout
    pid = int(worker.stdout.readline())
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert _is_gone(pid)


def _is_gone(pid: int) -> bool:
    """Within SECONDS, or at least a process that nobody has waited for."""
    until, stat = time.monotonic() + SECONDS, Path(f"/proc/{pid}/stat")
    while time.monotonic() < until:
        try:
            state = stat.read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
