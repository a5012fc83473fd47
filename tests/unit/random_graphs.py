"""Random graphs full of copies, for the passes: whatever a pass does, the results stay."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from vkrun.backends.cpu import BACKEND
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.layout import Layout
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor


@dataclass
class Made:
    """A graph, the storages that the host fills, and those whose content counts afterwards beside the outputs."""

    graph: Graph
    filled: dict[Storage, np.ndarray]
    states: list[Storage]


@dataclass
class Drawn:
    """What a step works on: a graph so far, tensors x and y [3, 4] of it, a state, ids [3], which side to select."""

    graph: Graph
    x: Tensor
    y: Tensor
    state: Tensor
    ids: Tensor
    side: Tensor
    n: int  # 0 to 3


def _concat(d: Drawn) -> Tensor:
    g = d.graph
    return g.concat(g.contiguous(d.x.slice(0, 0, d.n)), g.neg(d.y.slice(0, d.n, 3)), 0)


def _set(d: Drawn) -> Tensor:
    g = d.graph
    return g.set(d.x, g.exp(g.neg(d.y.slice(0, 0, 1))), Layout((1, 4), (4, 1), 4 * (d.n % 3)))


def _cpy(d: Drawn) -> Tensor:
    d.graph.cpy(d.x, d.state)
    return d.x


def _set_rows(d: Drawn) -> Tensor:
    d.graph.set_rows(d.state, d.ids, d.x)
    return d.y


def _select(d: Drawn) -> Tensor:
    g = d.graph
    x = g.neg(d.x) if d.n % 2 else d.x
    return g.select("it", d.side, x, (d.y, d.y, g.exp(g.neg(d.y)), g.sigmoid(d.x))[d.n])


def _mul_mat(d: Drawn) -> Tensor:
    g = d.graph
    return g.add(g.repeat(g.contiguous(g.mul_mat(d.y, d.x).slice(1, 0, 1)), 3, 4), d.x)


# each makes one more tensor [3, 4]
STEPS: tuple[Callable[[Drawn], Tensor], ...] = (
    *(_concat, _set, _cpy, _set_rows, _select, _mul_mat),
    lambda d: d.graph.sigmoid(d.x),
    lambda d: d.graph.add(d.x, d.state if d.n % 2 else d.y),
    lambda d: d.graph.contiguous(d.x),
    lambda d: d.graph.contiguous(d.graph.contiguous(d.x.permute(1, 0)).permute(1, 0)),
    lambda d: d.graph.repeat(d.x.slice(0, 1, 2), 3, 4),
    lambda d: d.graph.pad(d.x.slice(1, 1, 3), (0, 1), (0, 1)),
    lambda d: d.graph.repeat(d.graph.contiguous(d.x.slice(1, 2, 3)), 3, 4),
    lambda d: d.graph.contiguous(d.state),
)


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
        step, x, y, state = (draw(st.sampled_from(of)) for of in (STEPS, pool, pool, states))
        side, n = draw(st.integers(0, 1)), draw(st.integers(0, 3))
        pool.append(step(Drawn(g, x, y, state.tensor(), ids.tensor(), sides.tensor().slice(0, side, side + 1), n)))
    for i in range(draw(st.integers(1, 3))):
        g.output(f"y{i}", draw(st.sampled_from(pool)))
    return Made(g, filled, states)


def results(made: Made, graph: Graph, every_barrier: bool = True) -> list[np.ndarray]:
    """Outputs and states after one run on the reference backend, from the same start."""
    device = BACKEND.open(BACKEND.devices()[0])
    device.alloc(made.filled)
    for storage, data in made.filled.items():
        device.write(storage, data)
    program = device.compile(make_plan(graph, every_barrier))
    program.run()
    return [*(program.read(t) for t in graph.outputs.values()), *(device.read(s) for s in made.states)]
