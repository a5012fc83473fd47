"""What ops say of themselves, beside their meaning, holds: cuts, views, places, work, element by element."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from vkrun.backends.cpu import BACKEND
from vkrun.runtime.errors import GraphError
from vkrun.runtime.ir.cuts import halves, outermost_cut
from vkrun.runtime.ir.dtypes import DType
from vkrun.runtime.ir.graph import Graph, Node
from vkrun.runtime.ir.ops import OPS, OpKind
from vkrun.runtime.ir.passes import decompose
from vkrun.runtime.ir.plan import make_plan
from vkrun.runtime.ir.tensor import Kind, Storage, Tensor
from vkrun.runtime.ir.traffic import Traffic, traffic
from vkrun.runtime.optable.case import Case
from vkrun.runtime.optable.run import prepare
from vkrun.runtime.optable.table import CASES


def cases(ops: Iterable[str]) -> pytest.MarkDecorator:
    """The op table's cases for some ops."""
    wanted = set(ops)
    found = [c for c in CASES if c.op in wanted and all(o.dtype is not DType.BF16 for o in c.operands)]
    return pytest.mark.parametrize("case", found, ids=lambda c: f"{c.op} {c.what}")


def ran(nodes: list[Node], contents: dict[Storage, np.ndarray]) -> list[np.ndarray]:
    """What the storages of the first node's outputs hold after the nodes ran on the cpu backend."""
    device = BACKEND.open(BACKEND.devices()[0])
    device.alloc(contents)
    for storage, data in contents.items():
        device.write(storage, data)
    device.compile(make_plan(Graph(nodes))).run()
    return [device.read(t.storage) for t in nodes[0].outputs]


def parts_of(node: Node, t: Tensor, depth: int = 2) -> list[Node]:
    """The node cut through an operand, and its halves again."""
    at = next(i for i, x in enumerate((*node.inputs, *node.outputs)) if x is t)
    cut = outermost_cut(node, t)
    if cut is None or not depth:
        return [node]
    return [p for h in halves(node, cut) for p in parts_of(h, (*h.inputs, *h.outputs)[at], depth - 1)]


def cuttable(node: Node) -> list[Tensor]:
    return [t for t in (*node.inputs, *node.outputs) if outermost_cut(node, t) is not None]


@cases(["mul_mat", "get_rows", "get_rows_within"])
def test_parts_do_what_the_whole_does(case: Case):
    setting = prepare(case)
    assert cuttable(setting.node) or all(n == 1 for t in setting.node.outputs for n in t.shape)
    for t in cuttable(setting.node):
        parts = parts_of(setting.node, t)
        for whole, cut in zip(ran([setting.node], setting.contents), ran(parts, setting.contents), strict=True):
            assert len(parts) > 1
            np.testing.assert_allclose(cut, whole, 1e-3, 1e-3)


def test_a_product_is_cut_at_the_outermost_axis_that_shortens_the_operand():
    g, w, x = Graph(), tensor(2, 5, 8), tensor(4, 3, 8)
    (out,) = g.emit("mul_mat", w, x)
    shapes = [[[t.shape for t in (*p.inputs, *p.outputs)] for p in parts_of(g.nodes[0], t, 1)] for t in (w, x, out)]
    assert shapes == [[[(1, 5, 8), (2, 3, 8), (2, 3, 5)]] * 2] * 3
    g.emit("mul_mat", tensor(5, 8), tensor(1, 8))
    (node,) = g.nodes[1:]
    shapes = [[t.shape for t in (*p.inputs, *p.outputs)] for p in parts_of(node, node.outputs[0], 1)]
    assert shapes == [[(2, 8), (1, 8), (1, 2)], [(3, 8), (1, 8), (1, 3)]]
    assert outermost_cut(node, node.inputs[1]) is None


def tensor(*shape: int) -> Tensor:
    return Storage("t", Kind.STATE, DType.F32, shape).tensor()


@cases(name for name, op in OPS.items() if op.elementwise)
def test_an_elementwise_op_may_write_over_an_input(case: Case):
    """Where the output stands in the place of an input of its shape, the result is the same."""
    node = prepare(case).node
    rng = np.random.default_rng(1)
    held = [rng.random(t.shape, np.float32) for t in node.inputs]
    (wanted,) = OPS[case.op].compute(*held, **case.attrs)
    wide = np.broadcast_arrays(*held)
    for i in np.random.default_rng(2).integers(0, max(wanted.size, 1), 3 if wanted.size else 0):
        changed = [x.copy().reshape(-1) for x in wide]
        for x in changed:
            x[np.arange(x.size) != i] = 7.5
        (got,) = OPS[case.op].compute(*(x.reshape(wanted.shape) for x in changed), **case.attrs)
        assert got.reshape(-1)[i] == wanted.reshape(-1)[i]


