"""Models through the whole of the cuda backend, on a stand-in driver."""

from pathlib import Path

import numpy as np
import pytest
import vkrun
from vkrun.backends.host import BACKEND as HOST
from vkrun.runtime.engine.fits import SCRATCH_ROWS
from vkrun.runtime.errors import BackendError, UsageError
from vkrun.runtime.ir.plan import lean_plan
from vkrun.runtime.ir.tensor import Kind
from vkrun.runtime.models.step import Chunk, StepInputs, StepShape
from vkrun.tests.comparing import nmse
from vkrun.tests.cuda_stand_in import MEMORY_NBYTES, OUT_OF_MEMORY, StandIn
from vkrun.tests.exact import load_exact
from vkrun.tests.model_files import write_model
from vkrun.tests.ops.models_on_stand_ins import IDS, odd_tokens, tokens

runs_kernels = pytest.mark.skipif(bool(HOST.why_missing()), reason=HOST.why_missing())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny.gguf")


def load(path: Path, backend: str = "cuda") -> vkrun.Model:
    return load_exact(path, backend=backend, n_ctx=64)


@runs_kernels
@pytest.mark.parametrize("validate", ["0", "1"])
def test_a_model_gives_the_same_tokens(driver: StandIn, path: Path, monkeypatch, validate: str) -> None:
    """Prompt, decode two steps deep; with every tensor in memory of its own too."""
    with load(path, "cpu") as model:
        wanted, drawn, odd = model.logits(IDS), tokens(model, IDS), odd_tokens(model)
    monkeypatch.setenv("VKRUN_VALIDATE", validate)
    with load(path) as model:
        assert nmse(model.logits(IDS), wanted) < 1e-10
        assert tokens(model, IDS) == drawn and odd_tokens(model) == odd
        assert (model.engine.device.memory_used()["arena"] > 0) == (validate == "0")


@runs_kernels
@pytest.mark.parametrize("off", ["CUDA_GRAPH", "DEPENDENT_LAUNCH"])
def test_a_graph_changes_no_bit(driver: StandIn, path: Path, monkeypatch, off: str) -> None:
    with load(path) as model:
        wanted = model.logits(IDS)
    monkeypatch.setenv(f"VKRUN_NO_{off}", "1")
    with load(path) as model:
        assert (model.logits(IDS) == wanted).all()


@runs_kernels
def test_one_graph_serves_every_token(driver: StandIn, path: Path) -> None:
    """Of this family too: other tokens, other positions, another sequence; nothing is compiled, made or allocated."""
    with load(path) as model:
        tokens(model, IDS)
        before = driver.calls.copy()
        tokens(model, [7, 3, 11, 2, 8], n=20)
        made = driver.calls - before
    assert made["cuGraphLaunch"] >= 21
    per_step = {"cuGraphLaunch", "cuEventRecord", "cuEventSynchronize", "cuCtxSetCurrent"}
    assert set(made) <= per_step | {"cuMemcpyHtoDAsync"}


@runs_kernels
def test_a_graph_that_was_planned_is_as_it_was(driver: StandIn, path: Path) -> None:
    """Fused and decomposed plans of one graph, made in turn, give the same logits; the graph keeps its nodes."""
    with load(path) as model:
        engine, device = model.engine, model.engine.device
        inputs = engine.model.inputs(StepShape(((1, 1),), 64, 1))
        graph = engine.model.graph(inputs)
        nodes, texts = graph.nodes, [str(node) for node in graph.nodes]
        device.alloc(inp := lean_plan(graph, 3, device.supports).storages(Kind.INPUT))
        got = [run(model, graph, inputs, level) for level in (3, 0, 3, 1)]
        device.free(inp)
    assert graph.nodes == nodes and [str(node) for node in graph.nodes] == texts
    assert (got[0] == got[2]).all() and all(nmse(g, got[0]) < 1e-10 for g in got)


def run(model: vkrun.Model, graph, inputs: StepInputs, level: int) -> np.ndarray:
    """Logits of one token in an empty sequence."""
    engine = model.engine
    plan = lean_plan(graph, level, engine.device.supports)
    program = engine.device.compile(plan)
    engine.reset(0)
    engine.device.write(inputs.storage, inputs.fill([[Chunk(0, 0, (5,))]], 64, [0], wants=True))
    program.run()
    (output,) = plan.graph.outputs.values()
    made = program.read(output)
    program.close()
    return made


@runs_kernels
def test_loads_and_closes_leave_nothing(driver: StandIn, path: Path, full: bool) -> None:
    drawn = []
    for _ in range(n := 10 if full else 3):
        with load(path) as model:
            drawn.append(tokens(model, IDS, n=2))
        assert driver.alive == []
    assert drawn == drawn[:1] * n


def test_memory_that_others_have_is_one_line_before_a_load_begins(driver: StandIn, path: Path) -> None:
    driver.taken = MEMORY_NBYTES - (1 << 20)
    with pytest.raises(BackendError, match=r"^Stand-in: .* of memory wanted, 1\.0 MiB free, even without any context$"):
        load(path)
    assert driver.calls["cuMemAlloc"] == driver.calls["cuMemcpyHtoDAsync"] == 0


def test_memory_that_goes_while_a_load_is_under_way_is_one_line(driver: StandIn, path: Path) -> None:
    driver.refuses["cuMemAlloc"] = OUT_OF_MEMORY, 1
    with pytest.raises(
        BackendError, match=r"^Stand-in: out of memory for .*: .* MiB wanted .*, .* MiB free, of 256\.0"
    ):
        load(path)


@runs_kernels
@pytest.mark.full
def test_the_bundled_model_writes_the_same_text(driver: StandIn) -> None:
    texts = []
    for backend in ("cpu", "cuda"):
        with load_exact(vkrun.BUNDLED, backend=backend, n_ctx=64) as model:
            texts.append("".join(model.generate("def f(n):", max_tokens=12, temperature=0)))
    assert texts[0] == texts[1] and texts[0]


@runs_kernels
def test_a_context_is_kept_or_refused_and_shrinks_by_default(driver: StandIn, path: Path) -> None:
    with load_exact(path, backend="cpu") as model:
        kept = model.engine.model
        needed = kept.weights.nbytes + sum(s.nbytes for s in kept.caches) + SCRATCH_ROWS * 4 * kept.params.width
        needed += sum(s.nbytes for s in kept.states) // kept.capacity.n_states * 3
    driver.taken = MEMORY_NBYTES - needed + 1
    with pytest.raises(
        UsageError, match=r"^a context of 4096 tokens .* wanted, .* free; the largest that fits is 4\d\d\d$"
    ):
        load_exact(path, backend="cuda", n_ctx=4096)
    with load_exact(path, backend="cuda") as model:
        assert model.info.n_ctx == 3840 and "since 4096 are too many for" in model.info.shrunk
