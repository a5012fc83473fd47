"""The passes: results stay, graphs are not changed, and the copies that should go do go."""

import numpy as np
import pytest
from hypothesis import given, settings
from vkrun.runtime.ir import composites
from vkrun.runtime.ir.composites import PART_FUSIONS
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph, Node
from vkrun.runtime.ir.layout import Layout
from vkrun.runtime.ir.passes import branch, elide_copies, fuse, lean, order, select
from vkrun.runtime.ir.tensor import Kind, Storage
from vkrun.runtime.optable.case import Case, Operand
from vkrun.runtime.optable.run import prepare
from vkrun.tests.unit.random_graphs import graphs, results


def anything(_node: object) -> bool:
    return True


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def storage(kind: Kind = Kind.STATE, shape: tuple[int, ...] = (3, 4)) -> Storage:
    return Storage(kind.value, kind, DType.F32, shape)


@settings(max_examples=120, deadline=None)
@given(graphs())
def test_every_level_gives_what_level_0_gives(made):
    before, nodes = results(made, made.graph), made.graph.nodes
    for level in range(4):
        for wanted, got in zip(before, results(made, lean(made.graph, level, anything)), strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert made.graph.nodes == nodes


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_order_keeps_every_dependency(made):
    for wanted, got in zip(results(made, made.graph), results(made, order(made.graph)), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_contiguous_that_is_only_read_goes():
    g = Graph()
    x = g.input("x", (3, 4))
    g.output("y", g.sigmoid(g.contiguous(x.permute(1, 0))))
    assert ops(elide_copies(g, anything)) == ["sigmoid"]


def test_a_contiguous_stays_when_its_source_changes_before_it_is_read():
    g, state = Graph(), storage().tensor()
    old = g.contiguous(state)
    g.cpy(g.input("x", (3, 4)), state)
    g.output("y", g.sigmoid(old))
    assert ops(elide_copies(g, anything)) == ["contiguous", "cpy", "sigmoid"]


def test_a_contiguous_stays_when_no_kernel_takes_the_strides():
    g = Graph()
    x = g.input("x", (3, 4))
    g.output("y", g.sigmoid(g.contiguous(x.permute(1, 0))))
    whole = lambda node: all(t.layout.is_contiguous for t in node.inputs)  # noqa: E731
    assert ops(elide_copies(g, whole)) == ["contiguous", "sigmoid"]


def test_a_producer_writes_into_the_state_that_it_reads_element_by_element():
    g, state = Graph(), storage().tensor()
    s = g.contiguous(state)
    g.cpy(g.add(g.mul(s, g.input("x", (3, 4))), s), state)
    lean_graph = elide_copies(g, anything)
    assert ops(lean_graph) == ["mul", "add"]
    assert lean_graph.nodes[-1].outputs[0].storage is state.storage


def test_a_product_may_not_overwrite_what_it_reads():
    g, state = Graph(), storage(shape=(4, 4)).tensor()
    g.cpy(g.mul_mat(state, state), state)
    assert ops(elide_copies(g, anything)) == ["mul_mat", "cpy"]


def test_both_producers_write_into_their_part_of_a_concat():
    g = Graph()
    x = g.input("x", (3, 4))
    g.output("y", g.sigmoid(g.concat(g.neg(x), g.exp(x), 1)))
    assert ops(elide_copies(g, anything)) == ["neg", "exp", "sigmoid"]


def test_a_chain_of_sets_works_on_one_tensor():
    g = Graph()
    x = g.neg(g.input("x", (4, 4)))
    y = x
    for row in range(4):
        made = g.exp(x.slice(0, row, row + 1))
        y = g.set(y, made, Layout((1, 4), (4, 1), 4 * row))
    g.output("y", g.sigmoid(y))
    assert ops(elide_copies(g, anything)) == ["neg", *["exp"] * 4, "sigmoid"]


def test_copies_of_nothing_and_dead_nodes_go():
    g = Graph()
    x = g.input("x", (3, 4))
    g.cpy(x.slice(0, 0, 0), storage(shape=(0, 4)).tensor())
    g.exp(x)
    g.output("y", g.neg(x))
    assert ops(elide_copies(g, anything)) == ["neg"]


def test_a_select_that_is_decided_takes_one_branch_and_drops_the_other():
    g = Graph()
    x, which = g.input("x", (3, 4)), g.input("which", (1,), DType.I32)
    g.output("y", g.sigmoid(g.select("it", which, g.neg(x), g.exp(x))))
    assert ops(select(g)) == ops(branch(g, lambda node: not node.branch)) == ["neg", "exp", "select", "sigmoid"]
    for chosen, op in enumerate(("neg", "exp")):
        g.decided["it"] = chosen
        assert ops(select(g)) == [op, "sigmoid"]


def test_the_sides_of_an_undecided_select_become_branches_that_write_to_one_place():
    g = Graph()
    x, which = g.input("x", (3, 4)), g.input("which", (1,), DType.I32)
    shared = g.silu(x)
    g.output("y", g.sigmoid(g.select("it", which, g.neg(g.exp(shared)), g.softplus(shared))))
    made = elide_copies(branch(g, anything), anything)
    assert ops(made) == ["silu", "exp", "neg", "softplus", "sigmoid"]
    assert [n.branch and n.branch.side for n in made.nodes] == [None, 0, 0, 1, None]
    assert made.nodes[2].outputs[0].storage is made.nodes[3].outputs[0].storage


def test_what_both_sides_or_others_read_is_no_branch():
    g = Graph()
    x, which = g.input("x", (3, 4)), g.input("which", (1,), DType.I32)
    seen = g.exp(x)
    y = g.select("it", which, g.neg(x), seen)
    g.output("y", g.add(y, seen))
    made = elide_copies(branch(g, anything), anything)
    sides = [(n.op, n.branch and n.branch.side) for n in made.nodes]
    assert sides == [("exp", None), ("neg", 0), ("cpy", 1), ("add", None)]


def test_a_select_by_what_the_plan_itself_writes_stays():
    g = Graph()
    x, which, other = g.input("x", (3, 4)), g.input("which", (1,), DType.I32), g.input("other", (1,), DType.I32)
    g.cpy(other, which)
    g.output("y", g.select("it", which, g.neg(x), g.exp(x)))
    assert ops(branch(g, anything)) == ["cpy", "neg", "exp", "select"]


def test_branches_are_fused_and_not_lost_when_composites_are_decomposed():
    g = Graph()
    x, w, which = g.input("x", (3, 4)), g.input("w", (4,)), g.input("which", (1,), DType.I32)
    g.output("y", g.select("it", which, g.rms_norm_scale(g.add(x, x), w, 1e-6), g.neg(x)))
    for level in range(4):
        for has_kernel in (anything, lambda node: node.op not in ("rms_norm_scale", "add_rms_norm")):
            made = lean(g, level, has_kernel)
            assert ("add_rms_norm" in ops(made)) == (level >= 2 and has_kernel is anything)
            assert all(n.branch is not None for n in made.nodes)


def expert_products(*, changed: bool = False) -> Graph:
    """Two products with the same ids, which change between them or not, and one with others."""
    g, ids = Graph(), Storage("ids", Kind.STATE, DType.I32, (6, 2)).tensor()
    w, x = Storage("w", Kind.STATE, DType.F32, (3, 5, 4)).tensor(), g.input("x", (6, 1, 4))
    g.output("a", g.mul_mat_id(w, x, ids))
    if changed:
        g.cpy(g.input("new", (6, 2), DType.I32), ids)
    g.output("b", g.mul_mat_id(w, x, ids))
    g.output("c", g.mul_mat_id(w, x, g.input("others", (6, 2), DType.I32)))
    return g


def test_products_with_the_same_ids_share_lists_of_experts():
    graph = fuse(expert_products(), anything, PART_FUSIONS)
    assert ops(graph) == ["expert_lists", "mul_mat_id", "mul_mat_id", "expert_lists", "mul_mat_id"]
    lists, first, second, others, third = graph.nodes
    assert first.inputs[3] == second.inputs[3] == lists.outputs[0] and third.inputs[3] == others.outputs[0]


def test_lists_of_ids_that_changed_are_made_anew():
    made = ops(fuse(expert_products(changed=True), anything, PART_FUSIONS))
    assert made == ["expert_lists", "mul_mat_id", "cpy", "expert_lists", "mul_mat_id", "expert_lists", "mul_mat_id"]


def test_products_go_by_ids_where_no_kernel_takes_lists():
    graph = fuse(expert_products(), lambda node: len(node.inputs) < 4, PART_FUSIONS)
    assert ops(graph) == ["mul_mat_id"] * 3


def test_a_product_into_what_is_given_stays_alone():
    case = Case("mul_mat", "", (Operand((5, 32), DType.Q4_0), Operand((1, 32))))
    graph = prepare(case).graph
    assert ops(fuse(graph, anything)) == ops(graph) == ["mul_mat"]


@pytest.mark.parametrize("shape", [(3, 5), (5,)])
def test_a_product_is_added_to_a_residual_or_a_bias(shape: tuple[int, ...]):
    w, x = (Storage(n, Kind.WEIGHT, DType.F32, (m, 8)).tensor() for n, m in (("w", 5), ("x", 3)))
    g = Graph()
    added = Storage("added", Kind.WEIGHT, DType.F32, shape).tensor()
    g.output("y", g.sigmoid(g.add(g.mul_mat(w, x), added)))
    made = fuse(g, anything)
    assert ops(made) == ["mul_mat_add", "sigmoid"]
    assert (made.nodes[0].inputs[2].storage, made.nodes[0].inputs[2].shape) == (added.storage, (3, 5))


def products(n_rows: int, *, changed: bool = False) -> Graph:
    """Two products of a state, which changes between them or not; the second one sees it with an axis more."""
    g, x = Graph(), Storage("x", Kind.STATE, DType.F32, (n_rows, 8)).tensor()
    w = Storage("w", Kind.STATE, DType.F32, (5, 8)).tensor()
    g.output("a", g.mul_mat(w, x))
    if changed:
        g.cpy(g.input("new", (n_rows, 8)), x)
    g.output("b", g.mul_mat(w, x.unsqueeze(1)))
    return g


def test_products_of_one_input_share_its_halves_until_it_changes():
    graph = fuse(products(40), anything, PART_FUSIONS)
    assert ops(graph) == ["halves", "mul_mat", "mul_mat"]
    (made,) = graph.nodes[0].outputs
    assert [n.inputs[2].storage for n in graph.nodes[1:]] == [made.storage] * 2
    assert [n.inputs[2].shape for n in graph.nodes[1:]] == [(40, 8), (40, 1, 8)]
    changed = ops(fuse(products(40, changed=True), anything, PART_FUSIONS))
    assert changed == ["halves", "mul_mat", "cpy", "halves", "mul_mat"]


@pytest.mark.parametrize(("n_rows", "most"), [(32, 3), (40, 2)])
def test_few_rows_are_not_halved_nor_what_no_kernel_takes(n_rows: int, most: int):
    graph = fuse(products(n_rows), lambda node: len(node.inputs) <= most, PART_FUSIONS)
    assert ops(graph) == ["mul_mat"] * 2


def convolved(between: str = "", places: tuple[int, ...] = (3,)) -> Graph:
    """Two products of an input, the first of which is convolved; between them and that something that may forbid it.
    places: the shape of slots, with snapshots or without."""
    g, x = Graph(), Storage("x", Kind.STATE, DType.F32, (3, 8)).tensor()
    first, other = (Storage(name, Kind.WEIGHT, DType.F32, (5, 8)).tensor() for name in ("first", "other"))
    state = Storage("state", Kind.STATE, DType.F32, (4, 15)).tensor()
    slots, tails = g.input("slots", places, DType.I32), g.input("tails", (*places, 3), DType.I32)
    made = g.mul_mat(first, x)
    if between == "state read":
        g.output("old", g.neg(state))
    if between == "product read":
        g.output("again", g.neg(made))
    g.output("other", g.mul_mat(other, x))
    w = g.input("taps", (5, 4))
    g.output("y", composites.causal_conv(g, made.unsqueeze(1), w, state, slots, tails, linear=between == "linear"))
    return g


def apart(node: Node) -> bool:
    return node.op != "mul_mats"


def test_a_convolution_joins_the_product_that_it_takes_where_that_stands():
    graph = fuse(convolved(), apart)
    assert ops(graph) == ["mul_mat_conv", "mul_mat"]
    assert graph.nodes[0].outputs[0].storage is graph.outputs["y"].storage


@pytest.mark.parametrize(
    "graph", [*(convolved(what) for what in ("state read", "product read", "linear")), convolved(places=(3, 2))]
)
def test_a_convolution_stays_where_others_need_what_it_would_change(graph: Graph):
    assert ops(fuse(graph, apart)) == ops(graph)


def gate_and_up(*, also: bool = False) -> Graph:
    """swiglu of two products of experts, one of which something else reads or not."""
    g, ids = Graph(), Storage("ids", Kind.STATE, DType.I32, (6, 2)).tensor()
    gate, up = (Storage(name, Kind.STATE, DType.F32, (3, 5, 4)).tensor() for name in ("gate", "up"))
    x = g.input("x", (6, 1, 4))
    u, v = g.mul_mat_id(gate, x, ids), g.mul_mat_id(up, x, ids)
    g.output("y", g.swiglu(u, v))
    if also:
        g.output("z", g.sigmoid(v))
    return g


def test_gates_and_ups_of_experts_are_one_product():
    graph = fuse(gate_and_up(), anything, PART_FUSIONS)
    assert ops(graph) == ["expert_lists", "mul_mat_id_swiglu"]
    assert graph.nodes[1].outputs[0] == graph.outputs["y"]


def test_a_gate_or_an_up_that_others_read_stays():
    assert "mul_mat_id_swiglu" not in ops(fuse(gate_and_up(also=True), anything, PART_FUSIONS))
