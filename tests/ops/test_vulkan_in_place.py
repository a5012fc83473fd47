"""Kernels that write over their own input, as the elision pass makes them do, and halves that share words."""

import numpy as np
import pytest
from vkrun.backends.base import Device
from vkrun.backends.cpu import BACKEND as CPU
from vkrun.backends.vulkan import BACKEND
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph, Node
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage

pytestmark = pytest.mark.skipif(bool(BACKEND.why_missing()), reason=BACKEND.why_missing())

IN_PLACE = {
    "silu": {},
    "add": {},
    "swiglu": {},
    "scale": {"factor": 2.0, "bias": 1.0},
    "rms_norm": {"eps": 1e-6},
    "l2_norm": {"eps": 1e-6, "eps_inside": True},
    "softmax": {"scale": 0.5},
    "cumsum": {},
    "tri": {"lower": True, "diagonal": True},
}


def run(device: Device, graph: Graph, contents: dict[Storage, np.ndarray]) -> list[np.ndarray]:
    device.alloc(contents)
    for storage, data in contents.items():
        device.write(storage, data)
    program = device.compile(make_plan(graph))
    program.run()
    program.close()
    return [device.read(s) for s in contents]


def on_both(graph: Graph, contents: dict[Storage, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    made = []
    for backend in (BACKEND, CPU):
        device = backend.open(backend.devices()[0])
        try:
            made.append(run(device, graph, contents))
        finally:
            device.close()
    return made[0], made[1]


@pytest.mark.parametrize("op", IN_PLACE)
@pytest.mark.parametrize("n", [65, 300, 700])
def test_an_output_may_be_the_first_input(op: str, n: int) -> None:
    rng = np.random.default_rng(3)
    x, other = (Storage(name, Kind.STATE, DType.F32, (n, n)) for name in ("x", "other"))
    contents = {s: rng.standard_normal((n, n)).astype(np.float32) for s in (x, other)}
    inputs = (x.tensor(), other.tensor())[: 2 if op in ("add", "swiglu") else 1]
    graph = Graph([Node(op, inputs, (x.tensor(),), IN_PLACE[op], op)])
    got, wanted = on_both(graph, contents)
    np.testing.assert_allclose(got[0], wanted[0], rtol=2e-5, atol=1e-4)


def test_halves_of_one_word_are_written_without_a_barrier_between() -> None:
    """Two slices of F16 rows of odd length meet inside a word, and their nodes do not conflict."""
    rng = np.random.default_rng(4)
    dst = Storage("dst", Kind.STATE, DType.F16, (257, 33))
    sources = [Storage(f"src{i}", Kind.STATE, DType.F32, (257, n)) for i, n in enumerate((15, 18))]
    contents = {s: rng.standard_normal(s.shape).astype(s.dtype.numpy) for s in (dst, *sources)}
    graph = Graph()
    graph.cpy(sources[0].tensor(), dst.tensor().slice(1, 0, 15))
    graph.cpy(sources[1].tensor(), dst.tensor().slice(1, 15, 33))
    assert make_plan(graph).n_barriers == 0
    got, wanted = on_both(graph, contents)
    assert np.array_equal(got[0], wanted[0])
