"""Plans: the arena holds what lives at once, and barriers come exactly where accesses conflict."""

import numpy as np
from hypothesis import given, settings
from vkrun.runtime.ir.arena import ALIGNMENT
from vkrun.runtime.ir.arrays import elements_of
from vkrun.runtime.ir.graph import Graph
from vkrun.runtime.ir.passes import lean
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Tensor
from vkrun.tests.unit.random_graphs import graphs


def anything(_node: object) -> bool:
    return True


def byte_range(t: Tensor, offsets: dict) -> tuple[int, int]:
    at = offsets[t.storage]
    return at, at + t.storage.nbytes


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_between_two_barriers_no_bytes_are_written_that_another_node_touches(made):
    for level in (0, 3):
        plan = make_plan(lean(made.graph, level, anything))
        group: list = []
        for node, barrier in zip(plan.nodes, plan.barriers, strict=True):
            group = [] if barrier else group
            for other in group:
                for a in (*node.inputs, *node.outputs):
                    for b in (*other.inputs, *other.outputs):
                        if a in node.outputs or b in other.outputs:
                            assert not _share(a, b, plan.arena.offsets)
            group.append(node)


def _share(a: Tensor, b: Tensor, offsets: dict) -> bool:
    """Do two tensors share an element (same storage) or their storages bytes of the arena?"""
    if a.storage is b.storage:
        return bool(np.intersect1d(_elements(a), _elements(b)).size)
    if not a.storage.kind is b.storage.kind is Kind.TEMP:
        return False
    (lo, hi), (lo2, hi2) = byte_range(a, offsets), byte_range(b, offsets)
    return lo < hi2 and lo2 < hi


def _elements(t: Tensor) -> np.ndarray:
    return elements_of(np.arange(t.storage.n_elements + 1), t.layout)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_the_arena_is_at_most_a_tenth_above_the_peak(made):
    arena = make_plan(lean(made.graph, 0, anything), every_barrier=True).arena
    assert arena.peak_live <= arena.nbytes <= max(1.1 * arena.peak_live, arena.peak_live + ALIGNMENT)
    assert all(offset % ALIGNMENT == 0 for offset in arena.offsets.values())


def test_a_chain_needs_a_barrier_each_and_two_places():
    g = Graph()
    x = g.input("x", (1000,))
    for _ in range(5):
        x = g.sigmoid(x)
    g.output("y", x)
    plan = make_plan(g)
    assert plan.n_barriers == 4
    assert plan.arena.nbytes == 2 * 4096


def test_independent_nodes_need_no_barrier():
    g = Graph()
    x = g.input("x", (8,))
    for _ in range(5):
        g.output(f"y{len(g.outputs)}", g.sigmoid(x))
    assert make_plan(g).n_barriers == 0
    assert make_plan(g, every_barrier=True).n_barriers == 4