@cases(name for name, op in OPS.items() if op.view)
def test_a_view_shows_what_the_copy_makes(case: Case):
    setting = prepare(case)
    node = setting.node
    source = OPS[case.op].view(*node.inputs, **node.attrs)  # pyright: ignore[reportOptionalCall]
    if source is not None:
        assert source.shape == node.outputs[0].shape
        (wanted,) = ran([node], setting.contents)
        (got,) = ran([Node("cpy", (source, node.outputs[0]), node.outputs)], setting.contents)
        np.testing.assert_array_equal(got, wanted)


def moved_to(out: Tensor, place: Tensor) -> Tensor:
    """A place in an output that starts somewhere in its storage."""
    shifted = replace(place.layout, offset=place.layout.offset + out.layout.offset)
    return replace(place, layout=shifted)


@cases(name for name, op in OPS.items() if op.places)
def test_copies_to_its_places_make_what_the_copy_makes(case: Case):
    setting = prepare(case)
    node, out = setting.node, setting.node.outputs[0]
    if not out.layout.is_contiguous:
        out = Storage("out", Kind.STATE, out.dtype, out.shape).tensor()
        node = replace(node, outputs=(out,))
        setting.contents[out.storage] = np.zeros(out.shape, out.dtype.numpy)
    places = OPS[case.op].places(out, *node.inputs, **node.attrs)  # pyright: ignore[reportOptionalCall]
    if 0 not in places:  # over parts of input 0, in an output that is contiguous
        places = {0: out} | {i: moved_to(out, p) for i, p in places.items()}
    copies = [Node("cpy", (node.inputs[i], place), (place,)) for i, place in places.items()]
    np.testing.assert_array_equal(ran(copies, setting.contents), ran([node], setting.contents))


@cases(name for name, op in OPS.items() if op.decompose)
def test_a_composite_does_no_more_than_its_parts(case: Case):
    node = prepare(case).node
    parts = decompose(Graph([node]), lambda _: False).nodes
    whole, apart = traffic(node), sum(map(traffic, parts), Traffic())
    assert whole.read <= apart.read and whole.written <= apart.written
    least = (
        0.05 if case.op.startswith(("gated_delta", "kimi_delta", "mamba2")) else 0.98
    )  # of chunks, which cost more than a scan
    assert least * apart.flops <= whole.flops <= 1.5 * apart.flops  # k d^T of the delta net is no product there


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.op} {c.what}")
def test_no_op_touches_more_than_it_is_given(case: Case):
    node = prepare(case).node
    given, made = (sum(t.dtype.nbytes(t.layout.n_elements) for t in ts) for ts in (node.inputs, node.outputs))
    assert 0 <= traffic(node).read <= given and 0 <= traffic(node).written <= made


def test_composites_are_of_their_kind_and_names_are_their_keys():
    assert {name for name, op in OPS.items() if op.decompose and op.kind is not OpKind.FUSED} == set()
    assert all(name == op.name for name, op in OPS.items())


def _without(op: str, *left_out: str) -> None:
    """Infers the shapes of an op's case with the most named operands, but for some of them."""
    default = OPS[op].options["extra"]
    case = max((c for c in CASES if c.op == op), key=lambda c: len(c.attrs.get("extra", default)))
    node, extra = prepare(case).node, case.attrs.get("extra", default)
    first = len(node.inputs) - len(extra)
    kept = [t for t, name in zip(node.inputs[first:], extra, strict=True) if name not in left_out]
    attrs = node.attrs | {"extra": tuple(name for name in extra if name not in left_out)}
    OPS[op].infer(*node.inputs[:first], *kept, **attrs)


@pytest.mark.parametrize(
    ("op", "left_out", "why"),
    [
        ("experts_gate_up", "shared_gate", r"\['shared_up'\] without \['shared_gate'\]"),
        ("experts_down", "shared_down", r"\['shared'\] without \['shared_down'\]"),
        ("experts_sum", "shared", r"\['shared_gate'\] without \['shared'\]"),
        ("qk_rope_cache", "k_norm", r"\['q_norm'\] without \['k_norm'\]"),
    ],
)
def test_an_operand_without_what_it_needs_is_refused(op: str, left_out: str, why: str) -> None:
    _without(op)
    with pytest.raises(GraphError, match=why):
        _without(op, left_out)


@pytest.mark.parametrize("op", ["attention", "qk_rope_cache", "experts_gate_up", "experts_down", "experts_sum"])
def test_named_operands_stand_in_one_order(op: str) -> None:
    """A kernel binds them by their places."""
    case = max((c for c in CASES if c.op == op), key=lambda c: len(c.attrs.get("extra", ())))
    node, extra = prepare(case).node, case.attrs.get("extra", OPS[op].options["extra"])
    first = len(node.inputs) - len(extra)
    with pytest.raises(GraphError, match="expected of"):
        OPS[op].infer(*node.inputs[:first], *node.inputs[: first - 1 : -1], **node.attrs | {"extra": extra[::-1]})
