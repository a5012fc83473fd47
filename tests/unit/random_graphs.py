"""Random graphs full of copies, for the passes: whatever a pass does, the results stay."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from vkrun.backends.cpu import BACKEND
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.layout import Layout
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor

STEPS = (
    "unary", "add", "contiguous", "permuted", "repeat", "concat", "pad", "set", "slice", "cpy", "read_state",
    "set_rows", "mul_mat", "select",
)  # fmt: skip


@dataclass
class Made:
    """A graph, the storages that the host fills, and those whose content counts afterwards beside the outputs."""

    graph: Graph
    filled: dict[Storage, np.ndarray]
    states: list[Storage]


@st.composite
def graphs(draw) -> Made:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    g = Graph()
    states = [Storage(f"state{i}", Kind.STATE, DType.F32, (3, 4)) for i in range(2)]
    filled = {s: rng.standard_normal(s.shape).astype(np.float32) for s in states}
    source = Storage("x", Kind.INPUT, DType.F32, (3, 4))
    ids = Storage("ids", Kind.INPUT, DType.I32, (3,))
    filled |= {source: rng.standard_normal((3, 4)).astype(np.float32), ids: np.array([2, 0, 1], np.int32)}
    sides = Storage("sides", Kind.INPUT, DType.I32, (2,))
    filled[sides] = np.array([draw(st.integers(0, 1)), draw(st.integers(-1, 2))], np.int32)
    pool = [source.tensor()]
    for _ in range(draw(st.integers(1, 14))):
        pool.append(_step(draw, g, pool, [s.tensor() for s in states], ids.tensor(), sides.tensor()))
    for i in range(draw(st.integers(1, 3))):
        g.output(f"y{i}", draw(st.sampled_from(pool)))
    return Made(g, filled, states)


def _step(draw, g: Graph, pool: list[Tensor], states: list[Tensor], ids: Tensor, sides: Tensor) -> Tensor:
    """One more node; every tensor of the pool has the shape (3, 4)."""
    x, y = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
    state = draw(st.sampled_from(states))
    match draw(st.sampled_from(STEPS)):
        case "unary":
            return g.sigmoid(x)
        case "add":
            return g.add(x, draw(st.sampled_from([y, state])))
        case "contiguous":
            return g.contiguous(x)
        case "permuted":
            return g.contiguous(g.contiguous(x.permute(1, 0)).permute(1, 0))
        case "repeat":
            return g.repeat(x.slice(0, 1, 2), 3, 4)
        case "concat":
            n = draw(st.integers(0, 3))
            return g.concat(g.contiguous(x.slice(0, 0, n)), g.neg(y.slice(0, n, 3)), 0)
        case "pad":
            return g.pad(x.slice(1, 1, 3), (0, 1), (0, 1))
        case "set":
            row = draw(st.integers(0, 2))
            return g.set(x, g.exp(g.neg(y.slice(0, 0, 1))), Layout((1, 4), (4, 1), 4 * row))
        case "slice":
            return g.repeat(g.contiguous(x.slice(1, 2, 3)), 3, 4)
        case "cpy":
            g.cpy(x, state)
            return x
        case "read_state":
            return g.contiguous(state)
        case "set_rows":
            g.set_rows(state, ids, x)
            return y
        case "select":
            side = draw(st.integers(0, 1))
            y = draw(st.sampled_from([y, g.exp(g.neg(y)), g.sigmoid(x)]))
            return g.select("it", sides.slice(0, side, side + 1), draw(st.sampled_from([x, g.neg(x)])), y)
        case _:
            return g.add(g.repeat(g.contiguous(g.mul_mat(y, x).slice(1, 0, 1)), 3, 4), x)


def results(made: Made, graph: Graph, every_barrier: bool = True) -> list[np.ndarray]:
    """Outputs and states after one run on the reference backend, from the same start."""
    device = BACKEND.open(BACKEND.devices()[0])
    device.alloc(made.filled)
    for storage, data in made.filled.items():
        device.write(storage, data)
    program = device.compile(make_plan(graph, every_barrier))
    program.run()
    return [*(program.read(t) for t in graph.outputs.values()), *(device.read(s) for s in made.states)]
